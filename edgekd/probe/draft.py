"""A profile drafted from what a board said: a file that loads, in which every number names that board and that day.

It holds no peak and no bandwidth, for no board tells these of itself; a person adds them from documents, and renames
the profile to the kind of board it is of.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgekd.config import source_from_text, validated
from edgekd.device import DeviceProfile
from edgekd.errors import HostError, InputError
from edgekd.probe.compare import MACHINES
from edgekd.probe.facts import BoardFacts
from edgekd.text import printable

_WORD = re.compile(r"[a-z0-9]+")
_TEMPERATURES = "/sys/class/thermal/thermal_zone*/temp"
_CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"


def draft_text(facts: BoardFacts, host_name: str, date: str) -> str:
    """The YAML of a profile that `edgekd.device` loads; `date` is YYYY-MM-DD.

    Errors: HostError for a board that tells too little, or has a processor that no profile can be of.
    """
    table = draft(facts, host_name, date)
    title = json.dumps(table["title"], ensure_ascii=True)
    lines = [
        f"# Drafted by edgekd devices probe on {date}. Check it, rename it, and add what no board tells of itself."
    ]
    lines += [f"# The board calls itself {title}."]
    text = "\n".join([*lines, *_yaml(table, 0), ""])
    try:
        validated(source_from_text(text, "draft"), DeviceProfile)
    except InputError as error:
        raise HostError(f"{host_name}: no profile can be drafted from what it says ({error})") from None
    return text


def draft(facts: BoardFacts, host_name: str, date: str) -> dict[str, Any]:
    """The profile as plain values."""
    source = f"probed {date} {printable(host_name, 120)}"
    isa = MACHINES.get(facts.hardware.machine.lower())
    if isa is None or not facts.hardware.clusters:
        found = printable(facts.hardware.machine, 40)
        raise HostError(f"{host_name}: a profile is of an aarch64 or x86_64 processor and its cores, found {found!r}")
    title = printable(facts.model or f"{isa} board", 120).strip() or f"{isa} board"
    table: dict[str, Any] = {
        "name": "-".join(_WORD.findall(title.lower())) or "board",
        "title": title,
        "kind": "phone" if facts.system.android else "generic",
        "isa": isa,
        "clusters": _clusters(facts, source),
    }
    if facts.hardware.features is not None:
        table["features"] = {"value": list(facts.hardware.features), "source": source}
    if facts.hardware.memory_bytes:
        size = {"value": f"{facts.hardware.memory_bytes // 1024} KiB", "source": source}
        table["memory"] = {"sizes": [{**size, "derived": "what the kernel leaves of it"}]}
    table["runtimes"] = _runtimes(facts, source)
    if facts.sensors.power_mode is not None:
        table["power_modes"] = [{"name": facts.sensors.power_mode, "note": "the one it was in; add the others"}]
    table["sensors"] = _sensors(facts, source)
    table["notes"] = _notes(facts, source)
    return table


def _clusters(facts: BoardFacts, source: str) -> list[dict[str, Any]]:
    found: dict[tuple[str, int | None], int] = {}
    for cluster in facts.hardware.clusters:
        key = (printable(cluster.core or "unknown core", 120), cluster.clock_hz)
        found[key] = found.get(key, 0) + len(cluster.cpus)
    tables = []
    for (core, clock_hz), count in found.items():
        table: dict[str, Any] = {"core": core, "count": {"value": count, "source": source}}
        if clock_hz is not None:
            table["clock"] = {"value": f"{clock_hz // 1000} kHz", "source": source}
        tables.append(table)
    return tables


def _runtimes(facts: BoardFacts, source: str) -> list[dict[str, Any]]:
    tables = []
    runtime = facts.runtimes["onnxruntime"]
    if runtime.state == "fine":
        providers = [printable(name, 60) for name in runtime.providers]
        note = f"version {printable(runtime.version or 'unknown', 40)}"
        tables.append({"name": "onnxruntime", "providers": providers, "note": note, "source": source})
    if facts.trtexec is not None:
        note = f"version {printable(facts.trtexec.version or 'unknown', 40)}"
        tables.append({"name": "tensorrt", "note": note, "source": source})
    return tables


def _sensors(facts: BoardFacts, source: str) -> list[dict[str, Any]]:
    sensors, tables = facts.sensors, []

    def add(name: str, kind: str, unit: str, **way: Any) -> None:
        tables.append({"name": name, "kind": kind, "unit": unit, **way, "source": source})

    if any(zone.temperature_c is not None for zone in sensors.zones):
        add("temperatures", "temperature", "mdegC", path=_TEMPERATURES)
    if sensors.clock_hz is not None:
        add("cpu-clock", "clock", "kHz", path=_CLOCKS)
    if sensors.has_vcgencmd and sensors.throttled is not None:
        add("throttled", "throttle", "bits", command=["vcgencmd", "get_throttled"])
    if sensors.thermal_status is not None:
        add("thermal-status", "throttle", "text", command=["dumpsys", "thermalservice"])
    if sensors.power_mode is not None:
        add("power-mode", "power-mode", "text", command=["nvpmodel", "-q"])
    return tables


def _notes(facts: BoardFacts, source: str) -> list[str]:
    system = facts.system
    known = [system.distribution, system.kernel, system.l4t and f"L4T {system.l4t}"]
    known += [f"{name} {value}" for name, value in sorted((system.android or {}).items())]
    said = ", ".join(printable(word, 120) for word in known if word)
    notes = [f"{source}: {said or 'the system is unknown'}"]
    if facts.sensors.rails:
        notes.append(f"power is measured on the rails {printable(', '.join(facts.sensors.rails), 200)}")
    return [*notes, "peaks and bandwidths are absent, for the board does not tell them"]


def _yaml(value: Any, depth: int) -> list[str]:
    """`value` in block style; every text is quoted, so that none is read as anything else."""
    pad = "  " * depth
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{pad}{key}:", *_yaml(inner, depth + 1)]
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            lines.append(f"{pad}{key}:")
            for item in inner:
                first, *rest = _yaml(item, depth + 2)
                lines += [f"{pad}  - {first.strip()}", *rest]
        elif isinstance(inner, list):
            lines.append(f"{pad}{key}: [{', '.join(map(json.dumps, inner))}]")
        else:
            lines.append(f"{pad}{key}: {json.dumps(inner)}")
    return lines
