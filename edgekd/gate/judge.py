"""From records and an SLA to a verdict.

What PASS needs
    latency        the exact binomial test at error 1 - confidence on all steady samples of all process runs, kept
                   after the samples are discounted for bursts (`edgekd.stats.dispersion`, 10 or more segments)
    memory         3 process runs or more, all of which know their peak, and a margin of 2 % or 3 MAD
    energy         10 looks or more at the supply in all process runs, and that all it gave, loading included, is
                   within the limit for each inference
    size           the file's bytes
    accuracy       a record of the same SHA-256; an exact comparison, for the data set is the contract
    accuracy_drop  that, and a teacher's record with the same data set and labels
    perplexity     a record of the same SHA-256 that holds the summed loss; an exact comparison
    perplexity_rise  that, and a teacher's record of the same tokens
    Equality with a limit keeps it. A limit without evidence is never kept.
What FAIL needs
    latency        the exact binomial test at error (1 - confidence) / m over the m percentiles, and that the share
                   over the limit stays too high when only whole segments count as independent
    the others     one peak, size or share beyond the limit
What else blocks a latency answer, making it INCONCLUSIVE
    THROTTLED         blocks PASS and FAIL: the board was not the one the limit was written for
    POWER_MODE        blocks both: it changed, or is not the one that the SLA names (or cannot be told)
    SUSPENDED         blocks both: the board slept while it measured
    GOVERNOR_CHANGED  blocks both
    CLOCK_FELL        blocks both: below 85 % of the highest clock for more than 10 % of the time
    MIXED_CONDITIONS  blocks both: records of one artifact under different conditions (governor and threads included)
    DRIFT             over 3 % between the first and last third: blocks both unless the answer would survive as much
                      drift again in the slowest (for FAIL the fastest) third
    RUNS_MISSING      blocks PASS: a process run that died may have been the slow one
    Noted but not blocking: an unknown throttle state, clock or sleep, one process run only, and the warnings that the
    records bring along (governor, load, temperature).
The whole
    FAIL if any limit fails, PASS only if all are kept. Several artifacts are each judged by the same rule and the
    fastest that passes is selected; the more candidates, the likelier a lucky one at its limit, which the error rates
    do not count. Nor do they count a second measurement made because the first did not please: give all records.
    Paired records serve prediction and are passed over. Bursts between process runs are seen only as well as 10
    segments show them, and stalls too rare to have come up not at all; a note says how rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from edgekd.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_SLA_MISSED, InputError
from edgekd.gate.conditions import cautions
from edgekd.gate.criteria import accuracy_criterion, accuracy_drop_criterion, memory_criterion, size_criterion
from edgekd.gate.energy import energy_criterion
from edgekd.gate.latency import DRIFT_LIMIT, Samples, latency_criterion, samples_from_records
from edgekd.gate.perplexity import perplexity_criterion, perplexity_rise_criterion
from edgekd.gate.verdict import Criterion, Outcome, Verdict, overall
from edgekd.record import AccuracyRecord, Artifact, LatencyRecord, PairedRecord
from edgekd.sla import Sla, quantile_from_name
from edgekd.stats import unseen_rate
from edgekd.text import did_you_mean, listing, printable
from edgekd.units import NS_PER_S, seconds_from_ns, text_from_s

_SHOWN = 200
AnyRecord = LatencyRecord | PairedRecord | AccuracyRecord


@dataclass(frozen=True)
class _Evidence:
    """All records of one artifact; `artifact` is as the first says, its role as the first that says one."""

    artifact: Artifact
    every: tuple[Artifact, ...]
    latency: tuple[LatencyRecord, ...]
    accuracy: tuple[AccuracyRecord, ...]


def judge(records: Sequence[AnyRecord], sla: Sla, *, artifact: str | None = None) -> Verdict:
    """The verdict on `artifact` (name or SHA-256), or on the best of all artifacts that are not the teacher.

    Errors: InputError when there is nothing to judge or `artifact` is not among the records.
    """
    found = _evidence(records)
    teachers = [record for each in found if each.artifact.role == "teacher" for record in each.accuracy]
    return choose([_verdict(each, sla, teachers) for each in _judged(found, artifact)])


def choose(verdicts: Sequence[Verdict]) -> Verdict:
    """The passing verdict with the lowest median latency, or else the one nearest to passing, with the rest beside it.

    Nearest: no limit missed before some missed, then the smaller of the worst misses, then fewer open limits.
    Errors: InputError for no verdict.
    """
    if not verdicts:
        raise InputError("no verdict to choose from, expected at least one")
    ranked = sorted((replace(verdict, alternatives=()) for verdict in verdicts), key=_rank)
    return replace(ranked[0], alternatives=tuple(ranked[1:]))


def exit_code(verdict: Verdict) -> int:
    """0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE."""
    return {
        Outcome.PASS: EXIT_PASS,
        Outcome.FAIL: EXIT_SLA_MISSED,
        Outcome.INCONCLUSIVE: EXIT_INCONCLUSIVE,
    }[verdict.outcome]


def _rank(verdict: Verdict) -> tuple[float | str, ...]:
    outcomes = [criterion.outcome for criterion in verdict.criteria]
    misses = [c.excess for c in verdict.criteria if c.outcome is Outcome.FAIL and c.excess is not None]
    return (
        verdict.outcome is not Outcome.PASS,
        verdict.outcome is Outcome.FAIL,
        max(misses, default=0.0),
        outcomes.count(Outcome.INCONCLUSIVE),
        verdict.median_latency_s or float("inf"),
        verdict.size_bytes,
        verdict.artifact,
        verdict.sha256,
    )


def _evidence(records: Sequence[AnyRecord]) -> list[_Evidence]:
    groups: dict[str, list[LatencyRecord | AccuracyRecord]] = {}
    for record in records:
        if not isinstance(record, PairedRecord):
            groups.setdefault(record.artifact.sha256, []).append(record)
    if not groups:
        raise InputError("no latency or accuracy record among those given. Make one: edgekd bench MODEL.onnx")
    return [_evidence_of_one(group) for group in groups.values()]


def _evidence_of_one(records: Sequence[LatencyRecord | AccuracyRecord]) -> _Evidence:
    ordered = sorted(records, key=lambda record: record.created_utc)
    every = tuple(record.artifact for record in ordered)
    roles = [artifact.role for artifact in every if artifact.role != "other"]
    latency: list[LatencyRecord] = []
    for record in ordered:
        # A file given twice is one measurement: it must not make twice the samples or runs.
        if isinstance(record, LatencyRecord) and all(record.runs != other.runs for other in latency):
            latency.append(record)
    return _Evidence(
        artifact=every[0].model_copy(update={"role": roles[0] if roles else "other"}),
        every=every,
        latency=tuple(latency),
        accuracy=tuple(record for record in ordered if isinstance(record, AccuracyRecord)),
    )


def _judged(found: Sequence[_Evidence], wanted: str | None) -> list[_Evidence]:
    if wanted is None:
        return [each for each in found if each.artifact.role != "teacher"] or list(found)
    named = [each for each in found if wanted == each.artifact.sha256]
    named = named or [each for each in found if wanted == each.artifact.name]
    shown = printable(wanted, 80)
    if not named:
        names = {printable(each.artifact.name, 80) for each in found}
        raise InputError(
            f"no record of the artifact {shown!r}, expected one of {listing(names)}.{did_you_mean(shown, names)}"
        )
    if len(named) > 1:
        hashes = listing(each.artifact.sha256[:12] for each in named)
        raise InputError(f"{len(named)} artifacts are named {shown!r} ({hashes}…). Name the one by its whole SHA-256")
    return named


def _verdict(evidence: _Evidence, sla: Sla, teachers: Sequence[AccuracyRecord]) -> Verdict:
    samples = samples_from_records(evidence.latency, sla.power_mode)
    criteria = _criteria(evidence, samples, sla, teachers)
    first = evidence.latency[0] if evidence.latency else None
    clear = samples is not None and not samples.mixed
    return Verdict(
        artifact=printable(evidence.artifact.name, _SHOWN),
        sha256=evidence.artifact.sha256,
        precision=printable(evidence.artifact.precision, _SHOWN),
        role=evidence.artifact.role,
        size_bytes=evidence.artifact.size_bytes,
        outcome=overall(criteria),
        criteria=criteria,
        confidence=sla.confidence,
        device=printable(first.device, _SHOWN) if first and first.device else None,
        host=printable(first.host.name, _SHOWN) if first else None,
        runtime=printable(f"{first.runtime.name} {first.runtime.version}", _SHOWN) if first else None,
        median_latency_s=seconds_from_ns(median(samples.ordered)) if samples and clear else None,
        notes=tuple(_notes(evidence, samples if clear else None, sla)),
    )


def _criteria(
    evidence: _Evidence, samples: Samples | None, sla: Sla, teachers: Sequence[AccuracyRecord]
) -> tuple[Criterion, ...]:
    alpha = 1 - sla.confidence
    criteria = [
        latency_criterion(samples, name, sla.latency[name], alpha_pass=alpha, alpha_fail=alpha / len(sla.latency))
        for name in sorted(sla.latency, key=quantile_from_name)
    ]
    if sla.memory is not None:
        criteria.append(memory_criterion(evidence.latency, sla.memory))
    if sla.energy is not None:
        criteria.append(energy_criterion(evidence.latency, sla.energy, sla.power_mode))
    if sla.size is not None:
        criteria.append(size_criterion(evidence.every, sla.size))
    if sla.accuracy is not None:
        criteria.append(accuracy_criterion(evidence.accuracy, sla.accuracy))
    if sla.accuracy_drop is not None:
        criteria.append(accuracy_drop_criterion(evidence.accuracy, teachers, sla.accuracy_drop))
    if sla.perplexity is not None:
        criteria.append(perplexity_criterion(evidence.accuracy, sla.perplexity))
    if sla.perplexity_rise is not None:
        criteria.append(perplexity_rise_criterion(evidence.accuracy, teachers, sla.perplexity_rise))
    return tuple(criteria)


def _notes(evidence: _Evidence, samples: Samples | None, sla: Sla) -> list[str]:
    notes = cautions(evidence.latency)
    if samples is not None:
        measured_s = sum(samples.ordered) / NS_PER_S
        rarest_s = 1 / unseen_rate(measured_s, sla.confidence)
        notes.append(
            f"{text_from_s(measured_s)} were measured, so stalls rarer than one in {text_from_s(rarest_s)} may have "
            "gone unseen."
        )
        if abs(samples.moved) > DRIFT_LIMIT:
            notes.append(f"Latency drifted by {100 * samples.moved:+.1f} % while measuring.")
    timed = {(record.runtime.name, tuple(record.runtime.providers)) for record in evidence.latency}
    asked = {(record.runtime.name, tuple(record.runtime.providers)) for record in evidence.accuracy}
    if timed and asked - timed:
        notes.append("The test part was answered in another runtime than the one whose latency was measured.")
    return notes
