"""What was wrong with the circumstances of a measurement: a closed list of warnings, each with its remedy if any.

A warning never changes a sample; whoever judges the record decides what it is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from edgekd.record import HostFacts, ProcessRun
from edgekd.stats import drift
from edgekd.text import listing, printable
from edgekd.vitals import LEAST_SUSPEND_S, clock_fall, governors, power_modes, suspended_s, throttled_now

# Chosen so that the noise of steady runs stays below it; boards that heat up move by tens of percent.
MAX_DRIFT = 0.03
MAX_LOAD_PER_CORE = 0.25
_NOW_BITS, _EVER_BITS = 0xF, 0xF0000

WARNINGS = MappingProxyType(
    {
        "drift": "Let the board cool down, warm up longer, or end what else runs there",
        "short": "Raise max_duration_s, or measure fewer samples",
        "governor": "On the board: sudo cpupower frequency-set -g performance",
        "load": "End what else runs on the board and measure again",
        "throttled": "Cool the board and check its power supply, then measure again",
        "clock": "Cool the board, or fix its clock: edgekd bench --tune",
        "governor-changed": "End what changes the governor there, and measure again",
        "suspended": "Keep the board awake while it measures",
        "power-mode-changed": "Set one power mode before measuring, such as: sudo nvpmodel -m 0",
        "tune": "Measure as a user who may write it, or set the governor there by hand",
        "temperature": "Heat cannot be excluded as a cause: repeat after a pause and compare",
        "unknown": "",
    }
)


def warnings_for(host: HostFacts, runs: Sequence[ProcessRun], *, min_samples: int) -> list[str]:
    """'code: what was found. Remedy, if any.' for everything in WARNINGS that applies, in that order."""
    return [*drift_warnings([run.samples_ns for run in runs]), *_short(runs, min_samples), *host_warnings(host)]


def code_of(warning: str) -> str:
    """The code a warning begins with, one of WARNINGS."""
    return warning.partition(":")[0]


def drift_warnings(samples_by_run: Sequence[Sequence[int]]) -> list[str]:
    """The warning that runs were not steady, or none."""
    drifts = [drift(samples) for samples in samples_by_run]
    moved = [value for value in drifts if abs(value) > MAX_DRIFT]
    if not moved:
        return []
    worst = max(moved, key=abs)
    return [
        _warning("drift", f"in {len(moved)} of {len(drifts)} runs first and last third differ by up to {worst:+.1%}")
    ]


def host_warnings(host: HostFacts) -> list[str]:
    """The warnings about the board itself."""
    found = []
    heats = (host.temperature_c_before, host.temperature_c_after)
    # A virtual machine tells neither, and nobody can change that there: one note, and no remedy.
    unknown = host.governor is None and heats == (None, None)
    if host.governor != "performance" and not unknown:
        governor = "unknown" if host.governor is None else printable(repr(host.governor), 40)
        found.append(_warning("governor", f"the processor's governor is {governor}, not 'performance'"))
    cores = host.cores or 1
    if host.load_before is not None and host.load_before > MAX_LOAD_PER_CORE * cores:
        found.append(_warning("load", f"the load was {host.load_before:.2f} on {cores} cores before the start"))
    if was_throttled(host.throttled_before, host.throttled_after):
        found.append(_warning("throttled", f"the board says {printable(host.throttled_after or '', 40)}"))
    elif held := throttled_now(host.vitals):
        found.append(_warning("throttled", f"while it measured the board reported {', '.join(held)}"))
    found += _vitals_warnings(host)
    if None in heats and not unknown:
        found.append(_warning("temperature", "the board's temperature is unknown"))
    if unknown:
        found.append(_warning("unknown", "governor and temperature are unknown on this host"))
    return found


def _vitals_warnings(host: HostFacts) -> list[str]:
    """What went wrong between before and after, as the side process saw it."""
    found = []
    fall = clock_fall(host.vitals)
    if fall is not None:
        share, lowest = fall
        found.append(_warning("clock", f"for {share:.0%} of the time the clock was lower, down to {lowest:.0%}"))
    seen = governors(host.vitals)
    if len(seen) > 1:
        found.append(_warning("governor-changed", f"the governor was {printable(listing(seen), 80)} in turns"))
    slept_s = suspended_s(host.vitals) or 0.0
    if slept_s > LEAST_SUSPEND_S:
        found.append(_warning("suspended", f"the board slept for {slept_s:.1f} s while it measured"))
    modes = power_modes(host.vitals)
    if len(modes) > 1:
        said = listing(mode or "unknown" for mode in modes)
        found.append(_warning("power-mode-changed", f"the power mode was {printable(said, 80)} in turns"))
    if host.tuned == []:
        found.append(
            _warning("tune", "nothing was tuned: the board has no governor to set, or it belongs to another user")
        )
    return found


def was_throttled(before: str | None, after: str | None) -> bool:
    """Whether the board slowed itself down in between; False when it does not say.

    Source: vcgencmd get_throttled; bits 0-3 are the present state, bits 16-19 the same since boot.
    """
    if before is None or after is None:
        return False
    try:
        first, last = int(before, 16), int(after, 16)
    except ValueError:
        return before != after
    return bool((first | last) & _NOW_BITS) or bool(last & ~first & _EVER_BITS)


def _short(runs: Sequence[ProcessRun], min_samples: int) -> list[str]:
    fewest = min(len(run.samples_ns) for run in runs)
    if fewest >= min_samples:
        return []
    return [_warning("short", f"a run ended at max_duration_s with {fewest} of {min_samples} samples")]


def _warning(code: str, found: str) -> str:
    remedy = WARNINGS[code]
    return f"{code}: {found}. {remedy}." if remedy else f"{code}: {found}."
