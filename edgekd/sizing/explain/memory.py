"""Where the memory of a running student goes: weights by class of operators, the peak of activations, the runtime."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekd.cost.calibrate import Fit
from edgekd.cost.count import cache_bytes, weight_sum
from edgekd.cost.predict import RUNTIME_BYTES
from edgekd.sizing.explain.attribution import EVERY_INFERENCE, PEAK, attributed, classes_of
from edgekd.sizing.explain.known import Figure, Known, Pass, Placed
from edgekd.sizing.explain.peak import Peak, peak_of

RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One part of the memory: what it should take, and its exact size, None where that cannot be counted.

    A fit may have no price for a part; then `predicted_bytes` is 0 and the part is contained in another row.
    """

    name: str
    counted_bytes: int | None
    predicted_bytes: float


@dataclass(frozen=True, slots=True)
class MemorySplit:
    """The predicted peak memory and its rows, which add up to its middle. `source` is 'fit' or 'counts'.

    `cache_bytes` are the keys and values that a decoder keeps of a whole input while it generates, not in the total; 0
    for other families.
    """

    total: Figure
    rows: tuple[MemoryRow, ...]
    peak: Peak
    cache_bytes: int
    source: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "total_bytes": self.total.to_dict(),
            "rows": [asdict(row) for row in self.rows],
            "peak": {**asdict(self.peak), "total_bytes": self.peak.total_bytes},
            "cache_bytes": self.cache_bytes,
            "source": self.source,
            "note": self.note,
        }


def memory_of(known: Known, student: Placed, precision: str) -> MemorySplit:
    """The memory of a process that runs `student`. Errors: SpecError, RecordError for a fit of foreign terms."""
    found = known.pass_of(student, precision)
    peak = peak_of(found.trace, precision)
    fit = known.fits_of(precision).memory
    if fit is None:
        rows, source = _rows_by_counts(found, peak, precision), "counts"
        note = "weights and activations as counted, and what the runtime took in our own trial"
    else:
        rows, source = _rows_by_fit(found, peak, precision, fit), "fit"
        note = f"a fit to {fit.samples} measured students; a part may carry the price of another that grows with it"
    return MemorySplit(
        total=known.predicted(student, precision).memory,
        rows=rows,
        peak=peak,
        cache_bytes=cache_bytes(student.spec, batch=known.batch, tokens=student.sequence),
        source=source,
        note=note,
    )


def _counted(found: Pass, peak: Peak, precision: str) -> dict[str, int]:
    weights = {name: weight_sum(ops, precision) for name, ops in classes_of(found.trace).items()}
    return {**weights, PEAK: peak.total_bytes}


def _rows_by_counts(found: Pass, peak: Peak, precision: str) -> tuple[MemoryRow, ...]:
    counted = _counted(found, peak, precision) | {RUNTIME: RUNTIME_BYTES}
    return tuple(MemoryRow(name, size, float(size)) for name, size in counted.items() if size)


def _rows_by_fit(found: Pass, peak: Peak, precision: str, fit: Fit) -> tuple[MemoryRow, ...]:
    counted = _counted(found, peak, precision)
    amounts = {name: sum(terms.values()) for name, terms in attributed(fit, found.parts).items()}
    names = [name for name in found.parts if counted.get(name) or name in amounts]
    return tuple(
        MemoryRow(RUNTIME if name == EVERY_INFERENCE else name, counted.get(name), amounts.get(name, 0.0))
        for name in names
    )
