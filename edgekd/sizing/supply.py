"""Where the students of a search come from: every one of a space, or of a very large space those that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import SpecColumns
from edgekd.errors import SpecError
from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import Places, Whole
from edgekd.sizing.choice import front_of as front_of_table
from edgekd.sizing.frontier import front_of
from edgekd.sizing.grid import Grid, thinned, trimmed
from edgekd.sizing.measuring import Known
from edgekd.sizing.space import enumerate_students, nothing_left, refusals
from edgekd.sizing.table import Pricing, Table, table_of, table_of_specs

Students = tuple[SpecColumns, NDArray[np.int64]]

MOST_COMBINATIONS = 1_000_000  # looked at one by one, our choice: about a second and 1 GB
MOST_SEARCHED = 10**12  # beyond that a step in the recipe is surely missing
SAMPLED = 20_000  # combinations of a larger space that stand for it in a calibration


@dataclass(frozen=True, eq=False)
class Everyone:
    """All students of a space."""

    sample: Table
    refused: Mapping[str, int]
    warnings: Sequence[str]
    within: float | None = 0.0

    @property
    def possible(self) -> int | None:
        """How many students the space holds."""
        return len(self.sample)

    def table(self, known: Known) -> Table:  # noqa: ARG002  whatever is known, it is all of them
        """All students."""
        return self.sample


@dataclass(eq=False)
class Searched:
    """The students that matter for a choice in a space too large to list: found anew whenever more is known.

    These are an even sample of the space, the most capable ones that keep the limits or, where none does, those that
    come nearest to them, both as looking at every student would find them, the front, and what was measured. `within`
    says by which share students off the front may be more capable than one on it, None where nobody knows.
    """

    whole: Whole
    density: float
    sample: Table
    refused: Mapping[str, int]
    warnings: Sequence[str]
    within: float | None = field(default=0.0, init=False)

    @property
    def possible(self) -> int | None:
        """Nobody counted them."""
        return None

    def table(self, known: Known) -> Table:
        """The students to decide among."""
        bounds = Bounds(known, self.whole.grid.sequences)
        places = [self.whole.best(known.number, *bounds.most_capable())]
        if known.limits and not len(places[0]):
            places.append(self.whole.best(known.number, *bounds.nearest(known.limits, bounds.end)))
            places.append(self.whole.best(known.number, *bounds.nearest(known.limits, "mid")))
            places += [self.whole.best(1, *bounds.nearest([limit], "mid")) for limit in known.limits]
        leading = self.whole.students(np.concatenate(places)).table
        measured = _measured(known, self.sample.pricing)
        parts = [self.sample, leading, measured]
        students = [(table.specs, table.sequence) for table in parts]
        return _each_once([*students, self._front(known, bounds, measured)], self.sample.pricing)

    def _front(self, known: Known, bounds: Bounds, measured: Table) -> Students:
        if self.within == 0:
            places = front_of(self.whole, bounds, known.standing(measured))
            if places is not None:
                table = self.whole.students(places).table
                return table.specs, table.sequence
        table, self.within = self._thinned
        new = bounds.unmeasured(table)
        middles = [(np.where(new, latency, np.nan), memory) for latency, memory in bounds.middles(table)]
        rows = np.unique(np.array([row for row, _ in front_of_table(table, middles)], np.intp))
        return table.specs.rows(rows), table.sequence[rows]

    @cached_property
    def _thinned(self) -> tuple[Table, float | None]:
        grid, within = thinned(self.whole.grid, MOST_COMBINATIONS / self.density)
        return table_of(enumerate_students(grid), self.whole.pricing), within


def supply_of(grid: Grid, pricing: Pricing) -> Everyone | Searched:
    """The students of `grid`. Errors: SpecError when there are none, or far too many combinations."""
    if grid.size <= MOST_COMBINATIONS:
        found = enumerate_students(grid)
        return Everyone(table_of(found, pricing), found.refused, found.warnings)
    if grid.size > MOST_SEARCHED:
        raise SpecError(
            f"the space holds {grid.size} combinations, expected at most {MOST_SEARCHED}. "
            "Give the ranges in space a larger step"
        )
    smaller, density = trimmed(grid)
    whole = Whole(smaller, pricing)
    ends = whole.students(np.concatenate([_ends(whole, 1), _ends(whole, -1)])).table
    if not len(ends):
        raise SpecError(nothing_left(refusals(grid, SAMPLED), grid))
    part = thinned(smaller, SAMPLED / density)[0]
    sample = Whole(part, pricing).students(np.indices(part.lengths, dtype=np.int32).reshape(len(part.lengths), -1).T)
    told = f"the space holds {grid.size} combinations: it was searched, and what was refused was not counted"
    together = _each_once([(table.specs, table.sequence) for table in (sample.table, ends)], pricing)
    return Searched(whole, density, together, {}, [told])


def _ends(whole: Whole, sign: int) -> Places:
    """The students of most work, or of least."""
    return whole.best(
        1,
        lambda corners: sign * (corners.last if sign > 0 else corners.first).counts.macs.astype(np.float64),
        lambda table: sign * table.counts.macs.astype(np.float64),
    )


def _measured(known: Known, pricing: Pricing) -> Table:
    specs = SpecColumns.of([student.spec for student in known.measured], pricing.teacher)
    sequence = [student.sequence or pricing.setting.sequence for student in known.measured]
    return table_of_specs(specs, np.array(sequence, np.int64), pricing)


def _each_once(parts: Sequence[Students], pricing: Pricing) -> Table:
    # In the order of an enumeration.
    names = ("layers", "hidden", "head_dim", "heads", "kv_heads", "ffn")
    columns = [np.concatenate([getattr(specs, name) for specs, _ in parts]) for name in names]
    sequences = np.concatenate([sequence for _, sequence in parts])
    sequence, *found = np.unique(np.stack([sequences, *columns], axis=1), axis=0).T
    specs = replace(parts[0][0], **dict(zip(names, found, strict=True)))
    return table_of_specs(specs, sequence, pricing)
