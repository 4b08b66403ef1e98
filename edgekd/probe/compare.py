"""A board beside the profile of its kind: what each of them says where they do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekd.device import DeviceProfile
from edgekd.probe.facts import BoardFacts
from edgekd.text import printable
from edgekd.units import text_from_bytes

# Our choices: kernels keep a part of the memory for themselves and for the GPU; clocks are told in whole megahertz.
LEAST_MEMORY_SHARE, MOST_MEMORY_SHARE = 0.8, 1.01
CLOCK_TOLERANCE = 0.01
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact on which a profile and a board do not agree, each in its own words; '-' for nothing said."""

    what: str
    profile: str
    board: str


def differences(profile: DeviceProfile, facts: BoardFacts) -> list[Difference]:
    """Everything on which both speak and do not agree. What either leaves open is no difference."""
    return [
        *_instructions(profile, facts),
        *_clusters(profile, facts),
        *_features(profile, facts),
        *_memory(profile, facts),
        *_power_mode(profile, facts),
        *_runtimes(profile, facts),
        *_sensors(profile, facts),
    ]


def _instructions(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    found = MACHINES.get(facts.hardware.machine.lower(), facts.hardware.machine)
    if found != profile.isa:
        yield Difference("instruction set", profile.isa, _shown(found))


def _clusters(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    known = facts.hardware.clusters
    if known and facts.cores != profile.cores:
        yield Difference("cores", str(profile.cores), str(facts.cores))
    said = {cluster.core for cluster in profile.clusters}
    named = {cluster.core for cluster in known if cluster.core is not None}
    generic = profile.kind == "generic"
    if named and len(named) == len({cluster.core for cluster in known}) and not generic and named != said:
        yield Difference("kinds of core", _listed(said), _listed(named))
    clocks = {cluster.clock_hz for cluster in profile.clusters if cluster.clock_hz is not None}
    told = {float(cluster.clock_hz) for cluster in known if cluster.clock_hz is not None}
    if clocks and told and abs(max(told) / max(clocks) - 1) > CLOCK_TOLERANCE:
        yield Difference("highest clock", _megahertz(max(clocks)), _megahertz(max(told)))


def _features(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    if profile.features is None or facts.hardware.features is None:
        return
    said, found = set(profile.features.value), set(facts.hardware.features)
    # A generic profile names what it counts on; a board may have more.
    if not said <= found or (said != found and profile.kind != "generic"):
        yield Difference("features", _listed(said), _listed(found))


def _memory(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    found, sizes = facts.hardware.memory_bytes, [size.value for size in profile.memory.sizes]
    if not sizes or not found:
        return
    if not any(LEAST_MEMORY_SHARE <= found / size <= MOST_MEMORY_SHARE for size in sizes):
        yield Difference("memory", " or ".join(text_from_bytes(size) for size in sizes), text_from_bytes(found))


def _power_mode(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    names, found = [mode.name for mode in profile.power_modes], facts.sensors.power_mode
    if names and found is not None and found not in names:
        yield Difference("power mode", " or ".join(names), _shown(found))


def _runtimes(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    for runtime in profile.runtimes:
        if runtime.name == "tensorrt":
            if facts.trtexec is None and facts.runtimes["tensorrt"].state != "fine":
                yield Difference("tensorrt", "published for it", "neither trtexec nor a Python module that works")
            continue
        found = facts.runtimes["onnxruntime"]
        if found.state != "fine":
            yield Difference("onnxruntime", "published for it", runtime_text(found.state, found.said))
            continue
        missing = [name for name in runtime.providers if name not in found.providers]
        if missing:
            yield Difference("onnxruntime providers", _listed(runtime.providers), _listed(found.providers))


def _sensors(profile: DeviceProfile, facts: BoardFacts) -> Iterator[Difference]:
    seen = {
        "temperature": facts.sensors.temperature_c is not None,
        "throttle": facts.sensors.throttled is not None or facts.sensors.thermal_status is not None,
        "power-mode": facts.sensors.power_mode is not None,
        "clock": facts.sensors.clock_hz is not None,
    }
    for kind in dict.fromkeys(sensor.kind for sensor in profile.sensors):
        if not seen.get(kind, True):
            yield Difference(f"sensor of {kind}", "can be read", "does not tell it")


def runtime_text(state: str, said: str | None) -> str:
    """'missing', 'killed by SIGILL', 'failed (…)': how a runtime did, safe to print."""
    if state == "killed":
        return f"killed by {_shown(said or 'a signal')}"
    return f"{state} ({_shown(said)})" if said else state


def _megahertz(value_hz: float) -> str:
    return f"{value_hz / 1e6:.0f} MHz"


def _listed(words: object) -> str:
    parts = sorted(str(word) for word in words) if isinstance(words, set | list) else [str(words)]
    return _shown(", ".join(parts) or "none", 300)


def _shown(text: str, limit: int = 120) -> str:
    return printable(text, limit).replace("\n", " ")
