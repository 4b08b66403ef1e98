"""How a student begins: as the recipe says, or as a comparison of several starts finds best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import RecipeError
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.context import Context

if TYPE_CHECKING:
    from edgekd.distill.settings import TrainingSettings
    from edgekd.pipeline.lesson import Lesson
    from edgekd.recipe import Recipe
    from edgekd.student import StudentSpec
    from edgekd.students.initialise import Initialisation
    from edgekd.trials.bake_off import Compared, Start

BEGUN, WEIGHTS, STARTS = "begun.json", "begun.safetensors", "starts"
MOST_JUDGES = 500  # validation examples that judge a start, evenly spaced, our choice
WARMUP_SHARE = 0.2  # of the few steps that a start is tried for, our choice


def begin(context: Context, taught: Lesson, spec: StudentSpec, scratch: Path) -> tuple[Any, dict[str, Any]]:
    """A student before its training, and where its weights come from, for student.json.

    Decided once: after a kill the same call gives the same weights, from `scratch`.
    Errors: SpecError, StorageError, TrainingError.
    """
    from edgekd.distill.checkpoints import load_weights, save_weights
    from edgekd.students.build import build

    known, weights = scratch / BEGUN, scratch / WEIGHTS
    if known.exists():
        table: dict[str, Any] = read_json(known)
        student: Any = build(spec, taught.teacher.config, seed=context.recipe.distill.seed)
        load_weights(student, weights)
        return student.eval(), table
    compared = _compared(context, taught, spec, make_folder(scratch / STARTS))
    start = compared[0].start if compared else start_of(context, taught, spec)
    student, begun = taught.student(spec, context.recipe.distill.seed, start)
    save_weights(student, weights)
    table = begun.to_dict() | {"compared": [entrant.to_dict() for entrant in compared]}
    write_json(known, table)
    return student, table


def check_start(recipe: Recipe, architecture: str) -> None:
    """Refuse a start that no student of such a teacher can have, before it is trained. Errors: RecipeError."""
    from edgekd.students.initialise import methods_for

    possible = methods_for(architecture)
    if recipe.distill.start != "auto" and recipe.distill.start not in possible:
        raise RecipeError(
            f"distill.start is {recipe.distill.start}, which a {architecture} does not allow: its norms lie on the "
            f"residual stream. Expected auto or one of {', '.join(possible)}"
        )


def start_of(context: Context, taught: Lesson, spec: StudentSpec) -> Start:
    """The start that the recipe names; where that is a comparison, one by rule.

    That is a rotation where the norms allow it and the width changes, else what matters most on real inputs.
    """
    from edgekd.students.choose import even_layers
    from edgekd.students.initialise import methods_for
    from edgekd.trials.bake_off import Start

    teacher, method = taught.teacher_spec, context.recipe.distill.start
    if method == "random":
        return Start("random", ())
    if method == "auto":
        narrower = spec.hidden < teacher.hidden
        method = "rotation" if narrower and "rotation" in methods_for(spec.architecture) else "importance"
    return Start(method, tuple(even_layers(teacher.layers, spec.layers)))


def _compared(context: Context, taught: Lesson, spec: StudentSpec, folder: Path) -> list[Compared]:
    """The comparison of starts, where the recipe leaves the start open and there is more than one."""
    from edgekd.distill.settings import student_settings
    from edgekd.trials.bake_off import compare_starts, methods_of_interest, steps_of_trial

    if context.recipe.distill.start != "auto" or len(methods_of_interest(spec, taught.teacher_spec)) == 1:
        return []
    settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
    steps = steps_of_trial(settings.epochs * -(-len(taught.train) // settings.batch_size))
    return compare_starts(
        spec, taught.teacher_spec, taught.importance.influence.tolist(), _Kitchen(taught, spec, settings, folder),
        steps=steps, heard=context.progress.update,
    )  # fmt: skip


@dataclass
class _Kitchen:
    """Makes students of one spec and judges them on some of the validation part."""

    taught: Lesson
    spec: StudentSpec
    settings: TrainingSettings
    folder: Path

    @cached_property
    def judges(self) -> Any:
        """Evenly spaced examples of the validation part."""
        rows = len(self.taught.validation)
        picked = min(rows, MOST_JUDGES)
        return self.taught.validation.select([index * rows // picked for index in range(picked)])

    def begun(self, start: Start) -> tuple[Any, Initialisation]:
        """A student that begins with `start`, and what it has of the teacher."""
        return self.taught.student(self.spec, self.settings.seed, start)

    def loss(self, student: Any) -> float:
        """What it is worth untrained, however loudly it says what it knows. Units: nats."""
        from edgekd.distill.tasks import task_of

        return task_of(self.settings.task).first_loss(student, self.judges, self.settings.batch_size, self.taught.pad)

    def distilled(self, student: Any, start: Start, steps: int) -> float:
        """Its cross entropy after so many steps of distillation. Errors: Diverged, StorageError."""
        from edgekd.distill.short import Stretch, train_short

        place = self.folder / "-".join([start.method, *map(str, start.layers), f"steps{steps}"])
        stretch = Stretch(steps, steps, max(1, round(WARMUP_SHARE * steps)))
        done = train_short(
            student, self.taught.train, self.judges, self.settings, stretch, place, teacher=self.taught.teacher,
            pad_token_id=self.taught.pad,
        )  # fmt: skip
        return float(done.losses.mean())
