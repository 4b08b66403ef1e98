"""`edgekd run`: nothing but the steps in order, skipping those whose inputs have not changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import EXIT_PASS, EXIT_SLA_MISSED, InputError
from edgekd.files import json_text, make_folder, read_json, remove_unfinished, write_text
from edgekd.pipeline import distill, export, judge, measure, page, size, stash, teacher
from edgekd.pipeline.attempts import begin, begin_again, entered, put_in_place
from edgekd.pipeline.context import (
    CALIBRATION,
    JUNIT_XML,
    RECIPE_JSON,
    STUDENT,
    STUDENT_JSON,
    STUDENTS_JSON,
    SUMMARY_MD,
    TRIALS,
    VERDICT_JSON,
    WORK,
    Context,
    Done,
    Progress,
    Silent,
    inputs_hash,
)
from edgekd.pipeline.energy import check_energy
from edgekd.pipeline.ledger import Ledger, locked
from edgekd.pipeline.outlook import data_outlook, refuse_kept
from edgekd.pipeline.saved import RESULT, SAVED
from edgekd.pipeline.stash import AFTER_CHOICE, ATTEMPT_STEPS
from edgekd.pipeline.tracking import check_reporters
from edgekd.pipeline.trials import check_trials
from edgekd.recipe import Recipe, load_recipe
from edgekd.text import listing


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what its result depends on, and the work. `needs` are the steps whose files it reads."""

    name: str
    needs: tuple[str, ...]
    inputs: Callable[[Context], Any]
    work: Callable[[Context, Path], Done]


STEPS = (
    Step("teacher", (), teacher.inputs, teacher.work),
    Step("size", ("teacher",), size.inputs, size.work),
    Step("distill", ("teacher", "size"), distill.inputs, distill.work),
    Step("export", ("teacher", "distill"), export.inputs, export.work),
    Step("bench", ("export",), measure.inputs, measure.work),
    Step("gate", ("bench",), judge.inputs, judge.work),
    Step("report", ("size",), page.inputs, page.work),
)
VERBS = ("teacher", "size", "distill", "export")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the run folder, and the exit code of the verdict (0 when no verdict was asked for)."""

    root: Path
    exit_code: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: the resolved recipe, each step with what would become of it, and what is known of the data.

    `refusal` is the error that a run would end with because of the data.
    """

    recipe: Recipe
    root: Path
    steps: tuple[tuple[str, str], ...]
    data: tuple[str, ...] = ()
    refusal: InputError | None = None

    def refuse(self) -> None:
        """Nothing, unless the data would be refused. Errors: DataError."""
        if self.refusal is not None:
            raise self.refusal


def _context(name: str, overrides: Sequence[str], out: Path | None, progress: Progress) -> Context:
    recipe = load_recipe(name, overrides)
    root = out if out is not None else Path("runs") / recipe.name
    context = Context(recipe, root, Path.cwd(), progress)
    _ = context.profile  # an unknown device is an error now, not in the middle of the run
    return context


def _selected(only: str | None) -> tuple[Step, ...]:
    return STEPS if only is None else tuple(step for step in STEPS if step.name == only)


def plan(name: str, overrides: Sequence[str], out: Path | None, *, only: str | None = None) -> Plan:
    """What `run` with the same arguments would do, and what it would say of the data; nothing is written or fetched.

    Errors: InputError, RecipeError.
    """
    context = _context(name, overrides, out, Silent())
    ledger = context.ledger
    states: list[tuple[str, str]] = []
    stale = False
    for step in _selected(only):
        if not stale and step.name in AFTER_CHOICE and _nothing_fits(context):
            states.append((step.name, "left out: no student fits"))
            continue
        known = all(ledger.entry(need) is not None for need in step.needs)
        if not stale and known and ledger.is_current(step.name, inputs_hash(step.inputs(context))):
            states.append((step.name, "unchanged"))
            continue
        left = stale and ledger.entry(step.name) is not None
        states.append((step.name, "run if the steps before it change its inputs" if left else "run"))
        stale = True
    if not states or states[0][0] != "teacher":
        return Plan(context.recipe, context.root, tuple(states))
    outlook = data_outlook(context, current=states[0][1] == "unchanged")
    return Plan(context.recipe, context.root, tuple(states), outlook.lines, outlook.refusal)


