"""The counts of many students at once: the same list of operators as for one, with arrays in the place of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.count import activation_sum, mac_sums, parameter_sum, peak_sum, weight_sum
from edgekd.cost.operators import trace_of
from edgekd.cost.tails import TAILS, has_tails, least_tails, tails
from edgekd.cost.terms import latency_terms
from edgekd.student import StudentSpec

Whole = NDArray[np.int64]
DIMENSIONS = ("layers", "hidden", "heads", "head_dim", "kv_heads", "ffn")
# Rows counted at a time, our choice: the arrays of one pass then stay within a few tens of megabytes.
CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class SpecColumns:
    """The dimensions of many students of one teacher.

    Shapes: every column is int64 [students]. What is no column is as `base` has it.
    """

    base: StudentSpec
    layers: Whole
    hidden: Whole
    heads: Whole
    head_dim: Whole
    kv_heads: Whole
    ffn: Whole

    def __len__(self) -> int:
        return len(self.layers)

    @classmethod
    def of(cls, specs: Sequence[StudentSpec], base: StudentSpec) -> SpecColumns:
        """The columns of `specs`, which differ from `base` in DIMENSIONS alone."""
        return cls(base, *(np.array([getattr(spec, name) for spec in specs], np.int64) for name in DIMENSIONS))

    @property
    def columns(self) -> tuple[Whole, ...]:
        """The dimensions in the order of DIMENSIONS."""
        return self.layers, self.hidden, self.heads, self.head_dim, self.kv_heads, self.ffn

    def where(self, spec: StudentSpec) -> NDArray[np.bool_]:
        """Which of the students is `spec`."""
        found = np.ones(len(self), np.bool_)
        for name, column in zip(DIMENSIONS, self.columns, strict=True):
            found &= column == getattr(spec, name)
        return found

    def rows(self, index: Any) -> SpecColumns:
        """The students at `index`: a slice, a mask or positions."""
        return SpecColumns(self.base, *(getattr(self, name)[index] for name in DIMENSIONS))

    def spec(self, row: int) -> StudentSpec:
        """The student at `row`. Errors: SpecError for dimensions that no such model can have."""
        sizes = {name: int(getattr(self, name)[row]) for name in DIMENSIONS}
        return StudentSpec(**(self.base.to_dict() | sizes))


@dataclass(frozen=True, eq=False)
class CountColumns:
    """The counts of many students, as count.Counts has them for one.

    Shapes: int64 [students]; those by precision are tables of such columns. `terms` are those of terms.latency_terms,
    and tails.TAILS where a precision has it; float64 [students].
    """

    parameters: Whole
    macs: Whole
    weight_bytes: Mapping[str, Whole]
    activation_bytes: Mapping[str, Whole]
    peak_activation_bytes: Mapping[str, Whole]
    terms: Mapping[str, NDArray[np.float64]]


def count_columns(
    columns: SpecColumns, precisions: Sequence[str], *, batch: int, sequence: int, past: int = 0
) -> CountColumns:
    """The counts of all students in `columns`, which must be ones that `operators` accepts for this input.

    Errors: SpecError for an unknown precision.
    """
    found: dict[str, NDArray[Any]] = {}
    if not len(columns):
        one = SpecColumns.of([columns.base], columns.base)
        counted = _counted(one, 2, precisions, batch, sequence, past)
        found = {name: np.atleast_1d(values)[:0] for name, values in counted.items()}
    for start in range(0, len(columns), CHUNK):
        chunk = columns.rows(slice(start, start + CHUNK))
        for blocks, mask in ((1, chunk.layers == 1), (2, chunk.layers > 1)):
            if mask.any():
                part = _counted(chunk.rows(mask), blocks, precisions, batch, sequence, past)
                where = start + np.flatnonzero(mask)
                for name, values in part.items():
                    if name not in found:
                        found[name] = np.zeros(len(columns), np.float64 if name.startswith("terms/") else np.int64)
                    found[name][where] = values
    return _tables(found, precisions)


def _counted(
    columns: SpecColumns, blocks: int, precisions: Sequence[str], batch: int, sequence: int, past: int
) -> dict[str, Any]:
    spec = cast("StudentSpec", _Spec(columns))
    trace = trace_of(spec, blocks, batch=batch, sequence=sequence, past=past)
    found: dict[str, Any] = {"parameters": parameter_sum(trace), "macs": sum(mac_sums(trace).values())}
    for precision in precisions:
        found[f"weight/{precision}"] = weight_sum(trace, precision)
        found[f"activation/{precision}"] = activation_sum(trace, precision)
        found[f"peak/{precision}"] = peak_sum(trace, precision, larger=np.maximum)
    found |= {f"terms/{name}": values for name, values in latency_terms(trace).items()}
    if any(map(has_tails, precisions)):
        found[f"terms/{TAILS}"] = tails(trace)
    return found


def least_tail_columns(first: SpecColumns, last: SpecColumns, *, batch: int, sequence: int) -> NDArray[np.float64]:
    """What tails.least_tails gives for each pair of students, the dimensions of the `first` being no larger.

    Shapes: the columns have one length, and so has the result.
    """
    # Where there is one layer only, the second block stands for none.
    traces = (
        trace_of(cast("StudentSpec", _Spec(columns)), 2, batch=batch, sequence=sequence) for columns in (first, last)
    )
    return np.asarray(least_tails(*traces), np.float64)


class _Spec(SimpleNamespace):
    """A spec whose dimensions are columns; what operators.py asks of a StudentSpec and nothing else."""

    def __init__(self, columns: SpecColumns) -> None:
        table: dict[str, Any] = columns.base.to_dict()
        table |= {name: getattr(columns, name) for name in DIMENSIONS}
        super().__init__(**table, family=columns.base.family, tokens=columns.base.tokens)


def _tables(found: Mapping[str, NDArray[Any]], precisions: Sequence[str]) -> CountColumns:
    def by_precision(kind: str) -> dict[str, Whole]:
        return {precision: found[f"{kind}/{precision}"] for precision in precisions}

    return CountColumns(
        parameters=found["parameters"],
        macs=found["macs"],
        weight_bytes=by_precision("weight"),
        activation_bytes=by_precision("activation"),
        peak_activation_bytes=by_precision("peak"),
        terms={name.removeprefix("terms/"): found[name] for name in found if name.startswith("terms/")},
    )
