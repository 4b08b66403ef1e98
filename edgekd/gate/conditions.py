"""Under which conditions a record was taken: are two records comparable, and was the board itself held back?"""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.gate.verdict import Reason
from edgekd.record import HostFacts, LatencyRecord
from edgekd.text import listing, printable
from edgekd.vitals import (
    LEAST_SUSPEND_S,
    THROTTLE_FLAGS,
    clock_fall,
    clock_known,
    governors,
    power_modes,
    suspended_s,
    throttle_bits,
    throttled_now,
)

_NOW = 0xF
_SHOWN = 80


def differences(a: LatencyRecord, b: LatencyRecord) -> list[str]:
    """What kept the two records from being taken under the same conditions, 'threads: 2 and 4'; empty if nothing.

    A fact that only one of them knows counts as a difference: unknown is not the same.
    """
    pairs = {
        "device": (a.device, b.device),
        "machine": (a.host.machine, b.host.machine),
        "cpu": (a.host.cpu, b.host.cpu),
        "cores": (a.host.cores, b.host.cores),
        "affinity": (a.host.affinity, b.host.affinity),
        "governor": (a.host.governor, b.host.governor),
        "power mode": (power_mode(a.host), power_mode(b.host)),
        "tuned": (a.host.tuned, b.host.tuned),
        "runtime": (f"{a.runtime.name} {a.runtime.version}", f"{b.runtime.name} {b.runtime.version}"),
        "providers": (a.runtime.providers, b.runtime.providers),
        "threads": (a.runtime.threads, b.runtime.threads),
        "shapes": (a.protocol.shapes, b.protocol.shapes),
        "warm-up": (a.protocol.warmup_s, b.protocol.warmup_s),
        "shortest run": (a.protocol.min_duration_s, b.protocol.min_duration_s),
        "clock": (a.protocol.clock, b.protocol.clock),
    }
    return [f"{name}: {_shown(x)} and {_shown(y)}" for name, (x, y) in pairs.items() if x != y]


def _shown(value: object) -> str:
    return "unknown" if value is None else printable(str(value), _SHOWN).replace("\n", " ")


def throttling(host: HostFacts) -> str | None:
    """What held the board back while it measured, or None when nothing is known to have done so.

    A flag "has occurred" that was already set before says nothing about the time in between; a state that cannot be
    read counts when it changed.
    """
    before, after = throttle_bits(host.throttled_before), throttle_bits(host.throttled_after)
    seen = throttled_now(host.vitals)
    if after is None or (before is None and host.throttled_before is not None):
        if host.throttled_before != host.throttled_after and host.throttled_after is not None:
            return f"its throttle state went from {_shown(host.throttled_before)} to {_shown(host.throttled_after)}"
        return f"it reported {', '.join(seen)}" if seen else None
    earlier = before or 0
    bits = (earlier | after) & _NOW | (after >> 16) & ~(earlier >> 16) & _NOW
    named = [name for bit, name in enumerate(THROTTLE_FLAGS) if bits >> bit & 1]
    named += [name for name in seen if name not in named]
    return f"it reported {', '.join(named)}" if named else None


def power_mode(host: HostFacts) -> str | None:
    """The one power mode the board was in all the time, or None when it cannot be told or changed."""
    modes = power_modes(host.vitals)
    return modes[0] if len(modes) == 1 else None


def spoiled(host: HostFacts, wanted_mode: str | None = None) -> tuple[Reason, str] | None:
    """What, besides throttling, makes this another board than the one the limit was written for; None if nothing did.

    `wanted_mode` is the power mode that the SLA asks for; a board that cannot tell its mode is not in it.
    """
    modes = power_modes(host.vitals)
    if len(modes) > 1:
        return Reason.POWER_MODE, f"its power mode changed ({_shown(listing(mode or 'unknown' for mode in modes))})"
    if wanted_mode is not None and power_mode(host) != wanted_mode:
        return (
            Reason.POWER_MODE,
            f"its power mode is {_shown(power_mode(host))}, the SLA asks for {_shown(wanted_mode)}",
        )
    slept_s = suspended_s(host.vitals) or 0.0
    if slept_s > LEAST_SUSPEND_S:
        return Reason.SUSPENDED, f"it was suspended for {slept_s:.1f} s"
    seen = governors(host.vitals)
    if len(seen) > 1:
        return Reason.GOVERNOR_CHANGED, f"its governor changed ({_shown(listing(seen))})"
    fall = clock_fall(host.vitals)
    if fall is not None:
        return Reason.CLOCK_FELL, f"its clock was down to {fall[1]:.0%} of the highest, {fall[0]:.0%} of the time lower"
    return None


def cautions(records: Sequence[LatencyRecord]) -> list[str]:
    """What a reader should know about the conditions beside the records' own warnings, which stand in the records."""
    found: dict[str, None] = {}
    for record in records:
        host = record.host
        if host.throttled_before is None or host.throttled_after is None:
            found["Whether the board was throttled is not known."] = None
        elif (throttle_bits(host.throttled_before) or 0) >> 16 & _NOW:
            found["Throttle flags were set before measuring, so later throttling may be hidden; restart the board."] = (
                None
            )
        if not clock_known(host.vitals) or len(host.vitals) < len(record.runs):
            found["Whether the clock was steady while measuring is not known."] = None
        if suspended_s(host.vitals) is None:
            found["Whether the board slept while measuring is not known."] = None
        if len(record.runs) == 1:
            found["One process run only: differences between process starts are not covered."] = None
    return list(found)