def describe(found: Plan) -> str:
    """`found` as text: the resolved recipe as JSON, then the steps, then the data."""
    recipe = json_text(found.recipe.model_dump(mode="json", by_alias=True, exclude_none=True))
    lines = [f"  {name:<8} {state}" for name, state in found.steps]
    return "\n".join([recipe, "", f"run folder {found.root}", *lines, *found.data])


def run(
    name: str,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    *,
    only: str | None = None,
    again: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Run the recipe `name` up to its verdict and report, or `only` one step from the files of those before.

    The steps named in `again` are run although nothing has changed: to measure again, or with more time.
    Killed at any point, the same call goes on where it stopped; what has not changed is not computed again. When no
    student fits, the steps after `size` are left out and the outcome is a missed SLA, not an error.
    Errors: every branch of EdgekdError.
    """
    _check_alone()
    context = _context(name, overrides, out, progress or Silent())
    if only in (None, "teacher", "size"):
        check_trials(context.recipe, context.base)
    if only in (None, "teacher", "distill"):
        check_reporters(context.recipe)
    make_folder(context.root)
    with locked(context.root):
        remove_unfinished(context.root)
        ledger = context.ledger
        _write_recipe(context)
        _start_again(again, context)
        if only in (None, "size"):
            _try_energy(context)
        if only is None:
            _try_host(context)
        called = name if out is None else f"{name} --out {out}"
        for step in _selected(only):
            if only is None and step.name in ATTEMPT_STEPS:
                if step.name == ATTEMPT_STEPS[0]:
                    _try_students(context, ledger)
                continue
            if step.name in AFTER_CHOICE and _nothing_fits(context):
                _leave_out(context, ledger)
                continue
            _check_needs(step, context, called, alone=only is not None)
            _run_step(step, context, ledger)
    return Outcome(context.root, _exit_code(context, only))


def _check_alone() -> None:
    """Errors: InputError when a launcher started several processes, which would all write to one run folder."""
    started = os.environ.get("WORLD_SIZE", "1")
    if started != "1":
        raise InputError(
            f"a launcher started {started} processes, expected one: a run is no distributed program. For a training of "
            "your own in several processes see docs/training.md"
        )


def _try_students(context: Context, ledger: Ledger) -> None:
    """The steps size to gate, for one student after another while the next one is due; then the best stands there."""
    first, *after = (step for step in STEPS if step.name in ATTEMPT_STEPS)
    loop = begin(size.loop_of(context))
    while True:
        put_in_place(loop)
        blocked = _run_step(first, context, ledger, loop.position).blocked
        if blocked is not None:
            loop = loop.blocked(blocked)
        elif _nothing_fits(context):
            _leave_out(context, ledger)
            return
        else:
            for step in after:
                _run_step(step, context, ledger, loop.position)
            loop = entered(loop)
        if loop.ending is not None:
            put_in_place(loop)
            return


def _write_recipe(context: Context) -> None:
    path = context.path(RECIPE_JSON)
    text = json_text(context.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def _start_again(again: Sequence[str], context: Context) -> None:
    """Forget the steps in `again`, with what they would otherwise pick up again. Errors: InputError."""
    names = [step.name for step in STEPS]
    for name in again:
        if name not in names:
            raise InputError(f"--again {name}: no such step, expected one of {listing(names)}")
        stash.unlearn(context, name)
        context.ledger.forget(name)
        for old in context.path(WORK).glob(f"{name}-*"):
            shutil.rmtree(old)
    if "size" in again:
        for folder in (CALIBRATION, TRIALS):
            shutil.rmtree(context.path(folder), ignore_errors=True)
        begin_again(context)


def _try_host(context: Context) -> None:
    """Reach the host before hours are spent on training for it. Errors: as Context.open_host."""
    step = STEPS[0]
    if context.ledger.is_current(step.name, inputs_hash(step.inputs(context))):
        return
    context.progress.update("reaching the host")
    with context.open_host():
        pass


def _try_energy(context: Context) -> None:
    """Refuse a limit on energy that nothing could tell, unless the students were sized. Errors: as check_energy."""
    current = all(
        context.ledger.entry(step.name) is not None
        and context.ledger.is_current(step.name, inputs_hash(step.inputs(context)))
        for step in STEPS[:2]
    )
    if context.recipe.sla.energy is not None and not current:
        context.progress.update("asking the host for its power rails")
        check_energy(context)


def _check_needs(step: Step, context: Context, called: str, *, alone: bool) -> None:
    """Errors: InputError when a step before has left nothing, or, for a step `alone`, what another recipe asked for."""
    for need in step.needs:
        verb = need if need in VERBS else "run"
        where = f"{context.root}: the step {need}"
        if context.ledger.entry(need) is None:
            raise InputError(f"{where} has left no files there. Run first: edgekd {verb} {called}")
        before = next(other for other in STEPS if other.name == need)
        if alone and not context.ledger.is_current(need, inputs_hash(before.inputs(context))):
            raise InputError(f"{where} is not up to date with this recipe. Run first: edgekd {verb} {called}")


def _run_step(step: Step, context: Context, ledger: Ledger, position: int = 0) -> Done:
    inputs = inputs_hash(step.inputs(context))
    if step.name == "distill":
        stash.adopt(context, inputs)
    current = ledger.is_current(step.name, inputs)
    context.progress.begin(step.name, current=current)
    summary_path, scratch = context.path(WORK, f"{step.name}.txt"), _scratch(context, step.name, inputs)
    if current:
        if step.name == "teacher":
            refuse_kept(context)
        shutil.rmtree(scratch, ignore_errors=True)  # of a kill just after the step had ended
        summary = summary_path.read_text(encoding="utf-8") if summary_path.exists() else "unchanged"
        context.progress.end(step.name, _said(summary, position))
        return Done((), summary)
    if ledger.entry(step.name) is not None:
        # The step ended once and its files have changed since: what lies there is the rest of it, not of a killed one.
        shutil.rmtree(scratch, ignore_errors=True)
    ledger.forget(step.name)
    for old in context.path(WORK).glob(f"{step.name}-*"):
        if old != scratch:
            shutil.rmtree(old)
    done = step.work(context, scratch)
    if done.blocked is None:
        ledger.record(step.name, inputs, done.paths)
        write_text(summary_path, done.summary)
    if scratch.exists():
        shutil.rmtree(scratch)
    context.progress.end(step.name, _said(done.summary, position))
    return done


def _said(summary: str, position: int) -> str:
    return f"attempt {position + 1}: {summary}" if position else summary


def _nothing_fits(context: Context) -> bool:
    path = context.path(STUDENTS_JSON)
    return path.exists() and read_json(path).get("chosen") is None


def _scratch(context: Context, step: str, inputs: str) -> Path:
    return context.path(WORK, f"{step}-{inputs[:16]}")


def _leave_out(context: Context, ledger: Ledger) -> None:
    """No student fits any more: what an earlier run trained and measured does not answer this recipe."""
    _put_student_aside(context, ledger)
    stash.clear(context)
    for path in map(context.path, (STUDENT_JSON, VERDICT_JSON, JUNIT_XML, SUMMARY_MD)):
        path.unlink(missing_ok=True)
    for name in AFTER_CHOICE:
        ledger.forget(name)


def _put_student_aside(context: Context, ledger: Ledger) -> None:
    """Keep the trained student where a killed step would have left it: a mended limit does not cost its training."""
    entry = ledger.entry("distill")
    if entry is None or ledger.changed_files("distill"):
        return
    kept = stash.with_training(context, entry.inputs)
    if kept is not None and stash.is_whole(context, kept, "distill"):
        return
    scratch = _scratch(context, "distill", entry.inputs)
    shutil.rmtree(scratch, ignore_errors=True)
    make_folder(scratch)
    context.path(STUDENT).rename(scratch / SAVED)
    context.path(STUDENT_JSON).rename(scratch / RESULT)


def _exit_code(context: Context, only: str | None) -> int:
    if only == "teacher":
        return EXIT_PASS
    if _nothing_fits(context):
        return EXIT_SLA_MISSED
    if only is not None:
        return EXIT_PASS
    from edgekd.gate.files import read_verdict
    from edgekd.gate.judge import exit_code

    return exit_code(read_verdict(context.path(VERDICT_JSON)))
