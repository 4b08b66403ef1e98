"""Which students to measure for the fit of a search: a D-optimal design, the same one every time."""

from __future__ import annotations

import numpy as np

from edgekd.cost.design import crude_latency, designed
from edgekd.sizing.table import Table

MOST_ROWS = 4000  # our choice: a design among more rows takes seconds and is no better


def to_measure(table: Table, number: int) -> list[int]:
    """At most `number` rows of `table`, the first ones alone a good choice already; see edgekd.cost.design.

    Of a table with very many rows an even part is looked at, in the order of about their latency, its ends included.
    """
    terms = table.counts.terms
    order = np.argsort(crude_latency(terms), kind="stable")
    if len(order) > MOST_ROWS:
        order = order[np.linspace(0, len(order) - 1, MOST_ROWS).astype(np.intp)]
    found = designed({name: values[order] for name, values in terms.items()}, number)
    return [int(order[position]) for position in found]
