"""Which start suits a student best: ways to begin from the teacher, compared before the training.

All methods start the student at evenly spaced layers, and the best of them at other layers as well; each is judged by
its cross entropy before any training, with its logits scaled as suits it best: a start that says the right things too
loudly is none the worse for it. The leading ones are then distilled for a short time, because what a start gives
away at first may come back within a few steps, and the lowest cross entropy after it wins.
Source: our own. That losses at the start order students as losses after a short training do, but that a repaired and an
unrepaired one must not be compared that way, is why both are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edgekd.errors import Diverged
from edgekd.student import StudentSpec
from edgekd.students.choose import even_layers, first_layers, influential_layers
from edgekd.students.initialise import Initialisation, Method, methods_for

FINALISTS = 3  # that are distilled for a short time, our choice
SHARE_OF_STEPS = 0.05  # of the whole training, that each of them takes, our choice
LEAST_STEPS, MOST_STEPS = 10, 60


@dataclass(frozen=True, slots=True)
class Start:
    """A way to begin: a method of edgekd.students.initialise, and the teacher's layers that are copied."""

    method: Method
    layers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a start was worth: cross entropy [nats] on validation examples before any step, and after `steps` of them.

    `initial` is with the logits scaled as suits it best. `trained` is None for a start that was not distilled, and
    where it diverged.
    """

    start: Start
    initial: float
    steps: int = 0
    trained: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "method": self.start.method,
            "layers": list(self.start.layers),
            "initial_loss": self.initial,
            "steps": self.steps,
            "trained_loss": self.trained,
        }


class Kitchen(Protocol):
    """Makes and judges students of one spec."""

    def begun(self, start: Start) -> tuple[Any, Initialisation]:
        """A student that begins with `start`, and what it has of the teacher."""
        ...

    def loss(self, student: Any) -> float:
        """Its cross entropy on validation examples."""
        ...

    def distilled(self, student: Any, start: Start, steps: int) -> float:
        """Its cross entropy after so many steps of distillation. Errors: Diverged."""
        ...


def compare_starts(
    spec: StudentSpec,
    teacher: StudentSpec,
    influence: Sequence[float],
    kitchen: Kitchen,
    *,
    steps: int,
    heard: Callable[[str], None] = lambda _text: None,
    without: Sequence[Method] = (),
    over: Callable[[], bool] = lambda: False,
) -> list[Compared]:
    """Every start that was compared, the best one first; `steps` 0 judges them before any training alone.

    `influence` is that of the teacher's layers; `heard` is told what is being done; methods `without` are left out.
    Once time is `over`, nothing more is begun; one start is looked at in any case.
    """
    even = tuple(even_layers(teacher.layers, spec.layers))
    found: list[Compared] = []

    def look(start: Start) -> None:
        if found and over():
            return
        heard(f"looking at a start by {start.method}")
        student, _ = kitchen.begun(start)
        found.append(Compared(start, kitchen.loss(student)))

    for method in (each for each in methods_of_interest(spec, teacher) if each not in without):
        look(Start(method, even if method != "random" else ()))
    found.sort(key=_initial)
    for layers in (first_layers(teacher.layers, spec.layers), influential_layers(influence, spec.layers)):
        start = Start(found[0].start.method, tuple(layers))
        if start.layers and start.method != "random" and all(start != known.start for known in found):
            look(start)
    found.sort(key=_initial)
    if steps and len(found) > 1:
        for index, entrant in enumerate(found[:FINALISTS]):
            if over():
                break
            heard(f"trying a start by {entrant.start.method}")
            student, _ = kitchen.begun(entrant.start)
            found[index] = _tried(kitchen, student, entrant, steps)
        found.sort(key=_trained)
    return found


def methods_of_interest(spec: StudentSpec, teacher: StudentSpec) -> tuple[Method, ...]:
    """The methods that can give students of `spec` different weights; the first alone where all copy the teacher.

    A head that is not tied is a copy of the embeddings whatever the method; a rotation turns it apart from them.
    """
    spec = replace(spec, tied=teacher.tied)
    if spec == teacher:
        return ("uniform",)
    if replace(spec, layers=teacher.layers) == teacher:  # layers alone are left out: the others copy what is left
        return ("random", "uniform", "importance")
    fewer_heads = spec.heads < teacher.heads  # else gates choose what importance chooses
    return tuple(method for method in methods_for(spec.architecture) if method != "gates" or fewer_heads)


def steps_of_trial(all_steps: int) -> int:
    """Optimiser steps that a start is tried for, of a training of `all_steps`."""
    return min(max(round(SHARE_OF_STEPS * all_steps), LEAST_STEPS), MOST_STEPS)


def _tried(kitchen: Kitchen, student: Any, entrant: Compared, steps: int) -> Compared:
    try:
        return replace(entrant, steps=steps, trained=kitchen.distilled(student, entrant.start, steps))
    except Diverged:
        return replace(entrant, steps=steps)


def _initial(entrant: Compared) -> float:
    return entrant.initial


def _trained(entrant: Compared) -> tuple[bool, float]:
    return entrant.trained is None, entrant.initial if entrant.trained is None else entrant.trained
