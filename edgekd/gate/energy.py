"""The energy of one inference, bounded from two sides by what the board's supply gave while it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekd.gate.conditions import differences, spoiled, throttling
from edgekd.gate.verdict import Criterion, Outcome, Reason, excess_text, value_text
from edgekd.record import LatencyRecord
from edgekd.units import NS_PER_S
from edgekd.vitals import energy_j, input_rail

LEAST_LOOKS = 10  # our choice: with fewer looks a second apart the power of a few decides


def energy_criterion(records: Sequence[LatencyRecord], limit_j: float, power_mode: str | None = None) -> Criterion:
    """The energy of an inference against `limit_j`, of the whole board, idling included.

    High: all that was used, loading and warming up included, over all inferences. Low: the least power at any look,
    times the mean latency. PASS needs the high within the limit, FAIL the low beyond it.
    """
    blank = Criterion("energy", limit_j, "J", Outcome.INCONCLUSIVE, Reason.NO_LATENCY_RECORD, "")
    if not records:
        return replace(blank, text="no latency record of this artifact, so its energy is unknown. Run: edgekd bench")
    mixed = [text for record in records[1:] for text in differences(records[0], record)]
    if mixed:
        text = f"the latency records were taken under different conditions ({'; '.join(mixed)}); judge one kind only"
        return replace(blank, reason=Reason.MIXED_CONDITIONS, text=text)
    for record in records:
        held, other = throttling(record.host), spoiled(record.host, power_mode)
        reason, what = (Reason.THROTTLED, held) if held is not None else other or (None, None)
        if reason is not None:
            return replace(blank, reason=reason, text=f"the board was held back ({what}); measure again")
    vitals = [one for record in records for one in record.host.vitals]
    rail, runs = input_rail(vitals), [run for record in records for run in record.runs]
    looks = sum(len(one.ticks) for one in vitals)
    if rail is None or any(len(record.host.vitals) != len(record.runs) for record in records):
        text = "the board does not measure the power of its supply, or one process could not tell it"
        return replace(blank, reason=Reason.ENERGY_UNKNOWN, n=looks, text=text)
    least_w = min((tick.rails_w or {})[rail] for one in vitals for tick in one.ticks)
    if least_w <= 0:
        text = f"the rail {rail} says {least_w:g} W while the board works, which cannot be"
        return replace(blank, reason=Reason.ENERGY_UNKNOWN, n=looks, text=text)
    used_j = sum((energy_j(one) or {})[rail] for one in vitals)
    inferences = sum(1 + len(run.warmup_ns) + len(run.samples_ns) for run in runs)
    samples_ns = [sample for run in runs for sample in run.samples_ns]
    low, high = least_w * sum(samples_ns) / len(samples_ns) / NS_PER_S, used_j / inferences
    found = replace(blank, estimate=high, low=min(low, high), high=high, n=looks)
    return _judged(found, rail)


def _judged(found: Criterion, rail: str) -> Criterion:
    low, high = found.low or 0.0, found.high or 0.0
    limit = value_text(found.limit, "J")
    said = f"an inference takes {value_text(low, 'J')} to {value_text(high, 'J')} from the rail {rail}"
    if (found.n or 0) < LEAST_LOOKS:
        text = f"{said}, by {found.n} looks; {LEAST_LOOKS} are needed, measure for longer"
        return replace(found, reason=Reason.TOO_FEW_SAMPLES, needed=LEAST_LOOKS, text=text)
    if high <= found.limit:
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=f"{said}, within the limit of {limit}")
    if low > found.limit:
        text = f"{said}, at least {excess_text(low / found.limit - 1)} of {limit}"
        return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, estimate=low, text=text)
    text = (
        f"{said} for a limit of {limit}: the bounds are apart by loading and idling; longer processes bring them nearer"
    )
    return replace(found, reason=Reason.TOO_CLOSE, text=text)
