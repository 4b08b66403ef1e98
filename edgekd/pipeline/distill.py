"""The step distill: the chosen student, started from the teacher's weights, trained from the teacher's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import InputError
from edgekd.files import read_json, write_json
from edgekd.pipeline.begin import begin, compared_s
from edgekd.pipeline.context import STUDENT, STUDENT_JSON, STUDENTS_JSON, TEACHER, TEACHER_JSON, Context, Done
from edgekd.pipeline.lesson import lesson, stored_for
from edgekd.pipeline.saved import publish, save_model, trained
from edgekd.pipeline.size import loop_of
from edgekd.pipeline.teacher import training_progress
from edgekd.pipeline.tracking import reporting_of
from edgekd.report.training import ending_text
from edgekd.sizing.files import read_students
from edgekd.student import StudentSpec
from edgekd.units import text_from_count, text_from_share

if TYPE_CHECKING:
    from edgekd.distill.settings import TrainingResult
    from edgekd.distill.tasks import Answers, Asked


def chosen_student(context: Context) -> StudentSpec:
    """The student that the step size chose. Errors: InputError when none fits."""
    spec = read_students(context.path(STUDENTS_JSON)).chosen_student
    if spec is None:
        raise InputError(
            f"{context.path(STUDENTS_JSON)}: no student fits the SLA; see sizing.json. Change space or sla"
        )
    return spec


def inputs(context: Context) -> Any:
    """The chosen student and its length of input, the teacher, the settings; not the numbers behind the choice."""
    recipe = context.recipe
    settings = recipe.distill.model_dump(mode="json")
    teacher = {name: digest for name, digest in context.left_by("teacher").items() if name.startswith(f"{TEACHER}/")}
    student = [chosen_student(context).to_dict(), _max_length(context)]
    return [student, teacher, settings, context.data_content("train", "validation")]


def _max_length(context: Context) -> int | None:
    """Tokens that are left of a text, where the step size chose among several lengths; None where it is the teacher's.

    Teacher and student then read the same part of a text in training, and the student is judged on that part alone.
    """
    return None if context.recipe.space.sequence is None else context.sequence


def work(context: Context, scratch: Path) -> Done:
    """Write cache/, student/ and student.json."""
    table = trained(scratch, lambda folder, hand_over: _train(context, scratch, folder, hand_over))
    publish(scratch, context.path(STUDENT))
    write_json(context.path(STUDENT_JSON), table)
    shown = context.words.text(table["validation_accuracy"], 2)
    known = text_from_share(table["teacher_validation_accuracy"], 2)
    warning = f"; warning: {table['warning']}" if table["warning"] else ""
    return Done(
        (context.path(STUDENT), context.path(STUDENT_JSON)),
        f"{StudentSpec.from_dict(table['spec']).name}, {text_from_count(table['parameters'])} parameters, "
        f"{shown} on the validation part (teacher {known}){_perplexities(context, table)}; "
        f"{ending_text(table['stopped'])}{warning}",
    )


def _perplexities(context: Context, table: dict[str, Any]) -> str:
    """', perplexity 23.4 (teacher 20.1)' of a language model, else nothing."""
    if context.words.loss != "perplexity":
        return ""
    own, its = (context.words.loss_text(table[f"{who}validation_loss"]) for who in ("", "teacher_"))
    return f", perplexity {own} (teacher {its})"


def _train(context: Context, scratch: Path, folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
    from edgekd.distill.settings import student_settings
    from edgekd.distill.tasks import Asked, task_of
    from edgekd.distill.train import train

    recipe = context.recipe
    taught = lesson(context, _max_length(context))
    pad, validation = taught.pad, taught.validation
    task, teacher = task_of(recipe.task), taught.teacher
    its = task.answers(teacher, validation, 64, pad)
    loop = loop_of(context)
    left_s = loop.left_s(loop.position)
    student, begun = begin(context, taught, chosen_student(context), scratch, left_s=left_s)
    before_s = compared_s(scratch)
    features = stored_for(context, taught, chosen_student(context).layers)
    if recipe.distill.hidden is None and recipe.distill.relations is None:
        taught = replace(taught, teacher=None)

    def finish(result: TrainingResult) -> None:
        asked = Asked(student, teacher, validation, 64, pad)
        table = result.to_dict() | {"seconds": before_s + result.seconds} | _facts(context, asked, its, taught.train)
        save_model(student, taught.tokenizer, taught.preprocessing, folder)
        hand_over(table | {"initialisation": begun})

    settings = replace(
        student_settings(recipe.distill, recipe.budget, recipe.task), max_seconds=max(0.0, left_s - before_s),
        teacher_validation_loss=its.loss,
        teacher_validation_accuracy=None if task.ranked_by_loss() else task.score(its),
    )  # fmt: skip
    train(
        student, taught.train, validation, settings, scratch, teacher=taught.teacher, features=features,
        pad_token_id=pad, on_progress=training_progress(context, "distilling"), save=finish,
        reporting=reporting_of(context, "student"),
    )  # fmt: skip


def _facts(context: Context, asked: Asked, its: Answers, train_set: Any) -> dict[str, Any]:
    from edgekd.distill.tasks import task_of

    task = task_of(context.recipe.task)
    own = task.answers(asked.student, asked.dataset, asked.batch_size, asked.pad_token_id)
    counts = task.class_counts(train_set, len(context.splits.label_names))
    teacher = read_json(context.path(TEACHER_JSON))
    return {
        "schema_version": "1.1",
        "spec": chosen_student(context).to_dict(),
        "parameters": sum(parameter.numel() for parameter in asked.student.parameters()),
        "validation_accuracy": task.score(own),
        "validation_loss": own.loss,
        "teacher_validation_accuracy": teacher["validation_accuracy"],
        "teacher_validation_loss": its.loss,
        **asdict(task.fidelity(own, its, counts, asked)),
        **({"measures": more} if (more := task.measures(own, its)) else {}),
    }
