"""What each student costs before anything was measured: exact counts, a roofline interval, a memory estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekd.cost.count import Counts, count_each, parameters
from edgekd.cost.operators import operators
from edgekd.cost.predict import Prediction, predict, predict_memory
from edgekd.cost.tails import TAILS, has_tails, tails
from edgekd.cost.terms import latency_terms
from edgekd.device import DeviceProfile
from edgekd.student import Candidate, StudentSpec
from edgekd.units import text_from_share

SMALL_SHARE = 0.05  # of the teacher's parameters, our choice: below it, expect to lose much of its accuracy


@dataclass(frozen=True, slots=True)
class Setting:
    """What every student is priced and measured at; `sequence` where a student has no length of its own."""

    precisions: tuple[str, ...]
    batch: int
    sequence: int
    threads: int


@dataclass(frozen=True, slots=True)
class Price:
    """The costs of a student in one precision: exact counts, and what they should lead to."""

    counts: Counts
    roofline: Prediction
    memory_bytes: int


@dataclass(frozen=True, eq=False)
class PricedStudent:
    """A student with its prices by precision. `capacity` is the parameters outside the embeddings.

    `sequence` is the tokens per input where the space leaves a choice of them, else 0.
    """

    spec: StudentSpec
    parameters: int
    capacity: int
    share: float
    prices: dict[str, Price]
    warnings: tuple[str, ...]
    sequence: int = 0

    @cached_property
    def name(self) -> str:
        """The name of the spec, with the sequence where the space leaves a choice of it."""
        return Candidate(self.spec, sequence=self.sequence).student

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; the same in every precision."""
        return next(iter(self.prices.values())).counts.macs

    @property
    def candidates(self) -> list[Candidate]:
        """The student in each allowed precision."""
        return [Candidate(self.spec, precision, self.sequence) for precision in self.prices]

    @cached_property
    def features(self) -> dict[str, dict[str, float]]:
        """What the fits of latency, memory and size take as given, by precision."""
        return {precision: _features(self.spec, price.counts) for precision, price in self.prices.items()}


def priced(
    students: Sequence[StudentSpec],
    teacher: StudentSpec,
    profile: DeviceProfile,
    setting: Setting,
    *,
    sequence: int = 0,
) -> list[PricedStudent]:
    """`students` with their prices, in the same order; for a few, see table.py for many.

    `sequence` is theirs where the space leaves a choice of it.
    """
    whole = parameters(teacher)
    return [_priced(spec, whole, profile, setting, sequence) for spec in students]


def warnings_from_share(share: float) -> tuple[str, ...]:
    """What to say about a student with that share of the teacher's parameters; nothing for most."""
    if share >= SMALL_SHARE:
        return ()
    return (f"only {text_from_share(share)} of the teacher's parameters: expect a large loss of accuracy",)


def vocabulary_parameters(spec: StudentSpec) -> int:
    """Parameters that turn inputs into vectors (tokens, positions, patches), and vectors back into tokens."""
    return vocabulary_rows(spec) * spec.hidden


def vocabulary_rows(spec: StudentSpec) -> int:
    """How many vectors as wide as hidden these parameters are."""
    if spec.family == "vit":
        return spec.patch_size**2 * spec.channels + 1 + spec.tokens + 1
    rows = spec.vocabulary
    if spec.architecture != "llama":
        rows += spec.positions
    if spec.family == "encoder":
        rows += spec.token_types
    elif not spec.labels and not spec.tied:
        rows += spec.vocabulary
    return rows


def _features(spec: StudentSpec, counts: Counts) -> dict[str, float]:
    trace = operators(spec, batch=counts.batch, sequence=counts.sequence)
    terms = latency_terms(trace) | ({TAILS: tails(trace)} if has_tails(counts.precision) else {})
    return {
        "layers": float(spec.layers),
        "macs": float(counts.macs),
        "weight_bytes": float(counts.weight_bytes),
        "activation_bytes": float(counts.activation_bytes),
        "peak_activation_bytes": float(counts.peak_activation_bytes),
        **{name: float(value) for name, value in terms.items()},
    }


def _priced(
    spec: StudentSpec, teacher_parameters: int, profile: DeviceProfile, setting: Setting, sequence: int
) -> PricedStudent:
    counts = count_each(spec, setting.precisions, batch=setting.batch, sequence=sequence or setting.sequence)
    prices = {}
    for precision, counted in counts.items():
        roofline = predict(counted, profile, precision=precision, threads=setting.threads)
        prices[precision] = Price(counted, roofline, predict_memory(counted))
    size = next(iter(prices.values())).counts.parameters
    share = size / teacher_parameters
    capacity = size - vocabulary_parameters(spec)
    return PricedStudent(spec, size, capacity, share, prices, warnings_from_share(share), sequence)
