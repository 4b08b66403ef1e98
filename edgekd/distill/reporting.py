"""Telling other programs how a training goes: TensorBoard, MLflow and whatever else transformers can report to.

Only the first of several processes reports. What is reported never changes what is learned.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils
from typing_extensions import override

from edgekd.distill import processes
from edgekd.errors import InputError
from edgekd.text import did_you_mean, listing

TENSORBOARD, FOLDER_VARIABLE = "tensorboard", "TENSORBOARD_LOGGING_DIR"
STEPS_OF_A_CURVE = 200  # points enough for a line, whatever the length of the training


@dataclass(frozen=True)
class Reporting:
    """`to` are names that transformers has for the programs that are told; `name` is how they call the training.

    TensorBoard's files lie in `folder`/`name`-KEY/PHASE, or in $TENSORBOARD_LOGGING_DIR in place of `folder`; KEY
    stands for settings, data and first weights. Where the others write, their own variables say.
    """

    to: tuple[str, ...]
    folder: Path
    name: str


def check_reporting(names: Sequence[str]) -> None:
    """Nothing, where all of `names` can be reported to. Errors: InputError, with what has to be installed."""
    for name in names:
        _kind(name)


def _asked_as(name: str) -> str:
    """How transformers calls the program in its functions is_..._available."""
    return {"azure_ml": "azureml", "comet_ml": "comet", "flyte": "flytekit"}.get(name, name)


def _kind(name: str) -> Any:
    known = integration_utils.INTEGRATION_TO_CALLBACK
    if name not in known:
        raise InputError(
            f"report_to: found {name!r}, expected some of {listing(sorted(known))}.{did_you_mean(name, sorted(known))}"
        )
    # Of tensorboardX, which would do for transformers, we know nothing.
    there = find_spec(name) if name == TENSORBOARD else getattr(integration_utils, f"is_{_asked_as(name)}_available")()
    if not there:
        raise InputError(f"report_to: {name} is not installed, or not set up; see its documentation, or remove it")
    return known[name]


def reporters(reporting: Reporting | None, key: str, phase: str, *, step: int) -> list[TrainerCallback]:
    """Callbacks for one phase of a training that goes on after `step`; none in any process but the first.

    Errors: InputError where a name is unknown or its library is missing.
    """
    if reporting is None or not processes.is_first():
        return []
    return [
        _tensorboard(_place(reporting, key) / phase, step) if name == TENSORBOARD else _kind(name)()
        for name in reporting.to
    ]


def run_name(reporting: Reporting, phase: str) -> str:
    """What the training is called where runs have names: 'sst2 student, main'."""
    return f"{reporting.name}, {phase}"


def _place(reporting: Reporting, key: str) -> Path:
    given = os.environ.get(FOLDER_VARIABLE)
    return (Path(given).expanduser() if given else reporting.folder) / f"{reporting.name.replace(' ', '-')}-{key[:8]}"


def _tensorboard(folder: Path, step: int) -> TrainerCallback:
    kind = _kind(TENSORBOARD)
    from torch.utils.tensorboard import SummaryWriter

    # A killed call may have told of steps that are now taken again: TensorBoard drops what it holds beyond this one.
    made: TrainerCallback = kind(tb_writer=SummaryWriter(str(folder), purge_step=step + 1))
    return made


class Curve(TrainerCallback):
    """Reports the loss of some steps between the ends of epochs, `every` so many."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.trainer: Any = None

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.trainer is not None and state.global_step % self.every == 0:
            self.trainer.log({"step_loss": self.trainer.step_loss})


def curve_of(steps: int) -> Curve:
    """A curve of at most STEPS_OF_A_CURVE points over so many steps."""
    return Curve(max(1, -(-steps // STEPS_OF_A_CURVE)))
