"""What each student costs before anything was measured: exact counts, a roofline interval, a memory estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekd.cost.count import Counts, count
from edgekd.cost.predict import Prediction, predict, predict_memory
from edgekd.device import DeviceProfile
from edgekd.sizing.space import SMALL_SHARE
from edgekd.sizing.tally import CountTally
from edgekd.student import Candidate, StudentSpec
from edgekd.units import text_from_share


@dataclass(frozen=True, slots=True)
class Setting:
    """What every student is priced and measured at."""

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
    """A student with its prices by precision. `capacity` is the parameters outside the embeddings."""

    spec: StudentSpec
    parameters: int
    capacity: int
    share: float
    prices: dict[str, Price]
    warnings: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """The name of the spec."""
        return self.spec.name

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; the same in every precision."""
        return next(iter(self.prices.values())).counts.macs

    @property
    def candidates(self) -> list[Candidate]:
        """The student in each allowed precision."""
        return [Candidate(self.spec, precision) for precision in self.prices]

    @cached_property
    def features(self) -> dict[str, dict[str, float]]:
        """What the fits of latency, memory and size take as given, by precision."""
        return {precision: _features(self.spec, price.counts) for precision, price in self.prices.items()}


def capacity_order(student: PricedStudent) -> tuple[int, int, str]:
    """The sort key that puts the most capable student last: parameters outside the embeddings, then depth.

    The parameter count is the prior because it ranks trained transformers better than the training-free metrics tried
    so far; embeddings are left out because a large vocabulary adds parameters that hardly add quality. The name only
    makes the order total.
    Source: Javaheripi et al. 2022, arXiv:2203.02094; Kaplan et al. 2020, arXiv:2001.08361.
    """
    return student.capacity, student.spec.layers, student.name


def priced(
    students: Sequence[StudentSpec], teacher: StudentSpec, profile: DeviceProfile, setting: Setting
) -> list[PricedStudent]:
    """`students` with their prices, in the same order."""
    reference = count(teacher, batch=setting.batch, sequence=setting.sequence, precision="fp32")
    tally = CountTally(batch=setting.batch, sequence=setting.sequence, precisions=setting.precisions)
    return [_priced(spec, reference.parameters, profile, setting, tally.counts(spec)) for spec in students]


def warnings_from_share(share: float) -> tuple[str, ...]:
    """What to say about a student with that share of the teacher's parameters; nothing for most."""
    if share >= SMALL_SHARE:
        return ()
    return (f"only {text_from_share(share)} of the teacher's parameters: expect a large loss of accuracy",)


def vocabulary_parameters(spec: StudentSpec) -> int:
    """Parameters that turn inputs into vectors (tokens, positions, patches), and vectors back into tokens."""
    if spec.family == "vit":
        return (spec.patch_size**2 * spec.channels + 1 + spec.tokens + 1) * spec.hidden
    rows = spec.vocabulary
    if spec.architecture != "llama":
        rows += spec.positions
    if spec.family == "encoder":
        rows += spec.token_types
    elif not spec.labels and not spec.tied:
        rows += spec.vocabulary
    return rows * spec.hidden


def _features(spec: StudentSpec, counts: Counts) -> dict[str, float]:
    return {
        "layers": float(spec.layers),
        "macs": float(counts.macs),
        "weight_bytes": float(counts.weight_bytes),
        "activation_bytes": float(counts.activation_bytes),
        "peak_activation_bytes": float(counts.peak_activation_bytes),
    }


def _priced(
    spec: StudentSpec,
    teacher_parameters: int,
    profile: DeviceProfile,
    setting: Setting,
    counts: Mapping[str, Counts],
) -> PricedStudent:
    prices = {}
    for precision, counted in counts.items():
        roofline = predict(counted, profile, precision=precision, threads=setting.threads)
        prices[precision] = Price(counted, roofline, predict_memory(counted))
    parameters = next(iter(prices.values())).counts.parameters
    share = parameters / teacher_parameters
    capacity = parameters - vocabulary_parameters(spec)
    return PricedStudent(spec, parameters, capacity, share, prices, warnings_from_share(share))
