"""The loop after training: which attempt stands in the run folder, which comes next, and when it ends.

An attempt is one chosen student that went through distill, export, bench and gate. Everything here follows from
attempts.json and the recipe, so a run that was killed anywhere goes on with the same attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekd.pipeline import stash
from edgekd.pipeline.context import ATTEMPTS_JSON, TEACHER, Context, inputs_hash, machine_facts
from edgekd.sizing.attempts import Attempt, AttemptsFile, Blocked, Learned, read_attempts, write_attempts
from edgekd.sizing.proposal import aim_after, learned_from, likely_s, no_more_text, winner
from edgekd.units import text_from_s

if TYPE_CHECKING:
    from edgekd.sizing.price import PricedStudent

MOST_EARLIER = 8  # our choice: attempts under other limits whose students are kept, for each takes place on the disk


@dataclass(frozen=True)
class Loop:
    """Where the attempts of a run stand. `file` holds for the recipe as it is."""

    context: Context
    file: AttemptsFile

    @property
    def ending(self) -> str | None:
        """Why no further student is tried; None while one is due."""
        attempts, budget = self.file.attempts, self.context.recipe.budget
        if not attempts:
            return None
        if aim_after(attempts) is None:
            return no_more_text(attempts)
        if len(attempts) >= budget.attempts:
            return f"budget.attempts allows {budget.attempts}"
        blocked = self.file.blocked
        if blocked is None or (blocked.why == "time" and blocked.needs_s <= self.left_s(len(attempts))):
            return None
        return self.without(blocked)

    def without(self, blocked: Blocked) -> str:
        """Why no student follows the last attempt."""
        aim = aim_after(self.file.attempts)
        wanted = f"{aim.direction if aim else 'other'} student"
        if blocked.why == "space":
            return f"the space holds no {wanted} that should keep the limits"
        needs, left = text_from_s(blocked.needs_s), text_from_s(self.left_s(len(self.file.attempts)))
        return f"a {wanted} would train for about {needs}, and budget.training leaves {left}"

    @property
    def position(self) -> int:
        """Which attempt stands in the run folder, or is about to: the winner once it has ended, else the next one."""
        attempts = self.file.attempts
        return len(attempts) if self.ending is None else attempts.index(winner(attempts))

    @property
    def standing(self) -> Attempt | None:
        """The attempt at `position`, where that one has ended."""
        attempts = self.file.attempts
        return attempts[self.position] if self.position < len(attempts) else None

    @property
    def learned(self) -> Learned:
        """What the choice at `position` rests on."""
        if self.standing is not None:
            return self.standing.learned
        return learned_from(self.file.attempts, self.file.earlier)

    def left_s(self, position: int) -> float:
        """Seconds of budget.training that the attempts before `position` have left."""
        used_s = sum(attempt.seconds for attempt in self.file.attempts[:position])
        return max(0.0, self.context.recipe.budget.training - used_s)

    def lacking(self, chosen: PricedStudent | None) -> Blocked | None:
        """What keeps `chosen`, proposed after an attempt, from being trained; None where nothing does."""
        if chosen is None:
            return Blocked(why="space")
        needs_s, position = likely_s(self.file.attempts[: self.position], chosen.parameters), self.position
        return Blocked(why="time", needs_s=needs_s) if needs_s > self.left_s(position) else None

    def written(self) -> Loop:
        """The same, stored with how it stands."""
        attempts = self.file.attempts
        best = winner(attempts).number if attempts and self.ending is not None else None
        file = self.file.model_copy(update={"ended": self.ending, "best": best})
        if attempts or file.earlier or self.context.path(ATTEMPTS_JSON).exists():
            write_attempts(file, self.context.path(ATTEMPTS_JSON))
        return replace(self, file=file)

    def blocked(self, why: Blocked) -> Loop:
        """The same with the attempt at `position` given up, stored."""
        attempts, at = self.file.attempts, self.position
        update = {"attempts": attempts[:at], "earlier": [*self.file.earlier, *attempts[at:]], "blocked": why}
        return replace(self, file=self.file.model_copy(update=update)).written()


def opened(context: Context, limits: Any) -> Loop:
    """The loop of a run folder, of which only holds what this recipe and its teacher leave true.

    `limits` is everything that a first sizing depends on. Another teacher, training, host or protocol forgets all
    attempts; other limits or another space begin anew with what they taught, judged against the new limits.
    Errors: RecordError for a damaged attempts.json.
    """
    key, loop = inputs_hash(_truths_depend_on(context)), inputs_hash(limits)
    path = context.path(ATTEMPTS_JSON)
    found = read_attempts(path) if path.exists() else None
    if found is None or found.key != key:
        return Loop(context, AttemptsFile(key=key, loop=loop))
    if found.loop != loop:
        earlier = [_judged_anew(context, one) for one in (*found.earlier, *found.attempts)]
        known = [one for one in earlier if one is not None][-MOST_EARLIER:]
        return Loop(context, AttemptsFile(key=key, loop=loop, earlier=known))
    return Loop(context, found)


def _truths_depend_on(context: Context) -> Any:
    recipe = context.recipe
    teacher = {name: digest for name, digest in context.left_by("teacher").items() if name.startswith(f"{TEACHER}/")}
    sections = [getattr(recipe, name).model_dump(mode="json") for name in ("host", "bench", "distill", "parity")]
    data = context.data_content("train", "validation", "test")
    return [teacher, sections, recipe.precisions, recipe.device, machine_facts(recipe.host, context.base), data]


def _judged_anew(context: Context, attempt: Attempt) -> Attempt | None:
    """`attempt` against the limits of today; None where its records are gone."""
    from edgekd.pipeline.truth import attempt_in

    if not all(stash.is_whole(context, attempt.number, step) for step in ("size", "distill", "export", "bench")):
        return None
    folder = stash.folder_of(context, attempt.number)
    return attempt_in(folder, attempt.number, context.recipe.sla, context.profile, attempt.learned)


def begin(loop: Loop) -> Loop:
    """`loop` stored, and the files of forgotten attempts removed; those of a lost attempts.json are of use yet."""
    stash.remove_unfinished(loop.context)
    lost = not loop.context.path(ATTEMPTS_JSON).exists()
    loop = loop.written()
    if lost:
        return loop
    known = {attempt.number for attempt in (*loop.file.attempts, *loop.file.earlier)}
    for number in stash.numbers(loop.context):
        if number not in known:
            stash.forget(loop.context, number)
    return loop


def begin_again(context: Context) -> None:
    """Let the loop start from its first choice, with what the attempts taught. Errors: RecordError."""
    path = context.path(ATTEMPTS_JSON)
    if path.exists():
        file = read_attempts(path)
        write_attempts(file.model_copy(update={"loop": "", "ended": None, "best": None}), path)


def put_in_place(loop: Loop) -> None:
    """Put the files of the standing attempt back, where those of another one stand in the run folder."""
    context, attempt = loop.context, loop.standing
    if attempt is not None and attempt.number in stash.numbers(context):
        kept = stash.ledger_of(context, attempt.number).entry("size")
        if kept is not None and kept != context.ledger.entry("size"):
            stash.put_back(context, attempt.number)


def entered(loop: Loop) -> Loop:
    """`loop` with the attempt whose gate has just ended, stored with its files.

    Where an attempt was measured or trained again, those that followed from it count as earlier ones.
    """
    from edgekd.pipeline.truth import attempt_in

    context, file, position = loop.context, loop.file, loop.position
    number = _number(loop)
    attempt = attempt_in(context.root, number, context.recipe.sla, context.profile, loop.learned)
    if not stash.is_kept(context, number):
        stash.keep(context, number)
    if loop.standing == attempt:
        return loop.written()
    others = (*file.earlier, *file.attempts[position:])
    earlier = [one for one in others if one.number != number]
    update = {"attempts": [*file.attempts[:position], attempt], "earlier": earlier, "blocked": None}
    return replace(loop, file=file.model_copy(update=update)).written()


def _number(loop: Loop) -> int:
    """The number of the attempt at `position`: its old one where its student was trained before."""
    entry = loop.context.ledger.entry("distill")
    before = stash.with_training(loop.context, entry.inputs) if entry else None
    used = [one.number for one in loop.file.attempts[: loop.position]]
    if before is not None and before not in used:
        return before
    if loop.standing and stash.ledger_of(loop.context, loop.standing.number).entry("distill") is None:
        return loop.standing.number  # it was trained again because it was asked for
    return max([0, *used, *stash.numbers(loop.context), *(one.number for one in loop.file.earlier)]) + 1
