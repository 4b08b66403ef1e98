"""`edgekd devices probe`, `doctor` and `provision`: one board, reached, asked and made ready."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edgekd.device import load_profile
from edgekd.files import write_text
from edgekd.host_choice import HostChoice
from edgekd.hosts.base import Host
from edgekd.pipeline.context import open_choice
from edgekd.probe.compare import differences, runtime_text
from edgekd.probe.doctor import Diagnosis, examine
from edgekd.probe.draft import draft_text
from edgekd.probe.facts import BoardFacts, ask, require_python
from edgekd.probe.provision import provision as install
from edgekd.probe.wheels import lock_folder
from edgekd.text import printable
from edgekd.units import text_from_bytes


def _opened(url: str, key: str | None, known_hosts: str | None, python: str | None, hosts: Path | None) -> Host:
    named = None if hosts is None else str(hosts)
    return open_choice(HostChoice(url=url, key=key, python=python, known_hosts=known_hosts, hosts=named), Path.cwd())


def probe(
    url: str, device: str | None, out: Path | None, told: Callable[[str], None], *, key: str | None,
    known_hosts: str | None, python: str | None, hosts: Path | None = None,
) -> None:  # fmt: skip
    """Say to `told` what the board at `url` is, how it differs from the profile `device`, and draft one into `out`.

    Errors: ProfileError for the profile, HostError and MeasureError for the board, StorageError for the file.
    """
    profile = None if device is None else load_profile(device)
    with _opened(url, key, known_hosts, python, hosts) as host:
        require_python(host)
        facts, name = ask(host), host.name
    for line in facts_lines(facts):
        told(line)
    if profile is not None:
        found = differences(profile, facts)
        told(f"compared with {profile.name}: {len(found) or 'no'} difference{'s' * (len(found) != 1)}")
        for one in found:
            told(f"  {one.what}: the profile says {one.profile}, the board {one.board}")
    if out is not None:
        write_text(out, draft_text(facts, name, datetime.now(UTC).date().isoformat()))
        told(f"drafted {out}: check it, rename it, and add what no board tells of itself")


def doctor(
    url: str, *, key: str | None, known_hosts: str | None, python: str | None, hosts: Path | None = None
) -> Diagnosis:
    """All checks of the board at `url`. Errors: HostError when it cannot be reached, SecurityError."""
    with _opened(url, key, known_hosts, python, hosts) as host:
        return examine(host, url)


def provision(
    url: str, wheels: Path, told: Callable[[str], None], *, lock: bool, key: str | None, known_hosts: str | None,
    python: str | None, hosts: Path | None = None,
) -> None:  # fmt: skip
    """Install the folder `wheels` on the board at `url`; `told` gets a line for each step, and what came of it.

    Errors: InputError and SecurityError for the folder, HostError for the board.
    """
    if lock:
        told(f"locked {lock_folder(wheels)}")
    with _opened(url, key, known_hosts, python, hosts) as host:
        done = install(host, wheels, on_step=told)
        host.python = done.python
        facts = ask(host)
    told(
        "was installed before"
        if done.was_there
        else f"installed {len(done.wheels)} wheels, {done.sent} of them sent now"
    )
    for wheel in done.wheels:
        told(f"  {wheel.project} {printable(wheel.version, 60)}")
    for line in _runtime_lines(facts):
        told(line)
    told(f"measure with it: --python {done.python}")


def facts_lines(facts: BoardFacts) -> list[str]:
    """What a person wants to know of a board; every word of the board is made safe to print."""
    hardware, system, sensors, python = facts.hardware, facts.system, facts.sensors, facts.python
    known = [system.distribution, system.kernel, system.l4t and f"L4T {system.l4t}"]
    known += [f"{name} {value}" for name, value in sorted((system.android or {}).items())]
    memory = "unknown" if hardware.memory_bytes is None else text_from_bytes(hardware.memory_bytes)
    heat = "unknown" if sensors.temperature_c is None else f"{sensors.temperature_c:.1f} degrees"
    libc = " ".join(word for word in (python.libc or "unknown C library", python.libc_version) if word)
    lines = [f"board: {_shown(facts.model)} ({_shown(hardware.machine)})"]
    for cluster in hardware.clusters:
        clock = "unknown clock" if cluster.clock_hz is None else f"{cluster.clock_hz / 1e6:.0f} MHz"
        capacity = "" if cluster.capacity is None else f", capacity {cluster.capacity}"
        numbers = f"{cluster.cpus[0]} to {cluster.cpus[-1]}" if len(cluster.cpus) > 1 else f"{cluster.cpus[0]}"
        lines.append(f"cores: {len(cluster.cpus)} x {_shown(cluster.core)}, {clock}{capacity} (cpu {numbers})")
    features = "unknown" if hardware.features is None else ", ".join(hardware.features) or "none we know"
    lines += [
        f"features: {_shown(features)}",
        f"memory: {memory}",
        f"system: {_shown(', '.join(word for word in known if word) or None)}",
        f"python: {python.version}, {_shown(python.implementation)}, {python.bits} bits, {_shown(libc)}",
        *_runtime_lines(facts),
        f"governor: {_shown(', '.join(sensors.governors) or None)}",
        f"power mode: {_shown(sensors.power_mode)}",
        f"temperature: {heat}",
        f"throttle state: {_shown(sensors.throttled)}",
        f"power rails: {_shown(', '.join(sensors.rails) or None)}",
    ]
    return lines


def _runtime_lines(facts: BoardFacts) -> list[str]:
    lines = []
    for name, runtime in sorted(facts.runtimes.items()):
        said = runtime_text(runtime.state, runtime.said)
        if runtime.state == "fine":
            said = " ".join([runtime.version or "of unknown version", *(["with"] if runtime.providers else [])])
            said = f"{said} {', '.join(runtime.providers)}".strip()
        lines.append(f"{printable(name, 40)}: {_shown(said)}")
    tool = facts.trtexec
    found = None if tool is None else f"{tool.version or 'of unknown version'} at {tool.path}"
    return [*lines, f"trtexec: {'none found' if found is None else _shown(found)}"]


def _shown(text: str | None) -> str:
    return "unknown" if text is None else printable(text, 300).replace("\n", " ")
