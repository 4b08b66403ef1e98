"""Many students in columns: exact counts, rooflines and what the fits take as given, a million in about a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import CountColumns, SpecColumns, Whole, count_columns
from edgekd.cost.count import parameters
from edgekd.cost.predict import RUNTIME_BYTES, rates_of, roofs
from edgekd.device import DeviceProfile
from edgekd.sizing.price import PricedStudent, Setting, priced, vocabulary_rows
from edgekd.sizing.space import Enumeration
from edgekd.student import Candidate, StudentSpec

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ends:
    """An interval for each student, and the value in it.

    Shapes: [students], whole numbers or floats. NaN where nothing is known.
    """

    low: NDArray[Any]
    mid: NDArray[Any]
    high: NDArray[Any]


@dataclass(frozen=True)
class Pricing:
    """What students are priced against. `several` says whether they differ in the length of their input."""

    teacher: StudentSpec
    profile: DeviceProfile
    setting: Setting
    several: bool = False

    @cached_property
    def teacher_parameters(self) -> int:
        """The parameters of the teacher."""
        return parameters(self.teacher)


@dataclass(frozen=True, eq=False)
class Table:
    """Students as columns. A row becomes a PricedStudent when it is looked at closely.

    Shapes: all columns are [students]; `sequence` int64, tokens per input.
    """

    pricing: Pricing
    specs: SpecColumns
    sequence: Whole
    counts: CountColumns

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that the students are priced in."""
        return self.pricing.setting.precisions

    @cached_property
    def capacity(self) -> Whole:
        """Parameters outside the embeddings."""
        return self.counts.parameters - vocabulary_rows(self.pricing.teacher) * self.specs.hidden

    @cached_property
    def shares(self) -> Numbers:
        """Parameters against the teacher's."""
        return self.counts.parameters / self.pricing.teacher_parameters

    @cached_property
    def sequences(self) -> list[int]:
        """The lengths of input that students have, ascending."""
        return [int(value) for value in np.unique(self.sequence)] if self.pricing.several else [int(self.sequence[0])]

    def memory_bytes(self, precision: str) -> Whole:
        """The estimate of cost.predict.predict_memory."""
        return self.counts.weight_bytes[precision] + self.counts.peak_activation_bytes[precision] + RUNTIME_BYTES

    def roofline(self, precision: str) -> tuple[Ends, Mask] | str:
        """The uncalibrated seconds and where memory binds, or what the device profile lacks for them."""
        rates = rates_of(self.pricing.profile, precision=precision, threads=self.pricing.setting.threads)
        if isinstance(rates, str):
            return rates
        traffic_bytes = self.counts.weight_bytes[precision] + self.counts.activation_bytes[precision]
        low_s, compute_s, memory_s, high_s = roofs(self.counts.macs, traffic_bytes, rates)
        return Ends(low_s, np.maximum(compute_s, memory_s), high_s), memory_s > compute_s

    def features(self, precision: str) -> Mapping[str, NDArray[Any]]:
        """What the fits take as given, as PricedStudent.features has it for one."""
        return _Features(self.specs, self.counts, precision)

    def rank(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """`rows` in their order of capability, the most capable last; see exceeds."""
        return rows[np.lexsort([keys[rows] for keys in reversed(self._keys)])]

    def exceeds(self, row: int) -> Mask:
        """Which students are more capable than the one at `row`.

        Longer inputs come first, for what a student does not read no size makes up for. Then parameters outside the
        embeddings, because their number ranks trained transformers better than the training-free metrics tried so far,
        and a large vocabulary adds parameters that hardly add quality; then depth. The other dimensions only make the
        order total.
        Source: Javaheripi et al. 2022, arXiv:2203.02094; Kaplan et al. 2020, arXiv:2001.08361.
        """
        above, equal = np.zeros(len(self), np.bool_), np.ones(len(self), np.bool_)
        for keys in self._keys:
            above |= equal & (keys > keys[row])
            equal &= keys == keys[row]
            if equal.sum() == 1:
                break
        return above

    @property
    def _keys(self) -> tuple[Whole, ...]:
        specs = self.specs
        rest = (specs.hidden, specs.heads, specs.head_dim, specs.kv_heads, specs.ffn)
        return (self.sequence, self.capacity, specs.layers, *rest)

    def leading(self, mask: Mask, number: int) -> list[int]:
        """The `number` most capable of the students in `mask`, the most capable first."""
        found: list[int] = []
        for sequence in self.sequences[::-1]:
            left = number - len(found)
            rows = np.flatnonzero(mask & (self.sequence == sequence))
            if len(rows) > left > 0:
                least = np.partition(self.capacity[rows], len(rows) - left)[len(rows) - left]
                rows = rows[self.capacity[rows] >= least]
            found += [int(row) for row in self.rank(rows)[::-1][:left]]
        return found

    def row_of(self, student: PricedStudent) -> int | None:
        """Where `student` stands, or None."""
        found = self.capacity == student.capacity
        if student.sequence:
            found &= self.sequence == student.sequence
        rows = np.flatnonzero(found)
        rows = rows[self.specs.rows(rows).where(student.spec)]
        return int(rows[0]) if len(rows) else None

    def name(self, row: int) -> str:
        """The name of the student at `row`."""
        return Candidate(self.specs.spec(row), sequence=self._own_sequence(row)).student

    def student(self, row: int) -> PricedStudent:
        """The student at `row` with its prices."""
        pricing = self.pricing
        (found,) = priced(
            [self.specs.spec(row)], pricing.teacher, pricing.profile, pricing.setting, sequence=self._own_sequence(row)
        )
        return found

    def _own_sequence(self, row: int) -> int:
        return int(self.sequence[row]) if self.pricing.several else 0


class _Features(Mapping[str, NDArray[Any]]):
    """The columns of one precision under the names that fits know; a column is made when it is asked for."""

    def __init__(self, specs: SpecColumns, counts: CountColumns, precision: str) -> None:
        self._terms = counts.terms
        self._own: dict[str, Callable[[], NDArray[Any]]] = {
            "layers": lambda: specs.layers,
            "macs": lambda: counts.macs,
            "weight_bytes": lambda: counts.weight_bytes[precision],
            "activation_bytes": lambda: counts.activation_bytes[precision],
            "peak_activation_bytes": lambda: counts.peak_activation_bytes[precision],
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        own = self._own.get(name)
        return self._terms[name] if own is None else own()

    def __iter__(self) -> Iterator[str]:
        return iter((*self._own, *self._terms))

    def __len__(self) -> int:
        return len(self._own) + len(self._terms)


def table_of(enumeration: Enumeration, pricing: Pricing) -> Table:
    """All students of a space with their counts."""
    layered, sequence = enumeration.layered, enumeration.sequence
    sequences = np.unique(sequence) if pricing.several else sequence[:1]
    # Sequences are the outermost axis, so their parts follow each other.
    parts = [
        (layered.rows(sequence == value) if pricing.several else layered).counts(
            pricing.setting.precisions, batch=pricing.setting.batch, sequence=int(value)
        )
        for value in sequences
    ]
    return Table(pricing, enumeration.specs, sequence, _joined(parts))


def table_of_specs(specs: SpecColumns, sequence: Whole, pricing: Pricing) -> Table:
    """Any students with their counts, in the order given."""
    setting = pricing.setting
    groups = [np.flatnonzero(sequence == value) for value in np.unique(sequence)] if pricing.several else []
    if len(groups) < 2:
        length = int(sequence[0]) if len(sequence) else setting.sequence
        counts = count_columns(specs, setting.precisions, batch=setting.batch, sequence=length)
        return Table(pricing, specs, sequence, counts)
    parts = [
        count_columns(specs.rows(rows), setting.precisions, batch=setting.batch, sequence=int(sequence[rows[0]]))
        for rows in groups
    ]
    return Table(pricing, specs, sequence, _joined(parts, np.argsort(np.concatenate(groups))))


def _joined(parts: Sequence[CountColumns], order: Any = None) -> CountColumns:
    if len(parts) == 1:
        return parts[0]

    def together(columns: list[NDArray[Any]]) -> NDArray[Any]:
        joined = np.concatenate(columns)
        return joined if order is None else joined[order]

    def by_name(kind: str) -> dict[str, NDArray[Any]]:
        names = getattr(parts[0], kind)
        return {name: together([getattr(part, kind)[name] for part in parts]) for name in names}

    return CountColumns(
        parameters=together([part.parameters for part in parts]),
        macs=together([part.macs for part in parts]),
        weight_bytes=by_name("weight_bytes"),
        activation_bytes=by_name("activation_bytes"),
        peak_activation_bytes=by_name("peak_activation_bytes"),
        terms=by_name("terms"),
    )
