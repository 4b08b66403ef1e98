"""The truth about one trained student: what the gate finds in its records, beside what sizing had expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.device import DeviceProfile
from edgekd.errors import RecordError
from edgekd.files import read_json
from edgekd.gate.judge import judge
from edgekd.gate.verdict import Criterion, Verdict
from edgekd.pipeline.context import RECORDS, SIZING_JSON, STUDENT_JSON, STUDENTS_JSON
from edgekd.record import read_records
from edgekd.sizing.attempts import Attempt, Learned, Truth
from edgekd.sizing.files import SizingFile, read_sizing, read_students
from edgekd.sla import Sla


def attempt_in(folder: Path, number: int, sla: Sla, profile: DeviceProfile, learned: Learned) -> Attempt:
    """The attempt whose files lie in `folder`, a run folder or one below attempts/, judged against `sla`.

    Errors: InputError, RecordError for files that are missing, damaged or do not belong together.
    """
    students, sizing = read_students(folder / STUDENTS_JSON), read_sizing(folder / SIZING_JSON)
    row = next((row for row in students.students if row.id == students.chosen), None)
    if row is None:
        raise RecordError(f"{folder / STUDENTS_JSON}: no student was chosen there. Remove {folder} and run again")
    trained = _trained(folder / STUDENT_JSON)
    verdict = judge([record for _, record in read_records([folder / RECORDS])], sla)
    expected = _expected(sizing, row.id, students.precisions, sla, profile)
    every = {each.precision: _truths(each, expected) for each in (*verdict.alternatives, verdict)}
    return Attempt(
        number=number,
        name=row.id,
        spec=row.spec,
        sequence=0 if row.id == row.student.name else row.sequence,
        parameters=row.parameters,
        capacity=row.capacity,
        learned=learned,
        truths={name: every[name] for name in sorted(every)},
        selected=verdict.precision,
        outcome=verdict.outcome.value,
        validation_accuracy=trained["validation_accuracy"],
        seconds=trained["seconds"],
    )


def _trained(path: Path) -> Mapping[str, Any]:
    table = read_json(path)
    wanted = ("validation_accuracy", "seconds")
    if not isinstance(table, dict) or not all(isinstance(table.get(name), int | float) for name in wanted):
        raise RecordError(
            f"{path}: lacks validation_accuracy or seconds. Train again: edgekd run RECIPE --again distill"
        )
    return {name: float(table[name]) for name in wanted}


def _truths(verdict: Verdict, expected: Mapping[tuple[str, str], float]) -> list[Truth]:
    return [_truth(criterion, expected.get((verdict.precision, criterion.metric))) for criterion in verdict.criteria]


def _truth(criterion: Criterion, expected: float | None) -> Truth:
    return Truth(
        metric=criterion.metric,
        unit=criterion.unit,
        limit=float(criterion.limit),
        expected=expected,
        estimate=_float(criterion.estimate),
        low=_float(criterion.low),
        high=_float(criterion.high),
        outcome=criterion.outcome.value,
        reason=criterion.reason.value,
    )


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _expected(
    sizing: SizingFile, student: str, precisions: list[str], sla: Sla, profile: DeviceProfile
) -> dict[tuple[str, str], float]:
    """By precision and metric what sizing compared with the limit, without any correction by earlier attempts."""
    from edgekd.sizing.forecast import Measurement, measured_costs, usual_spread
    from edgekd.sizing.limits import Costs, limits_from_sla

    end = "high" if sizing.compare == "upper" else "mid"
    measurements = {name: Measurement(**row.model_dump()) for name, row in sizing.measurements.items()}
    spread = usual_spread(measurements)
    expected = {}
    for precision in precisions:
        name = f"{student}-{precision}"
        row = sizing.forecasts.get(name)
        if row is None:
            continue
        latency_s = None if row.latency_s is None else getattr(row.latency_s, end)
        energy_j = None if row.energy_j is None else getattr(row.energy_j, end)
        costs = Costs(
            latency_s, getattr(row.memory_bytes, end), getattr(row.size_bytes, end), spread, energy_j=energy_j
        )
        if name in measurements:
            costs = measured_costs(measurements[name], costs, sizing.compare)
        for limit in limits_from_sla(sla, profile):
            value = costs.at(limit)
            if value is not None:
                expected[precision, limit.metric] = float(value)
    return expected
