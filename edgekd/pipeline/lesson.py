"""What students are taught with: the encoded data, the teacher's cached answers, and the teacher to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgekd.pipeline.context import CACHE, TEACHER, Context
from edgekd.pipeline.saved import read_preprocessing, read_trained

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing
    from edgekd.student import StudentSpec
    from edgekd.students.importance import Importance
    from edgekd.students.initialise import Initialisation
    from edgekd.trials.bake_off import Start

MOST_SAMPLES = 256  # training examples on which the teacher's parts are weighed, evenly spaced, our choice
SAMPLES_AT_ONCE = 32


@dataclass(frozen=True)
class Lesson:
    """Data sets as edgekd.distill takes them; `train` has the teacher's part of the loss (see edgekd.distill.tasks).

    `pad` fills up short texts.
    """

    teacher: Any
    tokenizer: Any
    preprocessing: Preprocessing
    train: Any
    validation: Any
    pad: int | None

    @cached_property
    def teacher_spec(self) -> StudentSpec:
        """The dimensions of the teacher."""
        from edgekd.students.weights import spec_of

        return spec_of(self.teacher)

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Batches of the model's inputs, of evenly spaced training examples."""
        from edgekd.distill.collate import Collator, model_inputs

        rows = len(self.train)
        picked = [index * rows // min(rows, MOST_SAMPLES) for index in range(min(rows, MOST_SAMPLES))]
        examples, collate = self.train.with_format("numpy"), Collator(self.pad)
        starts = range(0, len(picked), SAMPLES_AT_ONCE)
        return [model_inputs(collate(examples.__getitems__(picked[at : at + SAMPLES_AT_ONCE]))) for at in starts]

    @cached_property
    def importance(self) -> Importance:
        """What the parts of the teacher are worth on the samples."""
        from edgekd.students.importance import measure_importance

        return measure_importance(self.teacher, self.samples)

    def student(self, spec: StudentSpec, seed: int, start: Start) -> tuple[Any, Initialisation]:
        """An untrained student that begins with `start`, and what it has of the teacher. Errors: SpecError."""
        from edgekd.students.build import build
        from edgekd.students.initialise import ON_INPUTS, initialise

        student = build(spec, self.teacher.config, seed=seed)
        looks = start.method in ON_INPUTS
        return student, initialise(
            student, self.teacher, start.method, layers=start.layers or None,
            batches=self.samples if looks else (), importance=self.importance if looks else None,
        )  # fmt: skip


def lesson(context: Context, max_length: int | None) -> Lesson:
    """The lesson of this run, of texts cut at `max_length` tokens where one is given; the teacher answers once.

    Errors: InputError, RecordError, TrainingError.
    """
    from edgekd.data.encode import encode, encoding_key, load_tokenizer
    from edgekd.distill.tasks import task_of

    splits, place = context.splits, context.path(TEACHER)
    preprocessing = read_preprocessing(place)
    if max_length is not None:
        preprocessing = replace(preprocessing, max_length=max_length)
    tokenizer = load_tokenizer(place) if splits.kind == "text" else None
    pad = getattr(tokenizer, "pad_token_id", None)
    teacher = read_trained(place, splits.label_names, context.recipe.task)
    context.progress.update("encoding the data")
    train_set, validation = (encode(part, preprocessing, tokenizer) for part in (splits.train, splits.validation))
    train_set = task_of(context.recipe.task).cached(
        teacher, train_set, context.path(CACHE), key=encoding_key(splits.train, preprocessing), batch_size=64,
        pad_token_id=pad,
        on_rows=lambda done, rows: context.progress.update("asking the teacher, once", done / rows),
    )  # fmt: skip
    return Lesson(teacher, tokenizer, preprocessing, train_set, validation, pad)
