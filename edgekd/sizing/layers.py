"""Exact counts of many students that share their shapes.

From the second on, the layers of a transformer are equal, so every count grows by the same amount with each further
layer. Students that differ in layers alone therefore share counts of two depths; a test compares with counting each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import CountColumns, SpecColumns, Whole, count_columns
from edgekd.cost.terms import OF_CACHES, of_cache

Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Grown:
    """A count of every shape with `first` layer, and what each layer more adds to it."""

    first: Numbers
    step: Numbers

    def grown(self, layers: Whole, of: Any = slice(None)) -> Numbers:
        """The count of students of the shapes `of` with `layers` layers."""
        found: Numbers = self.first[of] + (layers - 1) * self.step[of]
        return found


def shape_parameters(shapes: SpecColumns) -> Grown:
    """The parameters of `shapes`, whose own layers do not count."""
    if not len(shapes):
        return Grown(np.zeros(0, np.int64), np.zeros(0, np.int64))
    one, two = (count_columns(_deep(shapes, layers), (), batch=1, sequence=1).parameters for layers in (1, 2))
    return Grown(one, two - one)


def _deep(shapes: SpecColumns, layers: int) -> SpecColumns:
    return replace(shapes, layers=np.full(len(shapes), layers, np.int64))


@dataclass(frozen=True, eq=False)
class Layered:
    """Students as a shape each and a number of layers.

    Shapes: `layers` and `of` int64 [students]; `of` is the position in `shapes`, whose own layers do not count.
    """

    shapes: SpecColumns
    layers: Whole
    of: Whole

    def rows(self, index: Any) -> Layered:
        """The students at `index`."""
        return Layered(self.shapes, self.layers[index], self.of[index])

    @cached_property
    def specs(self) -> SpecColumns:
        """The students with all dimensions."""
        return replace(self.shapes.rows(self.of), layers=self.layers)

    @cached_property
    def parameters(self) -> Whole:
        """The parameters of each student."""
        return shape_parameters(self.shapes).grown(self.layers, self.of)

    def counts(self, precisions: Sequence[str], *, batch: int, sequence: int) -> CountColumns:
        """What count_columns gives for all students. Errors: SpecError for an unknown precision."""
        if len(self.layers) < 3 * len(self.shapes):
            return count_columns(self.specs, precisions, batch=batch, sequence=sequence)
        one, two, three = (
            count_columns(_deep(self.shapes, layers), precisions, batch=batch, sequence=sequence)
            for layers in (1, 2, 3)
        )
        single = self.layers == 1

        def together(of: Callable[[CountColumns], Numbers]) -> Numbers:
            # The first layer may differ from the others, which are equal.
            low, middle, high = of(one), of(two), of(three)
            found = Grown(middle, high - middle).grown(self.layers - 1, self.of)
            if single.any():
                found[single] = low[self.of[single]]
            return found

        def by_precision(kind: str) -> dict[str, Whole]:
            return {name: together(_column(kind, name)) for name in precisions}

        return CountColumns(
            parameters=together(lambda counts: counts.parameters),
            macs=together(lambda counts: counts.macs),
            weight_bytes=by_precision("weight_bytes"),
            activation_bytes=by_precision("activation_bytes"),
            peak_activation_bytes=by_precision("peak_activation_bytes"),
            terms=_Lazy(one.terms, lambda name: together(_column("terms", name))),
        )


def _column(kind: str, name: str) -> Callable[[CountColumns], Numbers]:
    def column(counts: CountColumns) -> Numbers:
        found: Numbers = getattr(counts, kind)[name]
        return found

    return column


class _Lazy(Mapping[str, Numbers]):
    """Columns that are made when they are asked for: there are many, and a fit uses few of them."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Numbers]) -> None:
        self._names = tuple(names)
        self._make = make
        self._made: dict[str, Numbers] = {}

    def __getitem__(self, name: str) -> Numbers:
        if name not in self._made:
            # What exceeds a cache does not grow by equal steps; the weights themselves do.
            self._made[name] = of_cache(name, self) if name in OF_CACHES else self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
