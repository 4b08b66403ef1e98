"""How teacher and student are taught, as a recipe says it: rates, losses, and settings that change on the way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from edgekd.choices import Count
from edgekd.config import Model, Number, Share

TrainingPrecision = Literal["fp32", "bf16"]
SoftLoss = Literal["kl", "reverse_kl", "jensen_shannon", "dkd", "dist", "standardised"]

Rate = Annotated[Number, Field(gt=0, lt=1)]


class FineTune(Model):
    """How the teacher learns the task. `max_examples` bounds the training examples, drawn with `seed`."""

    epochs: Count = 3
    learning_rate: Rate = 1.0e-4
    batch_size: Count = 32
    weight_decay: Annotated[Number, Field(ge=0, lt=1)] = 0.01
    patience: Count = 3
    max_examples: Count | None = None
    precision: TrainingPrecision = "fp32"
    seed: Annotated[int, Field(ge=0)] = 17


class LevelSchedule(Model):
    """A number that changes on the way: `from` to `to` over the first `until` of the steps, and `to` from there on."""

    first: Number = Field(alias="from")
    last: Number = Field(alias="to")
    shape: Literal["linear", "cosine"] = "linear"
    until: Annotated[Share, Field(gt=0)] = 1.0


Temperature = Annotated[Number, Field(ge=1, le=20)]
Alpha = Annotated[Number, Field(ge=0, le=1)]
Weight = Annotated[Number, Field(ge=0, le=1.0e6)]  # our choice: no loss here is a million times another


class TemperatureSchedule(LevelSchedule):
    """A temperature that changes."""

    first: Temperature = Field(alias="from")
    last: Temperature = Field(alias="to")


class AlphaSchedule(LevelSchedule):
    """The teacher's part in the loss, changing."""

    first: Alpha = Field(alias="from")
    last: Alpha = Field(alias="to")


class WeightSchedule(LevelSchedule):
    """The weight of a loss, changing."""

    first: Weight = Field(alias="from")
    last: Weight = Field(alias="to")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    return "table" if isinstance(value, dict | LevelSchedule) else "one"


# Told apart before they are read: else one wrong number would be two errors, one of each kind.
_BY_KIND = Discriminator(_kind)
ChangingTemperature = Annotated[
    Annotated[Temperature, Tag("one")] | Annotated[TemperatureSchedule, Tag("table")], _BY_KIND
]
ChangingAlpha = Annotated[Annotated[Alpha, Tag("one")] | Annotated[AlphaSchedule, Tag("table")], _BY_KIND]
ChangingWeight = Annotated[Annotated[Weight, Tag("one")] | Annotated[WeightSchedule, Tag("table")], _BY_KIND]


def _matched_once(layers: Any) -> Any:
    if isinstance(layers, list):
        own = [pair[0] for pair in layers]
        if len(set(own)) != len(own) or not own:
            raise ValueError(f"found {layers}, expected pairs [student's layer, teacher's layer], each student's once")
    return layers


LayerNumber = Annotated[int, Field(ge=0)]
LayerPair = Annotated[list[LayerNumber], Field(min_length=2, max_length=2)]
Layers = Annotated[
    Annotated[Literal["auto"], Tag("one")] | Annotated[list[LayerPair], Tag("list")],
    _BY_KIND,
    AfterValidator(_matched_once),
]


class DropLayers(Model):
    """The teacher's other layers work beside the student's at first, and are given up one by one `until` that share."""

    until: Annotated[Share, Field(gt=0, lt=1)] = 0.5


class HiddenStates(Model):
    """Hidden states the student has to match, `weight` times their squared difference.

    `layers` are pairs of the student's layer and the teacher's, counted from 0; `auto` spreads them evenly.
    """

    weight: ChangingWeight
    layers: Layers = "auto"


class Relations(Model):
    """Relations between tokens the student has to match, in `heads` relation heads, `weight` times their divergence.

    `layers` as for hidden states; `auto` is the last of both. `heads` divides the widths of student and teacher.
    """

    weight: ChangingWeight
    heads: Annotated[int, Field(ge=1)]
    layers: Layers = "auto"
