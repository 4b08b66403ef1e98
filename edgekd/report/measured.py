"""The records of a run, artifact by artifact, and how one compares with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekd.record import AccuracyRecord, Artifact, LatencyRecord, Losses, PairedRecord
from edgekd.stats import quantile
from edgekd.units import seconds_from_ns, text_from_share


@dataclass(frozen=True)
class Measured:
    """One artifact and all its records."""

    artifact: Artifact
    latency: tuple[LatencyRecord, ...]
    accuracy: tuple[AccuracyRecord, ...]

    @property
    def label(self) -> str:
        """'student int8': what the artifact is in the run, or its name for one with no part in it."""
        who = self.artifact.role if self.artifact.role != "other" else self.artifact.name
        return f"{who} {self.artifact.precision}"

    @cached_property
    def runs_ns(self) -> list[list[int]]:
        """The steady samples of each process run, in order."""
        return [run.samples_ns for record in self.latency for run in record.runs]

    @cached_property
    def samples_ns(self) -> list[int]:
        """Every steady sample, in order."""
        return [sample for run in self.runs_ns for sample in run]

    @cached_property
    def sorted_ns(self) -> list[int]:
        """Every steady sample, the fastest first."""
        return sorted(self.samples_ns)

    def quantile_s(self, p: float) -> float | None:
        """The latency that the share `p` of the samples does not exceed; None when nothing was measured."""
        return seconds_from_ns(quantile(self.sorted_ns, p)) if self.sorted_ns else None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest peak of all process runs, or None when one of them does not know its own."""
        peaks = [record.peak_memory_bytes for record in self.latency]
        known = [peak for peak in peaks if peak is not None]
        return max(known) if known and len(known) == len(peaks) else None

    @property
    def answers(self) -> AccuracyRecord | None:
        """The accuracy record with the most examples."""
        return max(self.accuracy, key=lambda record: len(record.labels), default=None)

    @property
    def losses(self) -> Losses | None:
        """What that record holds of a language model's losses."""
        return self.answers.losses if self.answers else None


def measured(records: Sequence[LatencyRecord | PairedRecord | AccuracyRecord]) -> list[Measured]:
    """The artifacts of `records`: the teacher first, then by name and precision. Paired records are passed over."""
    groups: dict[str, list[LatencyRecord | AccuracyRecord]] = {}
    for record in sorted(records, key=lambda record: record.created_utc):
        if not isinstance(record, PairedRecord):
            groups.setdefault(record.artifact.sha256, []).append(record)
    return sorted((_measured(group) for group in groups.values()), key=_order)


def _measured(group: Sequence[LatencyRecord | AccuracyRecord]) -> Measured:
    latency: list[LatencyRecord] = []
    for record in group:
        # A file given twice is one measurement, as it is for the gate.
        if isinstance(record, LatencyRecord) and all(record.runs != other.runs for other in latency):
            latency.append(record)
    named = [record.artifact for record in group if record.artifact.role != "other"]
    return Measured(
        artifact=(named or [group[0].artifact])[0],
        latency=tuple(latency),
        accuracy=tuple(record for record in group if isinstance(record, AccuracyRecord)),
    )


_ROLES = ("teacher", "student", "other")


def _order(found: Measured) -> tuple[int, str, str, str]:
    artifact = found.artifact
    return (_ROLES.index(artifact.role), artifact.precision, artifact.name, artifact.sha256)


def speed_text(value: float, reference: float) -> str:
    """'3.4x faster', '1.2x slower' or 'as fast' for a duration beside `reference`."""
    ratio = reference / value
    if f"{max(ratio, 1 / ratio):.1f}" == "1.0":
        return "as fast"
    return f"{ratio:.1f}x faster" if ratio > 1 else f"{1 / ratio:.1f}x slower"


def share_text(value: float, reference: float) -> str:
    """'28 %': `value` as a share of `reference`, with a digit more below a tenth."""
    share = value / reference
    return text_from_share(share, 0 if share >= 0.1 else 1)


def points_text(value: float, reference: float) -> str:
    """'-0.56 points': how far one share is from another."""
    difference = 100 * (value - reference)
    return f"{difference:+.2f} points" if f"{difference:.2f}" not in ("0.00", "-0.00") else "equal"


def rise_text(value: float, reference: float) -> str:
    """'+5.2 %': how far a perplexity is above another."""
    return f"{100 * (value / reference - 1):+.1f} %"
