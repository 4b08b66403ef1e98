"""Where the students of a search come from: every one of a space, or of a very large space those that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekd.sizing.grid import Grid
from edgekd.sizing.measuring import Known
from edgekd.sizing.space import enumerate_students
from edgekd.sizing.table import Pricing, Table, table_of

MOST_LISTED = 1_000_000  # combinations that are looked at one by one, our choice: about a second and 1 GB


@dataclass(frozen=True, eq=False)
class Everyone:
    """All students of a space."""

    sample: Table
    refused: Mapping[str, int]
    warnings: Sequence[str]
    within: float = 0.0

    @property
    def possible(self) -> int | None:
        """How many students the space holds."""
        return len(self.sample)

    def table(self, known: Known) -> Table:  # noqa: ARG002  whatever is known, it is all of them
        """All students."""
        return self.sample


def supply_of(grid: Grid, pricing: Pricing) -> Everyone:
    """The students of `grid`. Errors: SpecError when there are none."""
    found = enumerate_students(grid)
    return Everyone(table_of(found, pricing), found.refused, found.warnings)
