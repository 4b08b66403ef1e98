"""Trials of the step size: the leading students, distilled for a short time, alone or with other machines.

Each starts from the teacher as the chosen one will, hears the same cached answers, and is judged on the validation
part; the test part is not touched. The chosen student is trained from its start all the same, so that its weights are
those of a run that was told to train it.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import MissingExtra
from edgekd.files import content_hash
from edgekd.pipeline.context import TEACHER, TRIALS, Context

if TYPE_CHECKING:
    from edgekd.pipeline.course import Course
    from edgekd.recipe import Recipe
    from edgekd.sizing.price import PricedStudent
    from edgekd.sizing.quality import Trials, Tried
    from edgekd.trials.plan import Plan
    from edgekd.trials.register import Register

JOURNAL, USED = "journal.log", "used.json"
FORMAT = 1  # of what a study holds


def check_trials(recipe: Recipe, base: Path) -> None:
    """Refuse trials that could not begin, before anything is trained. Errors: MissingExtra, InputError."""
    if not recipe.search.trials:
        return
    if importlib.util.find_spec("optuna") is None:
        raise MissingExtra("optuna", "search")
    from edgekd.trials.storage import place_of

    place_of(recipe.search.storage, base, Path(JOURNAL))


def trial_inputs(context: Context) -> Any:
    """What the outcome of trials depends on; where they are kept is no part of it."""
    recipe = context.recipe
    teacher = {name: digest for name, digest in context.left_by("teacher").items() if name.startswith(f"{TEACHER}/")}
    asked = [FORMAT, recipe.search.trials, recipe.search.trial_budget]
    return [asked, teacher, recipe.distill.model_dump(mode="json"), context.data_content("train", "validation")]


@dataclass
class Trialler:
    """Tries students for the step size; call it with those that were measured and keep the limits."""

    context: Context
    scratch: Path

    def __call__(self, students: Sequence[PricedStudent]) -> Trials:
        """What the trials tell.

        Errors: InputError, StorageError, TrainingError; MissingExtra without optuna.
        """
        import optuna

        from edgekd.pipeline.course import Course
        from edgekd.sizing.quality import Trials
        from edgekd.trials.meter import Meter
        from edgekd.trials.plan import ETA
        from edgekd.trials.register import GRACE_S, Register
        from edgekd.trials.storage import opened, place_of, storage_errors

        context, search = self.context, self.context.recipe.search
        place = place_of(search.storage, context.base, context.path(TRIALS, JOURNAL))
        name = f"edgekd-{content_hash([trial_inputs(context), students[0].sequence])[:16]}"
        meter = Meter.at(context.path(TRIALS, USED), name, search.trial_budget)
        course = Course(context, self.scratch / TRIALS, {student.name: student for student in students}, meter)
        # The teacher's one pass is work that the step distill needs anyway: it is no part of the budget.
        _ = course.lesson
        meter.restart()
        with opened(place) as storage:
            with storage_errors(place):
                study = optuna.create_study(study_name=name, storage=storage, direction="minimize", load_if_exists=True)
            worker = content_hash([platform.node(), str(context.root.resolve())])[:16]
            # Nobody else works in this run folder: whoever else has a trial in hand there is dead.
            grace_s = GRACE_S if search.storage else 0.0
            found, rungs, cut = self._halved(course, Register(study, place, worker, grace_s=grace_s))
        meter.save()
        return Trials(found, rungs, ETA, meter.budget_s, meter.used_s, cut)

    def _halved(self, course: Course, register: Register) -> tuple[Mapping[str, Tried], tuple[int, ...], bool]:
        """What came of each student, the rungs, and whether time was up before the last one ended."""
        from edgekd.trials.halving import Halving

        plan = _plan(course, register)
        if plan is None:
            return {}, (), True
        course.warmup = round(self.context.recipe.distill.warmup * plan.rungs[0])
        dimensions = {name: _dimensions(student) for name, student in course.students.items()}
        progress = self.context.progress
        halving = Halving(
            plan, dimensions, register, course, lambda: course.meter.over,
            lambda text: progress.update(text, course.meter.share),
        )  # fmt: skip
        return halving.run(), plan.rungs, halving.cut


def _plan(course: Course, register: Register) -> Plan | None:
    """The rungs that all workers of the study follow, for this one's students; None when the budget is too short."""
    from edgekd.trials.plan import planned

    shared = register.known_plan()
    if shared is not None:
        return replace(shared, students=tuple(course.students))
    paces = {}
    for name in course.students:
        pace = course.pace(name)
        if pace is not None:
            paces[name] = pace
    own = planned(paces, course.meter.left_s, course.most_steps)
    return None if own is None else replace(register.plan(own), students=own.students)


def _dimensions(student: PricedStudent) -> dict[str, int]:
    names = ("layers", "hidden", "heads", "head_dim", "kv_heads", "ffn")
    return {name: getattr(student.spec, name) for name in names} | {"sequence": student.sequence}
