"""The limits other than latency: peak memory, file size, accuracy, and accuracy lost against the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from edgekd.gate.verdict import Criterion, Outcome, Reason, excess_text, value_text
from edgekd.record import AccuracyRecord, Artifact, LatencyRecord
from edgekd.stats import median_deviation
from edgekd.text import printable
from edgekd.units import text_from_bytes, text_from_share

MEMORY_RUNS = 3
MEMORY_MARGIN = 0.02  # least margin for what a few runs cannot show; a quantile claim would need 59 runs
_ROUNDING = 1e-9  # 29 % is 0.29000000000000004 in binary: an equal share must not miss by that

# Providers that compute in the process's own memory; for any other, resident memory is only a part.
_HOST_PROVIDERS = ("cpu", "xnnpack")


def memory_criterion(records: Sequence[LatencyRecord], limit_bytes: int) -> Criterion:
    """The largest peak of all process runs against `limit_bytes`; PASS needs 3 runs and a margin for their spread."""
    blank = Criterion("memory", limit_bytes, "B", Outcome.INCONCLUSIVE, Reason.NO_LATENCY_RECORD, "")
    runs = [run for record in records for run in record.runs]
    if not runs:
        return replace(blank, text="no latency record of this artifact, so its memory is unknown. Run: edgekd bench")
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    if not peaks:
        return replace(blank, reason=Reason.MEMORY_UNKNOWN, n=0, text="no process run could tell its peak memory")
    top = max(peaks)
    over = sum(peak > limit_bytes for peak in peaks)
    found = replace(blank, estimate=top, low=top, n=len(peaks), over=over)
    peak, limit = f"peak memory is {text_from_bytes(top)}", text_from_bytes(limit_bytes)
    if over:
        text = f"{peak}, {excess_text(found.excess or 0)} of {limit}"
        return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)
    found = replace(found, low=None)
    reason, why = _memory_doubt(records, len(runs), peaks)
    if reason is not None:
        return replace(found, reason=reason, needed=_runs_needed(reason), text=f"{peak} for a limit of {limit}: {why}")
    spread = max(MEMORY_MARGIN, 3 * median_deviation(peaks) / median(peaks))
    high = round(top * (1 + spread))
    found = replace(found, high=high)
    margin = f"{text_from_bytes(high)} with a margin of {text_from_share(spread)}"
    if high <= limit_bytes:
        text = f"{peak} ({margin}), within the limit of {limit}"
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=text)
    text = f"{peak} ({margin}) for a limit of {limit}: too close to call, the artifact or its batch must shrink"
    return replace(found, reason=Reason.TOO_CLOSE, text=text)


def _memory_doubt(records: Sequence[LatencyRecord], runs: int, peaks: Sequence[int]) -> tuple[Reason | None, str]:
    foreign = sorted(
        {
            printable(provider, 60)
            for record in records
            for provider in record.runtime.providers
            if not provider.lower().startswith(_HOST_PROVIDERS)
        }
    )
    if len(peaks) < runs:
        return Reason.MEMORY_UNKNOWN, f"{runs - len(peaks)} of {runs} process runs could not tell theirs"
    if foreign:
        return Reason.MEMORY_UNSEEN, f"{', '.join(foreign)} may use memory that the process's own peak does not show"
    if runs < MEMORY_RUNS:
        return Reason.TOO_FEW_RUNS, f"{runs} process runs are too few, {MEMORY_RUNS} are needed"
    return None, ""


def _runs_needed(reason: Reason) -> int | None:
    return MEMORY_RUNS if reason is Reason.TOO_FEW_RUNS else None


def size_criterion(artifacts: Sequence[Artifact], limit_bytes: int) -> Criterion:
    """The size of the file, as every record of the artifact must have it, against `limit_bytes`."""
    sizes = sorted({artifact.size_bytes for artifact in artifacts})
    limit = text_from_bytes(limit_bytes)
    found = Criterion("size", limit_bytes, "B", Outcome.INCONCLUSIVE, Reason.SIZE_CONTRADICTED, "", estimate=sizes[-1])
    if len(sizes) > 1:
        said = " and ".join(str(size) for size in sizes)
        return replace(found, text=f"records of the same SHA-256 say {said} bytes; measure the artifact again")
    size = f"the file has {text_from_bytes(sizes[0])}"
    if sizes[0] > limit_bytes:
        text = f"{size}, {excess_text(found.excess or 0)} of {limit}"
        return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)
    return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=f"{size}, within the limit of {limit}")


def _right(record: AccuracyRecord) -> int:
    return sum(p == y for p, y in zip(record.predictions, record.labels, strict=True))


def _same_questions(a: AccuracyRecord, b: AccuracyRecord) -> bool:
    return a.dataset_sha256 == b.dataset_sha256 and a.labels == b.labels and a.metric == b.metric


def _unrepeatable(records: Sequence[AccuracyRecord]) -> bool:
    return any(_same_questions(a, b) and a.predictions != b.predictions for a in records for b in records)


def _undecided_accuracy(blank: Criterion, records: Sequence[AccuracyRecord]) -> Criterion | None:
    if not records:
        text = "no accuracy record of this artifact (of the same SHA-256). Make one: edgekd run, or edgekd export"
        return replace(blank, reason=Reason.NO_ACCURACY_RECORD, text=text)
    if _unrepeatable(records):
        text = "the artifact gave different answers to the same examples; make its runtime deterministic"
        return replace(blank, reason=Reason.NOT_REPEATABLE, text=text)
    return None


def accuracy_criterion(records: Sequence[AccuracyRecord], limit: float) -> Criterion:
    """The score on the fixed data set against `limit`, exactly; the worst of several data sets."""
    blank = Criterion("accuracy", limit, "share", Outcome.INCONCLUSIVE, Reason.NO_ACCURACY_RECORD, "")
    undecided = _undecided_accuracy(blank, records)
    if undecided is not None:
        return undecided
    worst = min(records, key=lambda record: record.accuracy)
    n, right = len(worst.labels), _right(worst)
    found = replace(blank, estimate=worst.accuracy, n=n, over=n - right)
    said = worst.words.counted_text(right, n, printable(worst.dataset, 80), worst.accuracy)
    if worst.accuracy >= limit - _ROUNDING:
        text = f"{said}, at least the {value_text(limit, 'share')} asked for"
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=text)
    text = f"{said}, {_points(found)} below the {value_text(limit, 'share')} asked for"
    return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)


def accuracy_drop_criterion(
    records: Sequence[AccuracyRecord], teachers: Sequence[AccuracyRecord], limit: float
) -> Criterion:
    """How much of the score is lost against the teacher, both asked the same; the largest loss of several."""
    blank = Criterion("accuracy_drop", limit, "share", Outcome.INCONCLUSIVE, Reason.NO_TEACHER_RECORD, "")
    undecided = _undecided_accuracy(blank, records)
    if undecided is not None:
        return undecided
    if not teachers:
        return replace(blank, text="no accuracy record of a teacher (role: teacher) to compare with")
    pairs = [(record, teacher) for record in records for teacher in teachers if _same_questions(record, teacher)]
    if not pairs:
        text = "the teacher answered other examples or has other labels; measure both on the same test data"
        return replace(blank, reason=Reason.OTHER_DATASET, text=text)
    record, teacher = max(pairs, key=lambda pair: pair[1].accuracy - pair[0].accuracy)
    n, lost = len(record.labels), teacher.accuracy - record.accuracy
    found = replace(blank, estimate=lost, n=n)
    own, its = value_text(record.accuracy, "share"), value_text(teacher.accuracy, "share")
    said = f"{record.words.score} is {own}, the teacher's {its}"
    loss = f"{100 * lost:.2f} points lost" if lost >= 0 else f"{-100 * lost:.2f} points gained"
    if lost <= limit + _ROUNDING:
        text = f"{said}: {loss}, within the {100 * limit:.2f} points allowed"
        return replace(found, outcome=Outcome.PASS, reason=Reason.KEPT, text=text)
    text = f"{said}: {loss}, {_points(found)} more than the {100 * limit:.2f} allowed"
    return replace(found, outcome=Outcome.FAIL, reason=Reason.MISSED, text=text)


def _points(found: Criterion) -> str:
    return f"{100 * (found.excess or 0):.2g} points"
