"""Where the students of a search come from: every one of a space, or of a very large space those that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import SpecColumns
from edgekd.cost.tails import has_tails
from edgekd.errors import SpecError
from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import Places, Whole
from edgekd.sizing.choice import front_of as front_of_table
from edgekd.sizing.frontier import front_of
from edgekd.sizing.grid import Grid, thinned, trimmed
from edgekd.sizing.measuring import Known
from edgekd.sizing.space import enumerate_students, nothing_left, refusals
from edgekd.sizing.table import Pricing, Table, table_of, table_of_specs
from edgekd.units import text_from_share

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
    combinations: int
    within: float | None = field(default=0.0, init=False)
    proven: bool = field(default=True, init=False)

    @property
    def possible(self) -> int | None:
        """Nobody counted them."""
        return None

    @property
    def warnings(self) -> Sequence[str]:
        """What to say about the search, as it went last."""
        told = (
            f"the space holds {self.combinations:,} combinations: it was searched, and what was refused was not counted"
        )
        if self.proven:
            return [told]
        share = self._thinned[1]
        more = "" if share is None else f" by up to {text_from_share(share, 0)}"
        return [told, f"the search was cut short: a student that was not looked at may be more capable{more}"]

    def table(self, known: Known) -> Table:
        """The students to decide among."""
        bounds = Bounds(known, self.whole.grid.sequences)
        aim = known.learned.aim
        ends = [1.0] if aim is None else sorted({aim.most, aim.high})
        found = [self.whole.best(known.number, *bounds.most_capable(most), ties=True) for most in ends]
        if known.limits and not any(len(each.places) for each in found):
            found.append(self.whole.best(known.number, *bounds.nearest(known.limits, bounds.end)))
            found.append(self.whole.best(known.number, *bounds.nearest(known.limits, "mid")))
            found += [self.whole.best(1, *bounds.nearest([limit], "mid")) for limit in known.limits]
        self.proven = all(each.proven for each in found)
        leading = self.whole.students(np.concatenate([each.places for each in found])).table
        measured = _measured(known, self.sample.pricing)
        students = [_students(table) for table in (self.sample, leading, measured)]
        if not self.proven:
            students.append(self._leading_of_part(known))
        return _each_once([*students, self._front(known, bounds, measured)], self.sample.pricing)

    def _leading_of_part(self, known: Known) -> Students:
        """The most capable students of the thinned space, where those of the whole were not found in time."""
        table, _ = self._thinned
        standing = known.standing(table)
        rows = np.array(table.leading(standing.feasible, known.number), np.intp)
        if not len(rows):
            rows = np.argsort(standing.best_ratios(), kind="stable")[: known.number]
        return _students(table, rows)

    def _front(self, known: Known, bounds: Bounds, measured: Table) -> Students:
        if self.within == 0:
            places = front_of(self.whole, bounds, known.standing(measured))
            if places is not None:
                return _students(self.whole.students(places).table)
        table, self.within = self._thinned
        new = bounds.unmeasured(table)
        middles = [(np.where(new, latency, np.nan), memory) for latency, memory in bounds.middles(table)]
        rows = np.unique(np.array([row for row, _ in front_of_table(table, middles)], np.intp))
        return _students(table, rows)

    @cached_property
    def _thinned(self) -> tuple[Table, float | None]:
        pricing = self.whole.pricing
        tails = any(map(has_tails, pricing.setting.precisions))
        grid, within = thinned(self.whole.grid, MOST_COMBINATIONS / self.density, tails=tails)
        return table_of(enumerate_students(grid), pricing), within


def supply_of(grid: Grid, pricing: Pricing) -> Everyone | Searched:
    """The students of `grid`. Errors: SpecError when there are none, or far too many combinations."""
    if grid.size <= MOST_COMBINATIONS:
        found = enumerate_students(grid)
        return Everyone(table_of(found, pricing), found.refused, found.warnings)
    if grid.size > MOST_SEARCHED:
        raise SpecError(
            f"the space holds {grid.size:,} combinations, expected at most {MOST_SEARCHED:,}. "
            "Give the ranges in space a larger step"
        )
    smaller, density = trimmed(grid)
    whole, part = Whole(smaller, pricing), thinned(smaller, SAMPLED / density)[0]
    sample = Whole(part, pricing).students(np.indices(part.lengths, dtype=np.int32).reshape(len(part.lengths), -1).T)
    ends = whole.students(np.concatenate([_end(whole, 1), _end(whole, -1)]))
    if not len(sample.table) + len(ends.table):
        raise SpecError(nothing_left(refusals(grid, SAMPLED), grid))
    together = _each_once([_students(sample.table), _students(ends.table)], pricing)
    return Searched(whole, density, together, {}, grid.size)


def _end(whole: Whole, sign: int) -> Places:
    """A student of most work, or of least, as far as that is found soon."""
    return whole.best(
        1,
        lambda corners: sign * (corners.last if sign > 0 else corners.first).counts.macs.astype(np.float64),
        lambda table: sign * table.counts.macs.astype(np.float64),
    ).places


def _students(table: Table, rows: Any = slice(None)) -> Students:
    return table.specs.rows(rows), table.sequence[rows]


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
