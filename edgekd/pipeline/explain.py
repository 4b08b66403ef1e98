"""`edgekd size --explain` and `--compare`: what the files of a run folder tell of a student. Nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from edgekd.cost.calibrate import Fit
from edgekd.errors import InputError, MeasureError, RecordError
from edgekd.files import read_json
from edgekd.pipeline.context import SIZING_JSON, STUDENTS_JSON, TEACHER_JSON, Context, inputs_hash
from edgekd.pipeline.recipe_teacher import recipe_teacher
from edgekd.pipeline.size import inputs as size_inputs
from edgekd.recipe import load_recipe
from edgekd.sizing.explain.attribution import check_energy_terms, check_terms
from edgekd.sizing.explain.beside import SideBySide, side_by_side
from edgekd.sizing.explain.known import Figure, Known, Outlook, Placed, placed
from edgekd.sizing.explain.pick import default_pick, picked
from edgekd.sizing.explain.student import Explanation, explained
from edgekd.sizing.files import (
    ENDED,
    FitRow,
    ForecastRow,
    IntervalRow,
    SizingFile,
    StudentsFile,
    TrialRow,
    read_sizing,
    read_students,
)
from edgekd.sizing.forecast import Fits, Measurement
from edgekd.sizing.limits import Limit, Quantity
from edgekd.sizing.search import size
from edgekd.student import StudentSpec
from edgekd.task import TaskWords

if TYPE_CHECKING:
    from edgekd.sizing.table import Table

MOST_LISTED = 10_000  # students that a comparison without a sizing can name, our choice


def told(
    name: str, overrides: Sequence[str], out: Path | None, *, explain: str | None, compare: str | None
) -> Explanation | SideBySide:
    """What `--explain` or `--compare` asks for. Errors: InputError unless it is one of the two; as they do."""
    if explain is not None and compare is not None:
        raise InputError("--explain and --compare: found both, expected one of them; call edgekd twice")
    if explain is not None:
        return explain_student(name, overrides, out, explain)
    if compare is None:
        raise InputError("--json: found neither --explain nor --compare, expected one of them")
    return compare_students(name, overrides, out, compare)


def explain_student(name: str, overrides: Sequence[str], out: Path | None, student: str = "") -> Explanation:
    """The explanation of `student` in the run folder of the recipe `name`; without one of the chosen or nearest.

    Errors: InputError for a student that the space has not, or when the teacher is not known; RecordError.
    """
    known = read_known(name, overrides, out)
    return explained(known, picked(known, student) if student else default_pick(known))


def compare_students(name: str, overrides: Sequence[str], out: Path | None, students: str) -> SideBySide:
    """The `students`, with commas between, side by side. Errors: as explain_student."""
    words = [word.strip() for word in students.split(",") if word.strip()]
    return side_by_side(read_known(name, overrides, out), words)


def read_known(name: str, overrides: Sequence[str], out: Path | None) -> Known:
    """What the run folder of the recipe `name` tells of its students; without a sizing, what the roofline tells.

    Errors: InputError, RecordError, RecipeError; SpecError for a space that holds no student.
    """
    recipe = load_recipe(name, overrides)
    context = Context(recipe, out if out is not None else Path("runs") / recipe.name, Path.cwd())
    called = name if out is None else f"{name} --out {out}"
    if not context.path(SIZING_JSON).is_file() or not context.path(STUDENTS_JSON).is_file():
        return _unmeasured(context, called)
    known = _measured(context, called)
    for precision in known.precisions:
        fits = known.fits_of(precision)
        for fit in (fits.latency, fits.memory, fits.size):
            if fit is not None:
                check_terms(fit)
        check_energy_terms(fits.energy)
    return known


def _measured(context: Context, called: str) -> Known:
    """From students.json and sizing.json. Errors: InputError when they are of another device."""
    students, sizing = read_students(context.path(STUDENTS_JSON)), read_sizing(context.path(SIZING_JSON))
    if students.device != context.profile.name:
        raise InputError(
            f"{context.root}: was sized for the device {students.device}, the recipe names {context.profile.name}. "
            f"Name its device, or size again: edgekd size {called}"
        )
    tried = sizing.trials.students if sizing.trials else {}
    return Known(
        teacher=placed(students.teacher.student, students.sequence),
        profile=context.profile,
        precisions=students.precisions,
        batch=students.batch,
        threads=students.threads,
        students={
            row.id: Placed(row.id, row.student, _sequence(row, students), row.parameters, row.capacity)
            for row in students.students
        },
        limits=[_limit(row.model_dump(), context.path(SIZING_JSON)) for row in sizing.limits],
        fits={precision: _fits(row) for precision, row in sizing.fits.items()},
        forecasts={found: _outlook(row) for found, row in sizing.forecasts.items()},
        measurements=_measurements(sizing, context.path(SIZING_JSON)),
        chosen=students.chosen,
        fitting=sizing.fitting,
        nearest=sizing.obstacle.student if sizing.obstacle else None,
        ffn_follows=context.recipe.space.ffn_ratio is not None,
        notes=_age(context, called, sizing),
        trials={name: _trial_text(row, context.words) for name, row in tried.items()},
    )


def _trial_text(row: TrialRow, words: TaskWords) -> str:
    """How a short distillation went, in one line."""
    if row.loss is None or row.accuracy is None:
        return f"tried for {row.steps} steps and compared at no rung; {ENDED[row.ended]}"
    said = words.text(row.accuracy, 2)
    return f"tried for {row.steps} steps: validation loss {row.loss:.4f}, {said}; {ENDED[row.ended]}"


def _sequence(row: Any, students: StudentsFile) -> int:
    """The input length of one student where the space leaves a choice of it, else that of all."""
    return getattr(row, "sequence", 0) or students.sequence


def _limit(table: Mapping[str, Any], path: Path) -> Limit:
    possible = table["quantity"] in get_args(Quantity) and 0 < table["percentile"] < 1
    if not possible or table["value"] <= 0:
        raise RecordError(f"{path}: found the limit {dict(table)}, which cannot be. Make it again: edgekd size")
    return Limit(**table)


def _measurements(sizing: SizingFile, path: Path) -> dict[str, Measurement]:
    try:
        return {name: Measurement(**row.model_dump()) for name, row in sizing.measurements.items()}
    except MeasureError as error:
        raise RecordError(f"{path}: {error}. Make it again: edgekd size") from None


def _outlook(row: ForecastRow) -> Outlook:
    latency = None if row.latency_s is None else _figure(row.latency_s)
    energy = None if row.energy_j is None else _figure(row.energy_j)
    return Outlook(latency, _figure(row.memory_bytes), _figure(row.size_bytes), energy)


def _figure(row: IntervalRow) -> Figure:
    return Figure(row.low, row.mid, row.high)


def _fits(row: FitRow) -> Fits:
    tables = (row.latency, row.memory, row.size, row.energy)
    return Fits(*(None if table is None else Fit.from_dict(table) for table in tables))


def _age(context: Context, called: str, sizing: SizingFile) -> tuple[str, ...]:
    notes = []
    if not sizing.measurements:
        notes.append(_by_roofline(context, called))
    if context.ledger.entry("size") is not None and not context.ledger.is_current(
        "size", inputs_hash(size_inputs(context))
    ):
        notes.append(
            f"the sizing in {context.root} was made from another recipe, by another version or on another machine; "
            f"to renew it: edgekd size {called}"
        )
    return tuple(notes)


def _by_roofline(context: Context, called: str) -> str:
    return (
        f"nothing was measured: all this rests on the roofline of {context.profile.name} and is wide; "
        f"to measure: edgekd size {called}"
    )


def _unmeasured(context: Context, called: str) -> Known:
    """From the teacher's dimensions and the device profile alone."""
    recipe = context.recipe
    spec, notes = _teacher_spec(context, called)
    found = size(
        spec, recipe.space, recipe.sla, context.profile, recipe.search, precisions=recipe.precisions,
        batch=recipe.bench.batch, sequence=recipe.sequence, threads=recipe.bench.threads, measure=None,
    )  # fmt: skip
    return Known(
        teacher=placed(spec, recipe.sequence),
        profile=context.profile,
        precisions=recipe.precisions,
        batch=recipe.bench.batch,
        threads=recipe.bench.threads,
        students=_listed(found.students, recipe.sequence),
        limits=found.limits,
        fits={},
        forecasts={},
        measurements={},
        chosen=found.chosen.name if found.chosen else None,
        fitting=found.fitting,
        nearest=found.obstacle.student if found.obstacle else None,
        ffn_follows=recipe.space.ffn_ratio is not None or "ffn" in recipe.space.ties,
        notes=(_by_roofline(context, called), *notes),
    )


def _listed(table: Table, sequence: int) -> dict[str, Any]:
    """Students by name; the most capable ones where there are very many."""
    rows = table.leading(np.ones(len(table), np.bool_), MOST_LISTED)
    return {table.name(row): placed(table.specs.spec(row), sequence, table.name(row)) for row in rows}


def _teacher_spec(context: Context, called: str) -> tuple[StudentSpec, list[str]]:
    """The teacher's dimensions and what to say about where they are from. Errors: InputError, RecordError."""
    path = context.path(TEACHER_JSON)
    if not path.is_file():
        note = f"there is no teacher in {context.root} yet; its dimensions are taken from the recipe"
        return recipe_teacher(context, called), [note]
    table = read_json(path)
    if not isinstance(table, dict) or not isinstance(table.get("spec"), dict):
        raise RecordError(f"{path}: holds no teacher of edgekd (spec). Make it again: edgekd teacher {called}")
    return StudentSpec.from_dict(table["spec"]), []
