"""The end of the page: under which circumstances all this was found, and how to find it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekd import __version__
from edgekd.export.manifest import Entry, Versions, artifact
from edgekd.files import json_text
from edgekd.gate.conditions import differences
from edgekd.record import Artifact, HostFacts, LatencyRecord
from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.report.run import RunFolder
from edgekd.report.steps import command_text, missing
from edgekd.units import text_from_bytes, text_from_count, text_from_s, text_from_share
from edgekd.vitals import governors, input_power_w, power_modes, suspended_s

Facts = Sequence[tuple[str, str | None]]


def environment(run: RunFolder) -> Html:
    """The section about host, runtime, protocol, data, artifacts and recipe."""
    return join(
        element("h2", "The circumstances"),
        element("div", element("div", _host(run)), element("div", _protocol(run), _data(run)), class_="two"),
        _warnings(run),
        _artifacts(run),
        _again(run),
    )


def _facts(title: str, facts: Facts) -> Html:
    shown = [(element("dt", name), element("dd", value if value is not None else "unknown")) for name, value in facts]
    return join(element("h3", title), element("dl", shown, class_="facts"))


def _host(run: RunFolder) -> Html:
    if not run.latency:
        return join(element("h3", "Host"), missing(run, "Nothing has been measured yet.", "bench"))
    first = run.latency[0]
    return _facts("Host", [("device profile", first.device or "none"), *host_facts(first.host, run.latency)])


def host_facts(host: HostFacts, records: Sequence[LatencyRecord]) -> Facts:
    """What the host said of itself; load and temperature as the range over all records."""
    hosts = [record.host for record in records]
    loads = [load for each in hosts for load in (each.load_before, each.load_after)]
    heats = [heat for each in hosts for heat in (each.temperature_c_before, each.temperature_c_after)]
    throttled = [state for each in hosts for state in (each.throttled_before, each.throttled_after)]
    return [
        ("name", host.name),
        ("processor", host.cpu),
        ("machine", host.machine),
        ("cores", None if host.cores is None else str(host.cores)),
        ("affinity", None if host.affinity is None else ", ".join(map(str, host.affinity))),
        ("memory", None if host.memory_bytes is None else text_from_bytes(host.memory_bytes)),
        ("governor", host.governor),
        ("clock", None if host.clock_hz is None else f"{text_from_count(host.clock_hz)}Hz"),
        ("load", _range(loads, "{:.2f}")),
        ("temperature", _range(heats, "{:.1f} °C")),
        ("throttle state", ", ".join(dict.fromkeys(state or "unknown" for state in throttled))),
        *_watched(hosts),
        ("system", host.system),
        ("Python", host.python),
    ]


def _watched(hosts: Sequence[HostFacts]) -> Facts:
    """What the process beside the measurement saw; nothing of boards that nobody watched."""
    vitals = [one for host in hosts for one in host.vitals]
    if not vitals:
        return [("while measuring", "nobody watched the board")]
    ticks = [tick for one in vitals for tick in one.ticks]
    tuned = [line for host in hosts for line in host.tuned or ()]
    modes = [mode or "unknown" for mode in power_modes(vitals)]
    power = input_power_w(vitals)
    slept_s = suspended_s(vitals)
    return [
        ("looked at while measuring", f"{len(ticks)} times in {len(vitals)} processes"),
        ("clock while measuring", _range((tick.clock_hz and tick.clock_hz / 1e6 for tick in ticks), "{:.0f} MHz")),
        ("temperature while measuring", _range((tick.temperature_c for tick in ticks), "{:.1f} °C")),
        ("governors seen", ", ".join(governors(vitals)) or None),
        ("power mode", None if modes == ["unknown"] else ", ".join(modes)),
        ("mean power", None if power is None else f"{power[1]:.2f} W on the rail {power[0]}"),
        ("asleep", None if slept_s is None else text_from_s(slept_s) if slept_s else "never"),
        *([("tuned", "; ".join(dict.fromkeys(tuned)))] if tuned else []),
    ]


def _range(values: Iterable[float | None], shown: str) -> str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = shown.format(min(known)), shown.format(max(known))
    return low if low == high else f"{low} to {high}"


def _protocol(run: RunFolder) -> Html | None:
    if not run.latency:
        return None
    first = run.latency[0]
    runtime, protocol = first.runtime, first.protocol
    shapes = "; ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in protocol.shapes.items())
    least = f"at least {text_from_s(protocol.min_duration_s)}"
    times = sorted(record.created_utc for record in run.latency)
    return _facts("Runtime and protocol", [
        ("runtime", f"{runtime.name} {runtime.version}, {', '.join(runtime.providers)}"),
        ("threads", str(runtime.threads)),
        ("inputs", shapes),
        ("processes", f"{protocol.processes} per artifact"),
        ("each process", f"{least}, {protocol.min_samples} samples and {text_from_s(protocol.warmup_s)} of warm-up"),
        ("timer", protocol.clock),
        ("measured", _utc(times[0]) if times[0] == times[-1] else f"{_utc(times[0])} to {_utc(times[-1])}"),
        ("edgekd", f"{__version__} (made this page)"),
    ])  # fmt: skip


def _utc(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


def _data(run: RunFolder) -> Html | None:
    if run.teacher is None:
        return None
    data, labels = run.teacher.data, run.teacher.label_names
    named = ", ".join(labels[:20]) + (" …" if len(labels) > 20 else "")
    facts = [
        ("name", data.name),
        ("examples", f"{data.train} to train, {data.validation} to validate, {data.test} to test"),
        *([("classes", f"{len(labels)}: {named}")] if len(labels) > 1 else []),
    ]
    notes = element("ul", [element("li", text) for text in data.notes]) if data.notes else None
    return join(_facts("Data", facts), notes)


def _warnings(run: RunFolder) -> Html | None:
    found: dict[str, list[str]] = {}
    for record in (*run.latency, *run.accuracy):
        for warning in record.warnings:
            names = found.setdefault(warning, [])
            if record.artifact.name not in names:
                names.append(record.artifact.name)
    for other in run.latency[1:]:
        for text in differences(run.latency[0], other):
            found.setdefault(f"conditions differ between records: {text}", []).append(other.artifact.name)
    if not found:
        return None
    lines = [element("li", warning, element("span", f" ({', '.join(names)})", class_="quiet"))
             for warning, names in found.items()]  # fmt: skip
    return join(element("h3", "Warnings, and what helps", class_="below"), element("ul", lines))


def _artifacts(run: RunFolder) -> Html:
    title = element("h3", "Artifacts", class_="below")
    entries = {entry.sha256: entry for entry in run.manifest.entries} if run.manifest else {}
    known = {found.artifact.sha256: found.artifact for found in run.measured}
    known |= {entry.sha256: artifact(entry) for entry in entries.values() if entry.sha256 not in known}
    if not known:
        return join(title, missing(run, "No artifact has been exported yet.", "export"))
    rows = [_artifact_row(each, entries.get(each.sha256)) for each in known.values()]
    heading: list[Child] = ["name", "role", "precision", element("th", "size", class_="number"), "opset"]
    heading += ["same answers", "SHA-256"]
    table = element("table", element("thead", rows_of([heading], "th")), element("tbody", rows_of(rows)))
    made = run.manifest.entries[0].versions if run.manifest and run.manifest.entries else None
    versions = f"Exported with {_listed(made)}. " if made else ""
    said = f"{versions}Same answers: the exported model beside the trained one on real inputs."
    return join(title, element("div", table, class_="scroll"), element("p", said, class_="caption"))


def _artifact_row(each: Artifact, entry: Entry | None) -> list[Child]:
    parity = entry.parity if entry else None
    same = f"{text_from_share(parity.agreement)} of {parity.examples}" if parity else "unknown"
    apart = element("small", f"numbers differ by up to {parity.absolute:.2g}") if parity else None
    return [
        each.name,
        each.role,
        each.precision,
        element("td", text_from_bytes(each.size_bytes), class_="number"),
        str(entry.opset) if entry else "unknown",
        element("td", same, apart),
        element("td", element("code", each.sha256)),
    ]


def _listed(versions: Versions) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.model_dump().items())


def _again(run: RunFolder) -> Html:
    parts: list[Child] = [
        element("h3", "How to find it again", class_="below"),
        element("code", command_text(run), class_="command"),
        element(
            "p",
            "This is the same run when the recipe says what is written below; --set overrides a key of it.",
            class_="caption",
        ),
    ]
    if run.recipe is None:
        parts.append(missing(run, "recipe.json is not there.", "run"))
    else:
        text = json_text(run.recipe)
        parts.append(element("details", element("summary", "The recipe, with every default written out"),
                             element("pre", element("code", text))))  # fmt: skip
    return join(*parts)
