"""Writing the two files of a sizing; files.py says what they hold and reads them.

Up to 10 000 students are listed whole. Of more, listed are: the front (5000 of it, evenly over the capacities), what
was measured, the students next in capacity to these, and the most capable ones that keep the limits. Which these are
follows from what was measured, so equal decisions are equal bytes only up to 10 000 students.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.files import write_text
from edgekd.sizing.files import SCHEMA_VERSION
from edgekd.sizing.forecast import Fits, Forecasts
from edgekd.sizing.price import Price, PricedStudent
from edgekd.sizing.quality import Trials, Tried
from edgekd.sizing.search import Sizing
from edgekd.sizing.table import Table
from edgekd.sizing.tables import DIMENSIONS, ENDS, FORECAST_COLUMNS, lines_text, student_columns

MOST_LISTED = 10_000
MOST_FRONT = 5_000
MOST_FEASIBLE = 1_000
NEIGHBOURS = 20  # on either side of a student that was measured

Rows = NDArray[np.intp]


def write_students(sizing: Sizing, path: Path) -> None:
    """Store what `sizing` decided at `path`, without a measured number. Errors: StorageError, InputError."""
    setting, chosen = sizing.setting, sizing.chosen
    table = {
        "schema_version": SCHEMA_VERSION,
        "kind": "students",
        "device": sizing.device,
        "precisions": setting.precisions,
        "batch": setting.batch,
        "sequence": chosen.sequence if chosen and chosen.sequence else setting.sequence,
        "threads": setting.threads,
        "teacher": _teacher_table(sizing.teacher),
        "considered": sizing.considered,
        "possible": sizing.possible,
        "refused": sizing.refused,
        "warnings": sizing.warnings,
        "columns": student_columns(setting.precisions),
        "students": list(_student_rows(sizing.students, listed(sizing))),
        "chosen": chosen.name if chosen else None,
        "reason": sizing.reason,
    }
    write_text(path, lines_text(table))


def write_sizing(sizing: Sizing, path: Path) -> None:
    """Store the evidence of `sizing` at `path`. Errors: StorageError, InputError."""
    rows = listed(sizing)
    front = _front(sizing, rows)
    table = {
        "schema_version": SCHEMA_VERSION,
        "kind": "sizing",
        "limits": [asdict(limit) for limit in sizing.limits],
        "compare": sizing.standing.compare,
        "calibrated": sizing.calibrated,
        "finalists": sizing.finalists,
        "repeated": sizing.repeated,
        "measurements": {name: asdict(found) for name, found in sizing.measurements.items()},
        "predicted": {name: asdict(found) for name, found in sizing.predicted.items()},
        "error": asdict(sizing.error) if sizing.error else None,
        "fits": {precision: _fit_table(fits) for precision, fits in sizing.fits.items()},
        "columns": FORECAST_COLUMNS,
        "forecasts": dict(_forecast_rows(sizing.students, sizing.standing.forecasts, rows)),
        "front": {"candidates": len(sizing.standing.front), "within": sizing.within},
        "pareto": front,
        "chosen": sizing.chosen.name if sizing.chosen else None,
        "fitting": sizing.fitting,
        "obstacle": sizing.obstacle.to_dict() if sizing.obstacle else None,
        "trials": _trials_table(sizing, sizing.trials) if sizing.trials else None,
    }
    write_text(path, lines_text(table))


def listed(sizing: Sizing) -> Rows:
    """The rows of the students that the files list, ascending."""
    table, standing = sizing.students, sizing.standing
    if len(table) <= MOST_LISTED:
        return np.arange(len(table))
    order = np.argsort(table.capacity, kind="stable")
    front = np.array(sorted({row for row, _ in standing.front}), np.intp)
    front = front[np.argsort(table.capacity[front], kind="stable")]
    even = np.unique(np.linspace(0, len(front) - 1, min(MOST_FRONT, len(front))).round().astype(np.intp))
    places = np.empty(len(table), np.intp)
    places[order] = np.arange(len(table))
    near = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    measured = np.array(list(standing.rows), np.intp)
    around = np.clip(places[measured][:, None] + near, 0, len(table) - 1).ravel()
    leading = np.array(table.leading(standing.feasible, MOST_FEASIBLE), np.intp)
    return np.unique(np.concatenate([front[even], measured, order[around], leading]))


def _front(sizing: Sizing, rows: Rows) -> list[str]:
    shown = set(rows.tolist())
    return [f"{sizing.students.name(row)}-{precision}" for row, precision in sizing.standing.front if row in shown]


def _student_rows(table: Table, rows: Rows) -> Iterator[list[Any]]:
    specs, counts = table.specs.rows(rows), table.counts
    columns: list[Sequence[Any]] = [[table.name(row) for row in rows.tolist()]]
    columns += [getattr(specs, name).tolist() for name in DIMENSIONS]
    columns += [values[rows].tolist() for values in (table.sequence, counts.parameters, table.capacity, counts.macs)]
    for precision in table.precisions:
        taken = (
            counts.weight_bytes[precision], counts.activation_bytes[precision],
            counts.peak_activation_bytes[precision], table.memory_bytes(precision),
        )  # fmt: skip
        columns += [values[rows].tolist() for values in taken]
        roofline = table.roofline(precision)
        if isinstance(roofline, str):
            columns += [[None] * len(rows)] * len(ENDS) + [["unknown"] * len(rows)]
        else:
            ends, memory_binds = roofline
            columns += [getattr(ends, end)[rows].tolist() for end in ENDS]
            columns.append(["memory" if binds else "compute" for binds in memory_binds[rows].tolist()])
    return (list(row) for row in zip(*columns, strict=True))


def _forecast_rows(
    table: Table, forecasts: Mapping[str, Forecasts], rows: Rows
) -> Iterator[tuple[str, list[float | None]]]:
    names = [table.name(row) for row in rows.tolist()]
    for precision, found in forecasts.items():
        columns = [
            [None] * len(names) if ends is None else getattr(ends, end)[rows].tolist()
            for ends in (found.latency, found.memory, found.size, found.energy)
            for end in ENDS
        ]
        for name, *row in zip(names, *columns, strict=True):
            yield f"{name}-{precision}", [None if value != value else value for value in row]  # noqa: PLR0124  NaN


def _teacher_table(teacher: PricedStudent) -> dict[str, Any]:
    return {
        "id": teacher.name,
        "spec": teacher.spec.to_dict(),
        "sequence": next(iter(teacher.prices.values())).counts.sequence,
        "parameters": teacher.parameters,
        "capacity": teacher.capacity,
        "share": teacher.share,
        "macs": teacher.macs,
        "prices": {precision: _price_table(price) for precision, price in teacher.prices.items()},
        "warnings": teacher.warnings,
    }


def _price_table(price: Price) -> dict[str, Any]:
    return {
        "weight_bytes": price.counts.weight_bytes,
        "activation_bytes": price.counts.activation_bytes,
        "peak_activation_bytes": price.counts.peak_activation_bytes,
        "memory_bytes": price.memory_bytes,
        "roofline": asdict(price.roofline),
    }


def _trials_table(sizing: Sizing, trials: Trials) -> dict[str, Any]:
    told = sizing.standing.tried
    return {
        "rungs": trials.rungs,
        "eta": trials.eta,
        "budget_s": trials.budget_s,
        "seconds": trials.seconds,
        "cut": trials.cut,
        "examples": max((len(found.losses) for found in trials.students.values()), default=0),
        "decided": "nothing" if told is None else "loss" if told[1] else "capacity",
        "students": {name: _trial_table(found) for name, found in trials.students.items()},
    }


def _trial_table(found: Tried) -> dict[str, Any]:
    names = ("rung", "steps", "seconds", "loss", "accuracy", "ended")
    return {**{name: getattr(found, name) for name in names}, "curve": [asdict(point) for point in found.curve]}


def _fit_table(fits: Fits) -> dict[str, Any]:
    tables = {name: getattr(fits, name) for name in ("latency", "memory", "size", "energy")}
    return {name: fit.to_dict() if fit else None for name, fit in tables.items()}
