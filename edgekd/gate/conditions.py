"""Under which conditions a record was taken: are two records comparable, and was the board itself held back?"""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.record import HostFacts, LatencyRecord
from edgekd.text import printable

# Source: Raspberry Pi documentation, vcgencmd get_throttled; the same four stand 16 bits higher as "has occurred".
_FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
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
    before, after = _flags(host.throttled_before), _flags(host.throttled_after)
    if after is None or (before is None and host.throttled_before is not None):
        if host.throttled_before == host.throttled_after or host.throttled_after is None:
            return None
        return f"its throttle state went from {_shown(host.throttled_before)} to {_shown(host.throttled_after)}"
    earlier = before or 0
    bits = (earlier | after) & _NOW | (after >> 16) & ~(earlier >> 16) & _NOW
    named = [name for bit, name in enumerate(_FLAGS) if bits >> bit & 1]
    return f"it reported {', '.join(named)}" if named else None


def _flags(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text.rpartition("=")[2].strip(), 16)
    except ValueError:
        return None


def cautions(records: Sequence[LatencyRecord]) -> list[str]:
    """What a reader should know about the conditions beside the records' own warnings, which stand in the records."""
    found: dict[str, None] = {}
    for record in records:
        host = record.host
        if host.throttled_before is None or host.throttled_after is None:
            found["Whether the board was throttled is not known."] = None
        elif (_flags(host.throttled_before) or 0) >> 16 & _NOW:
            found["Throttle flags were set before measuring, so later throttling may be hidden; restart the board."] = (
                None
            )
        if len(record.runs) == 1:
            found["One process run only: differences between process starts are not covered."] = None
    return list(found)
