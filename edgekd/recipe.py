"""The recipe: what the user wants, in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from edgekd.choices import Count
from edgekd.config import Model, Number, Seconds, Share, read_source, validated, with_overrides
from edgekd.database import checked_storage
from edgekd.errors import RecipeError
from edgekd.host_choice import HostChoice
from edgekd.pooling import PoolingMode
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import PRECISIONS, Precision
from edgekd.task import TASKS, TaskName
from edgekd.teaching import Distill, FineTune
from edgekd.text import did_you_mean, listing
from edgekd.units import text_from_s

BUILTIN = Path(__file__).parent / "recipes"

Positive = Annotated[Seconds, Field(gt=0)]


class Architecture(Model):
    """A teacher that is trained from nothing: its dimensions (see StudentSpec)."""

    type: Literal["vit"]
    layers: Count
    hidden: Count
    heads: Count
    ffn: Count
    patch_size: Count


class Teacher(Model):
    """The teacher: `model` is a local folder, a hub id or package:NAME (an installed Python package that carries one).

    `architecture` instead of `model` trains one from nothing; `fine_tune` teaches it the task first. `pooling` and
    `normalised` say how a sentence encoder makes one vector of a text, where no file beside its weights does.
    """

    model: str | None = None
    architecture: Architecture | None = None
    fine_tune: FineTune | None = None
    pooling: PoolingMode | None = None
    normalised: bool | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Teacher:
        if (self.model is None) == (self.architecture is None):
            raise ValueError("give either model or architecture, and not both")
        if self.architecture is not None and self.fine_tune is None:
            raise ValueError("an architecture without fine_tune would stay untrained; add fine_tune")
        return self


class Data(Model):
    """The data set. `source` is a folder or file, hub:ID, or sklearn:digits; train, validation and test name its parts.

    In a folder the parts are files (CSV, TSV, JSONL, Parquet, Arrow, idx, text), folders of images by class, or what
    save_to_disk wrote; on the hub they are splits. A missing validation or test part is cut from the training part
    (`validation_share`, `test_share`, drawn with `seed`).
    `label` may name several columns of 0 and 1 for multi-label-classification, or a cell holds labels between
    `label_separator`; for token-classification `text` and `label` hold lists. `otherwise` is used when `source` is a
    local path that does not exist. At most `max_leakage` of the test part may
    stand in the training part, too; `drop_leaked` leaves out of the training part what also stands in another one.
    """

    source: str
    config: str | None = None
    format: Literal["csv", "tsv", "jsonl", "parquet", "arrow", "idx", "text", "conll"] | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    text: str = "text"
    text_pair: str | None = None
    image: str = "image"
    label: str | list[str] = "label"
    label_separator: Annotated[str, Field(min_length=1)] = ";"
    labels: list[str] | None = None
    max_length: Annotated[int, Field(ge=4, le=8192)] = 128
    validation_share: Annotated[Share, Field(gt=0, lt=1)] = 0.1
    test_share: Annotated[Share, Field(gt=0, lt=1)] = 0.2
    max_train_examples: Count | None = None
    max_leakage: Annotated[Share, Field(ge=0)] = 0.1
    drop_leaked: bool = False
    seed: Annotated[int, Field(ge=0)] = 17
    otherwise: Data | None = None


class Search(Model):
    """How many untrained students are measured: `calibrate` to correct the prediction, `finalists` to choose among.

    `compare` is what must keep a limit: the `upper` end of what a student should take, or the `middle` of it. `trials`
    leading students are distilled for a short time, within `trial_budget` on this machine, to choose among them;
    `storage` keeps these: a journal file, or postgresql://USER@HOST/DATABASE that several machines share, also from
    env:NAME or file:PATH, where a password belongs.
    """

    calibrate: Annotated[int, Field(ge=3, le=50)] = 10
    finalists: Annotated[int, Field(ge=1, le=50)] = 5
    pairs: Annotated[int, Field(ge=5, le=1000)] = 15
    compare: Literal["upper", "middle"] = "upper"
    trials: Annotated[int, Field(ge=0, le=100)] = 0
    trial_budget: Positive = 1200.0
    storage: Annotated[str, AfterValidator(checked_storage)] | None = None

    @field_validator("trials")
    @classmethod
    def _at_least_two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one student alone is compared with nobody; expected 0 (no trials), or 2 and more")
        return value


class Parity(Model):
    """How far an exported model may be from the trained one on real inputs before the export step fails.

    `absolute` bounds the largest difference of a logit, `agreement` is the least share of equal answers.
    """

    fp32_absolute: Annotated[Number, Field(gt=0)] = 1.0e-3
    fp32_agreement: Annotated[Share, Field(gt=0)] = 1.0
    fp16_agreement: Annotated[Share, Field(gt=0)] = 0.98
    int8_agreement: Annotated[Share, Field(gt=0)] = 0.9
    int4_agreement: Annotated[Share, Field(gt=0)] = 0.9
    examples: Count = 128


class Bench(Model):
    """How artifacts are measured for the verdict. Durations and sample counts are per process.

    `tune` sets governor and clocks of the board while anything is measured there, untrained students included.
    """

    batch: Count = 1
    sequence: Count | None = None
    threads: Count = 1
    processes: Annotated[int, Field(ge=3, le=1000)] = 10
    warmup: Seconds = 0.5
    duration: Positive = 2.0
    samples: Count = 100
    tune: bool = False


class Budget(Model):
    """Most time a step may take: `training` for teacher and students each, `measuring` for the artifacts on the host.

    A training that runs out of time keeps the best so far; a protocol that must take longer is refused. `attempts` is
    how many students may be trained one after another, each in the light of the one before; they share `training`.
    """

    training: Positive = 4 * 3600.0
    measuring: Positive = 1800.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 3


# Which of them transformers knows and this machine has is asked before the first training, not of every reader.
Tracker = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError(f"found {names}, expected each once")
    return names


_SIMILARITY = "similarity_temperature"
_NO_LABELS = "there are no labels"
LEAST_TEXTS = 3  # of a batch that says which text is nearest to another
_WITHOUT_LABELS = {
    "data": {"label": _NO_LABELS, "labels": _NO_LABELS, "text_pair": "a vector is that of one text"},
    "distill": {
        "loss": "vectors are compared, and no answers",
        "temperature": f"its vectors have a temperature of their own, {_SIMILARITY}",
        "alpha": _NO_LABELS,
        "final_ce_epoch": _NO_LABELS,
    },
}  # fmt: skip


class Recipe(Model):
    """Everything a run needs. See docs/recipe.md; `edgekd schema recipe` prints the JSON Schema.

    `report_to` names the programs that are told how trainings go, such as tensorboard.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    task: TaskName
    teacher: Teacher
    data: Data
    space: Space = Space()
    device: str
    host: HostChoice = HostChoice()
    sla: Sla
    search: Search = Search()
    distill: Distill = Distill()
    precisions: list[Precision] = ["fp32", "int8"]  # noqa: RUF012  pydantic copies defaults
    parity: Parity = Parity()
    bench: Bench = Bench()
    budget: Budget = Budget()
    report_to: Annotated[list[Tracker], AfterValidator(_each_once)] = []  # noqa: RUF012  see precisions

    @field_validator("precisions")
    @classmethod
    def _some_precision(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"found {value}, expected some of {listing(PRECISIONS)}, each once")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.teacher.architecture is not None and self.task != "image-classification":
            raise ValueError("a teacher of type vit needs the task image-classification")
        self._check_task()
        self._check_embedding()
        self._check_sequences()
        self._settle_language()
        artifacts = 1 + len(self.precisions)
        least_s = artifacts * self.bench.processes * (self.bench.warmup + self.bench.duration)
        if least_s > self.budget.measuring:
            raise ValueError(
                f"bench takes at least {text_from_s(least_s)} ({artifacts} artifacts, {self.bench.processes} processes "
                f"each), budget.measuring allows {text_from_s(self.budget.measuring)}; raise it, or shorten bench"
            )
        return self

    def _check_task(self) -> None:
        labelling = TASKS[self.task].labelling
        if labelling == "many" and self.distill.loss != "kl":
            raise ValueError(
                f"distill.loss is {self.distill.loss}, which compares the classes of one answer; with the labels of "
                f"{self.task}, each of which applies or not, only kl has a meaning. Set distill.loss: kl"
            )
        if labelling != "many" and isinstance(self.data.label, list):
            raise ValueError("data.label names several columns, which only multi-label-classification has; name one")
        if labelling != "tokens" and self.data.format == "conll":
            raise ValueError("data.format conll holds a tag for each word; set task: token-classification")
        if labelling == "tokens" and self.data.text_pair is not None:
            raise ValueError("data.text_pair has no meaning for token-classification; remove it")

    def _check_embedding(self) -> None:
        """Refuse what has no meaning with, or without, a sentence encoder."""
        given = {name: _changed(getattr(self, name)) for name in ("teacher", "data", "distill")}
        if self.task != "sentence-embedding":
            for section, key in (("teacher", "pooling"), ("teacher", "normalised"), ("distill", _SIMILARITY)):
                if key in given[section]:
                    raise ValueError(f"{section}.{key} has a meaning for the task sentence-embedding alone; remove it")
            return
        if self.teacher.fine_tune is not None:
            raise ValueError(
                "teacher.fine_tune: a sentence encoder is taken as it is, its vectors are what is learned; remove it"
            )
        if self.distill.batch_size < LEAST_TEXTS:
            raise ValueError(
                f"distill.batch_size is {self.distill.batch_size}, expected at least {LEAST_TEXTS} for "
                "sentence-embedding: of two texts each has but one other, and nothing says which is nearer"
            )
        for section, keys in _WITHOUT_LABELS.items():
            found = next((key for key in keys if key in given[section]), None)
            if found is not None:
                raise ValueError(f"{section}.{found} has no meaning for sentence-embedding: {keys[found]}; remove it")

    def _settle_language(self) -> None:
        """Check what only language models have, and set for them what they are taught with unless told otherwise."""
        limits = [name for name in ("perplexity", "perplexity_rise") if getattr(self.sla, name) is not None]
        if self.task != "causal-lm":
            if limits:
                raise ValueError(f"sla.{limits[0]} is a limit of language models; remove it, or set task: causal-lm")
            return
        given, told = self.distill, self.distill.model_fields_set
        if "temperature" in told and given.temperature != 1:
            raise ValueError(
                f"distill.temperature is {given.temperature}, expected 1: of a language model as a teacher only the "
                f"{given.top_k} most probable tokens are kept (distill.top_k), which tell nothing at another one"
            )
        if given.loss != "kl":
            raise ValueError(f"distill.loss is {given.loss}, expected kl, the one loss for a language model")
        if given.hidden is not None or given.relations is not None:
            raise ValueError("distill.hidden and distill.relations are for classifiers; remove them for causal-lm")
        usual = {"temperature": 1.0, "final_ce_epoch": given.final_ce_epoch if "final_ce_epoch" in told else False}
        object.__setattr__(self, "distill", given.model_copy(update=usual))

    def _check_sequences(self) -> None:
        for name, sequences in (("bench.sequence", self.bench.sequence), ("space.sequence", self.space.sequence)):
            if sequences is None:
                continue
            longest = max(sequences) if isinstance(sequences, list) else sequences
            if TASKS[self.task].kind == "image":
                raise ValueError(f"{name} has no meaning for images; remove it")
            if longest > self.data.max_length:
                raise ValueError(f"{name} {longest} is longer than data.max_length {self.data.max_length}")
        if self.bench.sequence is not None and self.space.sequence is not None:
            raise ValueError("give either bench.sequence or space.sequence, and not both: the search chooses one")

    @property
    def sequence(self) -> int:
        """Tokens per input of text models, the most where space.sequence leaves a choice of them."""
        if self.space.sequence is not None:
            return max(self.space.sequence)
        return self.bench.sequence or self.data.max_length


def _changed(section: Model) -> set[str]:
    """The keys of `section` that say something else than the default; one that was written out says all of them."""
    fields = type(section).model_fields
    return {
        name
        for name in section.model_fields_set
        if getattr(section, name) != fields[name].get_default(call_default_factory=True)
    }


def builtin_recipes() -> list[str]:
    """The names of the recipes that ship with edgekd."""
    return sorted(path.stem for path in BUILTIN.glob("*.yaml"))


def locate_recipe(name: str) -> Path:
    """The file of the recipe `name`: a path, or the name of one that ships with edgekd. Errors: RecipeError."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists() or "/" in name:
        return path
    if re.fullmatch(r"[a-z0-9_-]+", name) and (BUILTIN / f"{name}.yaml").is_file():
        return BUILTIN / f"{name}.yaml"
    known = builtin_recipes()
    raise RecipeError(
        f"{name}: no such recipe, expected a YAML file or one of {listing(known)}.{did_you_mean(name, known)}"
    )


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file or of the name `name`, after `--set` overrides. Errors: InputError, RecipeError."""
    source = read_source(locate_recipe(name), RecipeError)
    return validated(with_overrides(source, overrides, RecipeError), Recipe, RecipeError)
