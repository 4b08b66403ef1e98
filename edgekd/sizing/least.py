"""Terms that may shrink while a dimension grows, at the least that any student of a box has of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekd.cost.columns import least_tail_columns
from edgekd.cost.tails import TAILS, has_tails
from edgekd.sizing.table import Numbers, Table


def with_least_tails(first: Table, last: Table) -> Table:
    """`first` with the tails that no student between it and `last` is below; unchanged where no precision has tails.

    Shapes: the tables have one length, equal inputs, and no dimension of `first` is larger than that of `last`.
    """
    if not any(map(has_tails, first.precisions)):
        return first
    batch, least = first.pricing.setting.batch, np.zeros(len(first))
    for length in np.unique(first.sequence):
        rows = np.flatnonzero(first.sequence == length)
        ends = (table.specs.rows(rows) for table in (first, last))
        least[rows] = least_tail_columns(*ends, batch=batch, sequence=int(length))
    return with_tails(first, least)


def with_tails(table: Table, tails: Numbers) -> Table:
    """`table` with other tails than those of its students. Shapes: `tails` [students]."""
    counts = replace(table.counts, terms={**table.counts.terms, TAILS: tails})
    return replace(table, counts=counts)
