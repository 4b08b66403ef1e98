"""Where the time of one inference goes: seconds by class of operators, and what bounds each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekd.cost.calibrate import Fit
from edgekd.cost.count import Counts, activation_sum, count, mac_sums, weight_sum
from edgekd.cost.predict import predict
from edgekd.sizing.explain.attribution import (
    BANDWIDTH,
    COMPUTE,
    OVERHEAD,
    attributed,
    classes_of,
    kind_of,
)
from edgekd.sizing.explain.known import Figure, Known, Pass, Placed
from edgekd.units import text_from_share


@dataclass(frozen=True, slots=True)
class TimeRow:
    """The seconds of one part of a pass, by what they are spent on, and the largest of these in `bound`.

    By a fit, `seconds` is the sum of the three. By the roofline it is the part of the roof that binds the whole pass,
    and `overhead_s` is 0, for a roofline knows of none. `share` is that of all seconds.
    """

    name: str
    macs: int
    compute_s: float
    bandwidth_s: float
    overhead_s: float
    seconds: float
    share: float
    bound: str


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """The predicted latency and its rows, which add up to its middle. `source` is 'fit' or 'roofline'.

    Without rows nothing is known of the latency, and `note` says why.
    """

    total: Figure | None
    rows: tuple[TimeRow, ...]
    source: str
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        total = self.total.to_dict() if self.total else None
        return {"total_s": total, "rows": [asdict(row) for row in self.rows], "source": self.source, "note": self.note}


def time_of(known: Known, student: Placed, precision: str) -> TimeSplit:
    """The time of one inference of `student`. Errors: SpecError, RecordError for a fit of foreign terms."""
    found = known.pass_of(student, precision)
    fit = known.fits_of(precision).latency
    if fit is not None:
        rows = _rows_by_fit(found, fit)
        held = text_from_share(fit.coverage, 0)
        note = f"a fit to {fit.samples} measured students, whose intervals should hold {held} of others"
        return TimeSplit(known.predicted(student, precision).latency, rows, "fit", note)
    total = known.predicted(student, precision).latency
    rows = _rows_by_roofline(known, student, precision, found) if total is not None else ()
    return TimeSplit(total, rows, "roofline", found.roofline.note)


def _rows_by_fit(found: Pass, fit: Fit) -> tuple[TimeRow, ...]:
    macs = _macs_by_class(found)
    rows = []
    for name, amounts in attributed(fit, found.parts).items():
        spent = dict.fromkeys((COMPUTE, BANDWIDTH, OVERHEAD), 0.0)
        for term, amount_s in amounts.items():
            spent[kind_of(term)] += amount_s
        rows.append(_row(name, macs.get(name, 0), spent, sum(spent.values())))
    return _shared(rows)


def _rows_by_roofline(known: Known, student: Placed, precision: str, found: Pass) -> tuple[TimeRow, ...]:
    """The seconds of each class under either roof at usual efficiency; the roof that binds the pass counts."""
    whole = count(student.spec, batch=known.batch, sequence=student.sequence, precision=precision)
    binding = COMPUTE if found.roofline.bound == "compute" else BANDWIDTH
    macs = _macs_by_class(found)
    rows = []
    for name, ops in classes_of(found.trace).items():
        written = weight_sum(ops, precision) + activation_sum(ops, precision)
        spent = {
            COMPUTE: _roof_s(known, precision, replace(whole, macs=macs[name], weight_bytes=0, activation_bytes=0)),
            BANDWIDTH: _roof_s(known, precision, replace(whole, macs=0, weight_bytes=written, activation_bytes=0)),
            OVERHEAD: 0.0,
        }
        rows.append(_row(name, macs[name], spent, spent[binding]))
    return _shared(rows)


def _roof_s(known: Known, precision: str, counts: Counts) -> float:
    return predict(counts, known.profile, precision=precision, threads=known.threads).mid_s or 0.0


def _macs_by_class(found: Pass) -> Mapping[str, int]:
    return mac_sums(found.trace)


def _row(name: str, macs: int, spent: Mapping[str, float], seconds: float) -> TimeRow:
    bound = max(spent, key=lambda kind: spent[kind])
    return TimeRow(name, macs, spent[COMPUTE], spent[BANDWIDTH], spent[OVERHEAD], seconds, 0.0, bound)


def _shared(rows: list[TimeRow]) -> tuple[TimeRow, ...]:
    total = sum(row.seconds for row in rows)
    return tuple(replace(row, share=row.seconds / total if total else 0.0) for row in rows)
