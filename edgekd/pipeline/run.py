"""`edgekd run`: nothing but the steps in order, skipping those whose inputs have not changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import EXIT_PASS, EXIT_SLA_MISSED, InputError
from edgekd.files import json_text, make_folder, read_json, write_json
from edgekd.pipeline import distill, export, judge, measure, page, size, teacher
from edgekd.pipeline.context import (
    RECIPE_JSON,
    STUDENTS_JSON,
    VERDICT_JSON,
    WORK,
    Context,
    Done,
    Progress,
    Silent,
    inputs_hash,
)
from edgekd.pipeline.ledger import Ledger, locked
from edgekd.recipe import Recipe, load_recipe


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
NAMES = tuple(step.name for step in STEPS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the run folder, and the exit code of the verdict (0 when no verdict was asked for)."""

    root: Path
    exit_code: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: the resolved recipe, and each step with whether it is to be run."""

    recipe: Recipe
    root: Path
    steps: tuple[tuple[str, str], ...]


def _context(name: str, overrides: Sequence[str], out: Path | None, progress: Progress) -> Context:
    recipe = load_recipe(name, overrides)
    root = out if out is not None else Path("runs") / recipe.name
    context = Context(recipe, root, Path.cwd(), progress)
    _ = context.profile  # an unknown device is an error now, not in the middle of the run
    return context


def _selected(only: str | None) -> tuple[Step, ...]:
    return STEPS if only is None else tuple(step for step in STEPS if step.name == only)


def plan(name: str, overrides: Sequence[str], out: Path | None, *, only: str | None = None) -> Plan:
    """What `run` with the same arguments would do; nothing is written. Errors: InputError, RecipeError."""
    context = _context(name, overrides, out, Silent())
    ledger = context.ledger
    states: list[tuple[str, str]] = []
    stale = False
    for step in _selected(only):
        missing = [need for need in step.needs if ledger.entry(need) is None]
        stale = stale or bool(missing) or not ledger.is_current(step.name, inputs_hash(step.inputs(context)))
        states.append((step.name, "run" if stale else "unchanged"))
    return Plan(context.recipe, context.root, tuple(states))


def describe(found: Plan) -> str:
    """`found` as text: the resolved recipe as JSON, then the steps."""
    recipe = json_text(found.recipe.model_dump(mode="json", by_alias=True, exclude_none=True))
    lines = [f"  {name:<8} {state}" for name, state in found.steps]
    return "\n".join([recipe, "", f"run folder {found.root}", *lines])


def run(
    name: str,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    *,
    only: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Run the recipe `name` up to its verdict and report, or `only` one step from the files of those before.

    Killed at any point, the same call goes on where it stopped; what has not changed is not computed again. When no
    student fits, the steps after `size` are left out and the outcome is a missed SLA, not an error.
    Errors: every branch of EdgekdError.
    """
    context = _context(name, overrides, out, progress or Silent())
    make_folder(context.root)
    with locked(context.root):
        ledger = context.ledger
        table = context.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
        write_json(context.path(RECIPE_JSON), table)
        for step in _selected(only):
            if only is None and step.name in ("distill", "export", "bench", "gate") and _nothing_fits(context):
                _forget_later(context, ledger)
                continue
            _run_step(step, context, ledger)
    return Outcome(context.root, _exit_code(context, only))


def _run_step(step: Step, context: Context, ledger: Ledger) -> None:
    for need in step.needs:
        if ledger.entry(need) is None:
            again = f"edgekd {need} {context.recipe.name}" if need in NAMES[:4] else f"edgekd run {context.recipe.name}"
            raise InputError(f"{context.root}: the step {need} has left no files there. Run first: {again}")
    inputs = inputs_hash(step.inputs(context))
    current = ledger.is_current(step.name, inputs)
    context.progress.begin(step.name, current=current)
    summary_path = context.path(WORK, f"{step.name}.txt")
    if current:
        summary = summary_path.read_text(encoding="utf-8") if summary_path.exists() else "unchanged"
        context.progress.end(step.name, summary)
        return
    ledger.forget(step.name)
    scratch = context.path(WORK, f"{step.name}-{inputs[:16]}")
    for old in context.path(WORK).glob(f"{step.name}-*"):
        if old != scratch:
            shutil.rmtree(old)
    done = step.work(context, scratch)
    ledger.record(step.name, inputs, done.paths)
    make_folder(summary_path.parent)
    summary_path.write_text(done.summary, encoding="utf-8")
    if scratch.exists():
        shutil.rmtree(scratch)
    context.progress.end(step.name, done.summary)


def _nothing_fits(context: Context) -> bool:
    path = context.path(STUDENTS_JSON)
    return path.exists() and read_json(path).get("chosen") is None


def _forget_later(context: Context, ledger: Ledger) -> None:
    """No student fits any more: what an earlier run trained and measured does not answer this recipe."""
    for name in ("distill", "export", "bench", "gate"):
        entry = ledger.entry(name)
        if entry is not None:
            ledger.forget(name)
            for file in entry.files:
                context.path(file).unlink(missing_ok=True)


def _exit_code(context: Context, only: str | None) -> int:
    if only is not None:
        return EXIT_SLA_MISSED if only == "size" and _nothing_fits(context) else EXIT_PASS
    if _nothing_fits(context):
        return EXIT_SLA_MISSED
    from edgekd.gate.files import read_verdict
    from edgekd.gate.judge import exit_code

    return exit_code(read_verdict(context.path(VERDICT_JSON)))
