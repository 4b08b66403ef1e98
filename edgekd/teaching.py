"""How teacher and student are taught, as a recipe says it: rates, losses, and settings that change on the way."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PlainSerializer, Tag, model_validator

from edgekd.choices import Count
from edgekd.config import Bytes, Model, Number, Share

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


# With its unit, as a recipe has to say it: what is written out is read again.
_READ_BACK = PlainSerializer(lambda value: f"{value} B", return_type=str, when_used="json")


class TeacherCache(Model):
    """Whether what `hidden` and `relations` look at is stored before the training, so that the teacher rests in it.

    `auto` stores it where it takes at most `limit` on disk and is looked at over two epochs or more.
    """

    features: Literal["auto", True, False] = "auto"
    limit: Annotated[Bytes, Field(gt=0), _READ_BACK] = 4_000_000_000


class Relations(Model):
    """Relations between tokens the student has to match, in `heads` relation heads, `weight` times their divergence.

    `layers` as for hidden states; `auto` is the last of both. `heads` divides the widths of student and teacher.
    """

    weight: ChangingWeight
    heads: Annotated[int, Field(ge=1)]
    layers: Layers = "auto"


class Distill(Model):
    """How the student learns: alpha * (the teacher's part at `temperature`) + (1 - alpha) * cross entropy.

    `loss` is the teacher's part, T² KL(teacher ‖ student) by default; docs/distillation.md says when to choose another.
    `hidden` and `relations` add losses on what both compute inside; `cache` says whether the teacher is asked for that
    once before the training, or runs beside the student.
    `top_k` is how many of the teacher's tokens are kept at each position of a text, for causal-lm alone.
    `final_ce_epoch` adds one last epoch of cross entropy alone. `freeze_embeddings` leaves the copied table as it is.
    `start` says what of the teacher the student begins with; `auto` compares the ways before the training.
    `drop_layers` lets it begin among the teacher's other layers and give them up one after the other.
    `layer_decay` multiplies the learning rate once for each layer on the way down from the head; 1 leaves it the same.
    Sentence embeddings have no labels: `similarity_temperature` is that of their loss, in place of the first three.
    Source: Hinton et al. 2015, arXiv:1503.02531.
    """

    loss: SoftLoss = "kl"
    temperature: ChangingTemperature = 4.0
    alpha: ChangingAlpha = 0.9
    hidden: HiddenStates | None = None
    relations: Relations | None = None
    cache: TeacherCache = TeacherCache()
    epochs: Annotated[int, Field(ge=1, le=10000)] = 10
    learning_rate: Rate = 2.0e-4
    batch_size: Count = 32
    weight_decay: Annotated[Number, Field(ge=0, lt=1)] = 0.01
    warmup: Annotated[Share, Field(ge=0, lt=1)] = 0.05
    patience: Count = 3
    final_ce_epoch: bool = True
    top_k: Annotated[int, Field(ge=1, le=65536)] = 64
    freeze_embeddings: bool = False
    start: Literal["auto", "random", "uniform", "magnitude", "importance", "gates", "rotation"] = "auto"
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = 1.0
    precision: TrainingPrecision = "fp32"
    drop_layers: DropLayers | None = None
    seed: Annotated[int, Field(ge=0)] = 17
    similarity_temperature: Annotated[Number, Field(ge=0.001, le=10)] = 0.05

    @model_validator(mode="after")
    def _embeddings_from_somewhere(self) -> Distill:
        if self.start == "random" and self.freeze_embeddings:
            raise ValueError(
                "start: random with freeze_embeddings would leave the embeddings random; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _layers_from_somewhere(self) -> Distill:
        if self.drop_layers is None:
            return self
        if self.start == "random":
            raise ValueError(
                "drop_layers with start: random has no layers of the teacher to give up; remove one of them"
            )
        if self.hidden is not None or self.relations is not None:
            raise ValueError(
                "drop_layers with hidden or relations: until the last layer is given up, what a layer of the student "
                "computes rests on layers that it will not have; remove one of them"
            )
        return self
