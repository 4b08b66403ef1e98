"""From the attempts so far to the next one: what they teach, where the next student should stand, and who wins.

A miss asks for a student that takes 10 to 20 % less of the limit that it missed most, a kept limit with room for one
that takes 10 to 20 % more. A missed accuracy is not mended by a smaller student, so it counts as room, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgekd.sizing.attempts import Aim, Attempt, Learned, Tried, Truth
from edgekd.units import text_from_share

STEP, WIDE_STEP = 0.1, 0.2  # of the cost, as asked for: a smaller step is lost in the noise, a wider one gives away


def learned_from(attempts: Sequence[Attempt], earlier: Sequence[Attempt] = ()) -> Learned:
    """What the attempts, and `earlier` ones under other limits, teach a sizing."""
    every = [*earlier, *attempts]
    ratios: dict[str, dict[str, list[float]]] = {}
    for attempt in every:
        for precision, truths in attempt.truths.items():
            for truth in truths:
                if truth.factor is not None:
                    ratios.setdefault(precision, {}).setdefault(truth.metric, []).append(truth.factor)
    return Learned(
        factors={name: {metric: median(found) for metric, found in each.items()} for name, each in ratios.items()},
        truths={
            f"{attempt.name}-{precision}": {truth.metric: truth.value for truth in attempt.costs(precision)}
            for attempt in every
            for precision in attempt.truths
        },
        tried=[Tried(spec=attempt.spec, sequence=attempt.sequence) for attempt in attempts],
        aim=aim_after(attempts) if attempts else None,
    )


def aim_after(attempts: Sequence[Attempt]) -> Aim | None:
    """Where the next student should stand; None when no other one is wanted, see `no_more_text`."""
    kept, missed = _largest_kept(attempts), [attempt for attempt in attempts if not attempt.kept]
    last, high = attempts[-1], min([1.0, *(_below(attempt) for attempt in missed)])
    if any(not attempt.missed for attempt in missed) or not last.ratio:
        return None
    low = (1 + STEP) * kept.ratio if kept else 0.0
    if low > high:
        return None
    above = kept.name if kept else None
    if last.kept:
        most = min((1 + WIDE_STEP) * low / (1 + STEP), high)
        return Aim(direction="larger", least=low, most=most, low=low, high=high, above=above, after=last.name)
    # A limit that was missed by far asks for a wider step; the band stays as wide.
    most = max(low, min((1 - STEP) * last.ratio, high))
    least = max(low, min((1 - WIDE_STEP) * last.ratio, (1 - WIDE_STEP) / (1 - STEP) * most))
    return Aim(
        direction="smaller",
        least=least,
        most=most,
        low=low,
        high=high,
        above=above,
        after=last.name,
        exact=_exact(last),
    )


def _below(missed: Attempt) -> float:
    """The most that a student after `missed` may take: a whole step less, but of what hardly scatters the limit."""
    return 1.0 if _exact(missed) else (1 - STEP) * missed.ratio


def _exact(attempt: Attempt) -> bool:
    return attempt.worst is not None and attempt.worst.unit == "B"


def no_more_text(attempts: Sequence[Attempt]) -> str:
    """Why `aim_after` wants no other student."""
    kept, worst = _largest_kept(attempts), attempts[-1].worst
    undecided = [attempt for attempt in attempts if not attempt.kept and not attempt.missed]
    if undecided:
        return (
            f"the measurement of {undecided[-1].name} left a limit open, and a smaller student would not change that; "
            "measure again: edgekd run RECIPE --again bench"
        )
    if kept is None or kept.worst is None or worst is None:
        return "the SLA limits neither latency, memory, energy nor size, so the most capable student was taken at once"
    if any(not attempt.kept for attempt in attempts) and (1 + STEP) * kept.ratio <= 1:
        return f"no student lies between {kept.name}, which keeps the limits, and those that missed them"
    share = text_from_share(kept.ratio, 0)
    return f"no room for a larger student: {kept.name} takes {share} of {kept.worst.metric} at its upper end"


def step_text(aim: Aim | None) -> str:
    """What to add to the reason of a choice, without a measured number; nothing for the first attempt."""
    if aim is None:
        return ""
    how = "down" if aim.direction == "smaller" else "up"
    why = "missed a limit" if aim.direction == "smaller" else "left room"
    return f", within a step {how} from {aim.after}, which {why} once it was trained"


def winner(attempts: Sequence[Attempt]) -> Attempt:
    """The passing attempt with the highest validation accuracy, of equal ones the larger; else the last attempt."""
    passing = [attempt for attempt in attempts if attempt.outcome == "pass"]
    return max(passing, key=lambda attempt: (attempt.validation_accuracy, attempt.capability), default=attempts[-1])


def likely_s(attempts: Sequence[Attempt], parameters: int) -> float:
    """How long a student with so many parameters should train, after the last one."""
    last = attempts[-1]
    return last.seconds * parameters / last.parameters


def told(attempt: Attempt, precision: str, truth: Truth) -> float | None:
    """What sizing expected where the gate found `truth`, with all that it had learned by then."""
    if truth.expected is None:
        return None
    return truth.expected * attempt.learned.factors.get(precision, {}).get(truth.metric, 1.0)


def _largest_kept(attempts: Sequence[Attempt]) -> Attempt | None:
    return max((attempt for attempt in attempts if attempt.kept), key=lambda attempt: attempt.capability, default=None)
