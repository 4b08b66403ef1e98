"""The limits of language models: perplexity on fixed documents, and how far it rises above the teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgekd.gate.verdict import Criterion, Outcome, Reason, excess_text
from edgekd.record import AccuracyRecord, Losses
from edgekd.text import printable

_ROUNDING = 1e-9  # an equal value must not miss by what a division loses


def perplexity_criterion(records: Sequence[AccuracyRecord], limit: float) -> Criterion:
    """The perplexity on the fixed documents against `limit`, exactly; the worst of several data sets."""
    blank = Criterion("perplexity", limit, "perplexity", Outcome.INCONCLUSIVE, Reason.NO_LOSSES, "")
    known = _with_losses(records)
    undecided = _undecided(blank, records, known)
    if undecided is not None:
        return undecided
    record, losses = max(known, key=lambda pair: pair[1].perplexity)
    found = replace(blank, estimate=_finite(losses.perplexity), n=losses.tokens)
    said = f"perplexity is {losses.perplexity:.2f} on {losses.tokens} tokens of {printable(record.dataset, 80)}"
    if losses.perplexity <= limit * (1 + _ROUNDING):
        text = f"{said}, within the {limit:.2f} allowed"
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=text)
    text = f"{said}, {excess_text(found.excess or 0)} of {limit:.2f}"
    return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)


def perplexity_rise_criterion(
    records: Sequence[AccuracyRecord], teachers: Sequence[AccuracyRecord], limit: float
) -> Criterion:
    """The perplexity as a share above the teacher's on the same tokens; the largest of several."""
    blank = Criterion("perplexity_rise", limit, "share", Outcome.INCONCLUSIVE, Reason.NO_TEACHER_RECORD, "")
    known, its = _with_losses(records), _with_losses(teachers)
    undecided = _undecided(blank, records, known)
    if undecided is not None:
        return undecided
    if not its:
        return replace(blank, text="no perplexity of a teacher (role: teacher) to compare with")
    pairs = [(own, its_own) for record, own in known for other, its_own in its if _same_text(record, other)]
    if not pairs:
        text = "the teacher read other documents or other tokens; measure both on the same test data"
        return replace(blank, reason=Reason.OTHER_DATASET, text=text)
    own, teacher = max(pairs, key=lambda pair: pair[0].perplexity / pair[1].perplexity)
    rise = own.perplexity / teacher.perplexity - 1
    found = replace(blank, estimate=_finite(rise), n=own.tokens)
    said = f"perplexity is {own.perplexity:.2f}, the teacher's {teacher.perplexity:.2f}: {100 * rise:+.2f} %"
    if rise <= limit + _ROUNDING:
        text = f"{said}, within the {100 * limit:.2f} % allowed"
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=text)
    text = f"{said}, more than the {100 * limit:.2f} % allowed"
    return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)


def _with_losses(records: Sequence[AccuracyRecord]) -> list[tuple[AccuracyRecord, Losses]]:
    return [(record, record.losses) for record in records if record.losses is not None]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _same_text(a: AccuracyRecord, b: AccuracyRecord) -> bool:
    same = a.losses is not None and b.losses is not None and a.losses.tokens == b.losses.tokens
    return same and a.dataset_sha256 == b.dataset_sha256 and a.labels == b.labels


def _undecided(
    blank: Criterion, records: Sequence[AccuracyRecord], known: Sequence[tuple[AccuracyRecord, Losses]]
) -> Criterion | None:
    if not records:
        text = "no accuracy record of this artifact (of the same SHA-256). Make one: edgekd run, or edgekd export"
        return replace(blank, reason=Reason.NO_ACCURACY_RECORD, text=text)
    if not known:
        text = "the records of this artifact hold no summed loss, as those of language models do"
        return replace(blank, reason=Reason.NO_LOSSES, text=text)
    if any(_same_text(a, b) and x.sum_nats != y.sum_nats for a, x in known for b, y in known):
        text = "the artifact gave different losses on the same tokens; make its runtime deterministic"
        return replace(blank, reason=Reason.NOT_REPEATABLE, text=text)
    return None
