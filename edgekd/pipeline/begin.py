"""How a student begins: as the recipe says, or as a comparison of several starts finds best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import RecipeError
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.context import Context
from edgekd.task import TASKS

if TYPE_CHECKING:
    from edgekd.distill.settings import TrainingSettings
    from edgekd.pipeline.lesson import Lesson
    from edgekd.recipe import Recipe
    from edgekd.student import StudentSpec
    from edgekd.students.initialise import Initialisation, Method
    from edgekd.trials.bake_off import Compared, Start

BEGUN, WEIGHTS, STARTS = "begun.json", "begun.safetensors", "starts"
WARMUP_SHARE = 0.2  # of the few steps that a start is tried for, our choice
USED = "used.json"  # the time that the comparison took


def begin(
    context: Context, taught: Lesson, spec: StudentSpec, scratch: Path, *, left_s: float = math.inf
) -> tuple[Any, dict[str, Any]]:
    """A student before its training, and where its weights come from, for student.json.

    With `distill.drop_layers` it has its scaffold (edgekd.distill.scaffold); where that has no layer, the user is told.
    A comparison of starts ends when `left_s` seconds are over, with the best that is known by then; see compared_s.

    Decided once: after a kill the same call gives the same weights, from `scratch`.
    Errors: SpecError, StorageError, TrainingError.
    """
    from edgekd.distill.checkpoints import load_weights, save_weights
    from edgekd.students.build import build
    from edgekd.trials.bake_off import Start

    known, weights, seed = scratch / BEGUN, scratch / WEIGHTS, context.recipe.distill.seed
    with_scaffold = context.recipe.distill.drop_layers is not None
    if with_scaffold and spec.layers == taught.teacher_spec.layers:
        context.progress.warn(
            f"distill.drop_layers: {spec.name} has all {spec.layers} layers of the teacher, so there is none to "
            "give up; it is trained without a scaffold"
        )
    if known.exists():
        table: dict[str, Any] = read_json(known)
        student: Any = build(spec, taught.teacher.config, seed=seed)
        if with_scaffold:
            student, _ = taught.scaffolded(spec, seed, Start("uniform", tuple(table["layer_map"])))
        load_weights(student, weights)
        return student.eval(), table
    compared = _compared(context, taught, spec, make_folder(scratch / STARTS), left_s)
    start = compared[0].start if compared else start_of(context, taught, spec)
    student, begun = (taught.scaffolded if with_scaffold else taught.student)(spec, seed, start)
    save_weights(student, weights)
    table = begun.to_dict() | {"compared": [entrant.to_dict() for entrant in compared]}
    write_json(known, table)
    return student, table


def compared_s(scratch: Path) -> float:
    """Seconds that `begin` took to compare starts, calls that were killed included. Errors: RecordError."""
    from edgekd.trials.meter import Meter

    return Meter.at(scratch / STARTS / USED, STARTS, math.inf).before_s


def check_start(recipe: Recipe, architecture: str) -> None:
    """Refuse a start that no student of such a teacher can have, before it is trained. Errors: RecipeError."""
    from edgekd.students.initialise import methods_for

    possible = methods_for(architecture)
    if recipe.distill.start != "auto" and recipe.distill.start not in possible:
        raise RecipeError(
            f"distill.start is {recipe.distill.start}, which a {architecture} does not allow: its norms lie on the "
            f"residual stream. Expected auto or one of {', '.join(possible)}"
        )
    if recipe.distill.start == "gates" and not TASKS[recipe.task].labelled:
        raise RecipeError(
            f"distill.start is gates, which needs labels, and the data of {recipe.task} has none; expected auto or "
            f"one of {', '.join(method for method in possible if method != 'gates')}"
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


def _compared(context: Context, taught: Lesson, spec: StudentSpec, folder: Path, left_s: float) -> list[Compared]:
    """The comparison of starts, where the recipe leaves the start open and there is more than one.

    They are compared without a scaffold; random weights, for which there is none, are then not among them.
    """
    from edgekd.distill.settings import student_settings
    from edgekd.trials.bake_off import compare_starts, methods_of_interest, steps_of_trial
    from edgekd.trials.meter import Meter

    if context.recipe.distill.start != "auto" or len(methods_of_interest(spec, taught.teacher_spec)) == 1:
        return []
    settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
    steps = steps_of_trial(settings.epochs * -(-len(taught.train) // settings.batch_size))
    meter = Meter.at(folder / USED, STARTS, left_s)

    def heard(text: str) -> None:
        meter.save()
        context.progress.update(text)

    found = compare_starts(
        spec, taught.teacher_spec, taught.importance.influence.tolist(), _Kitchen(taught, spec, settings, folder),
        steps=steps, heard=heard, without=_left_out(context.recipe), over=lambda: meter.over,
    )  # fmt: skip
    meter.save()
    return found


def _left_out(recipe: Recipe) -> tuple[Method, ...]:
    """Methods that are no choice here: random weights where layers are given up, gates where there are no labels."""
    left_out: list[Method] = []
    if recipe.distill.drop_layers is not None:
        left_out.append("random")
    if not TASKS[recipe.task].labelled:
        left_out.append("gates")
    return tuple(left_out)


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
        from edgekd.distill.tasks import task_of

        rows = len(self.taught.validation)
        picked = min(rows, task_of(self.settings.task).most_judges)
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
