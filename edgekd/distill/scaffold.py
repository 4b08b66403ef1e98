"""Progressive layer dropping: a student that begins among its teacher's other layers and gives them up one by one.

Behind each layer of the student stand the layers that it will do without, its scaffold: cut from the teacher in the
same way, frozen, and run in training alone. At first all of them work, so the network is as deep as the teacher; at
even distances the uppermost of those that are left is given up, and the student's own layers learn what it did. An
evaluation is always that of the student without any scaffold, which is what will be saved.

The scaffold is a part of the student while it is trained, so that checkpoints and resumed trainings are exact, and is
taken off at the end. How much of it is left is a function of the step.
Source: after Xu et al. 2020, BERT-of-Theseus, arXiv:2002.02925 (a small model that learns inside a frozen large one, of
which more and more is replaced; there at random, module by module); Sajjad et al. 2020, arXiv:2004.03844 (upper layers
are those that a model misses least); Fan et al. 2019, LayerDrop, arXiv:1909.11556 (layers can be left out of a
transformer in training). That they go one after the other, at even distances, is our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import Cache, TrainerCallback, TrainerControl, TrainerState
from typing_extensions import override

from edgekd.distill.capture import layers_of
from edgekd.distill.settings import TrainingSettings
from edgekd.errors import InputError

SCAFFOLD = "edgekd_scaffold"


def put_up(student: Any, behind: Sequence[Sequence[nn.Module]]) -> None:
    """Let the layers `behind` each layer of `student`, in their order, be its scaffold: frozen, a part of the student.

    It does nothing before `scaffolding`. Errors: InputError when there are not as many lists as layers.
    """
    layers = layers_of(student)
    if len(behind) != len(layers):
        raise InputError(f"scaffold: found {len(behind)} lists, expected one for each of {len(layers)} layers")
    scaffold = nn.ModuleList([nn.ModuleList(stretch) for stretch in behind])
    for weight in scaffold.parameters():
        weight.requires_grad_(False)
    scaffold.train(student.training)
    student.add_module(SCAFFOLD, scaffold)


def take_down(student: Any) -> None:
    """Take the scaffold off `student`, if it has one."""
    if hasattr(student, SCAFFOLD):
        delattr(student, SCAFFOLD)


def layers_left(count: int, until: float, step: int, steps: int) -> int:
    """How many layers of `count` work in the step after `step` steps, of `steps` in all.

    The last one is given up when the share `until` of the steps is done, the others at as great distances before.
    """
    done = step / max(until * steps, 1.0)
    return max(0, count - int(count * done + 1e-9))


@dataclass
class Scaffold:
    """The scaffold at work: `count` layers, of which the lowest `left` work; the last is given up at `until`."""

    count: int
    until: float
    left: int = 0

    def at(self, step: int, steps: int) -> int:
        """How many layers work in the step after `step` steps, of `steps` in all."""
        return layers_left(self.count, self.until, step, steps)


class Dropping(TrainerCallback):
    """Gives up layers of a scaffold as a training goes on; with `for_good` all of them from its first step on."""

    def __init__(self, scaffold: Scaffold, *, for_good: bool) -> None:
        self._scaffold, self._for_good = scaffold, for_good

    @override
    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._scaffold.left = 0 if self._for_good else self._scaffold.at(state.global_step, state.max_steps)


@contextmanager
def scaffolding(student: Any, settings: TrainingSettings) -> Iterator[Scaffold | None]:
    """Inside: the scaffold of `student`, at work in training mode; None when `settings` ask for none. After: gone.

    Errors: InputError when there is none to give up, or when features of the layers are to be matched as well.
    """
    if settings.drop_until is None:
        if hasattr(student, SCAFFOLD):
            raise InputError("training: found a student with a scaffold and no drop_layers; set it, or take it down")
        yield None
        return
    check_dropping(student, settings)
    stretches = getattr(student, SCAFFOLD)
    scaffold = Scaffold(sum(len(stretch) for stretch in stretches), settings.drop_until)
    lowest = 0
    with ExitStack() as around:
        around.callback(take_down, student)
        for layer, stretch in zip(layers_of(student), stretches, strict=True):
            hook = layer.register_forward_hook(_continuing(scaffold, stretch, lowest), with_kwargs=True)
            around.callback(hook.remove)
            lowest += len(stretch)
        yield scaffold


def check_dropping(student: Any, settings: TrainingSettings) -> None:
    """Refuse what cannot be trained with a scaffold. Errors: InputError."""
    if settings.features:
        raise InputError(
            "training: found drop_layers together with hidden or relations, expected one of them: until the last layer "
            "is given up, what a layer of the student computes rests on layers that it will not have. Leave one out"
        )
    if not hasattr(student, SCAFFOLD):
        raise InputError(
            "training: found drop_layers and a student without a scaffold; put one up first (edgekd.distill.scaffold)"
        )


def _continuing(scaffold: Scaffold, stretch: Any, lowest: int) -> Callable[..., Any]:
    """What goes on behind a layer: those of `stretch` that work, the first of which is the scaffold's `lowest`."""

    def go_on(layer: nn.Module, given: tuple[Any, ...], options: dict[str, Any], stream: Any) -> Any:
        if not layer.training:
            return None
        # A cache of keys and values has no place for layers that are in no list.
        others = [None if isinstance(value, Cache) else value for value in given[1:]]
        named = {name: None if isinstance(value, Cache) else value for name, value in options.items()}
        for surplus in list(stretch)[: max(0, scaffold.left - lowest)]:
            stream = surplus(stream, *others, **named)
        return stream

    return go_on
