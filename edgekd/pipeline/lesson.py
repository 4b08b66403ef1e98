"""What students are taught with: the encoded data, the teacher's cached answers, and the teacher to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgekd.pipeline.context import CACHE, TEACHER, Context
from edgekd.pipeline.encoded import encoded, encoded_key
from edgekd.pipeline.saved import read_preprocessing, read_trained

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing
    from edgekd.data.examples import Examples
    from edgekd.distill.feature_cache import StoredFeatures
    from edgekd.student import StudentSpec
    from edgekd.students.importance import Importance
    from edgekd.students.initialise import Initialisation
    from edgekd.task import TaskName
    from edgekd.trials.bake_off import Start

MOST_SAMPLES = 256  # training examples on which the teacher's parts are weighed, evenly spaced, our choice
SAMPLES_AT_ONCE = 32
LEAST_PASSES = 2  # epochs that look at the teacher's features, our choice: one pass is what storing them takes


@dataclass(frozen=True)
class Lesson:
    """Data sets as edgekd.distill takes them; `train` has the teacher's part of the loss (see edgekd.distill.tasks).

    `validation` has it, too, where the teacher is what answers are judged by.
    `pad` fills up short texts.
    """

    teacher: Any
    tokenizer: Any
    preprocessing: Preprocessing
    train: Any
    validation: Any
    pad: int | None
    task: TaskName = "text-classification"

    @cached_property
    def teacher_spec(self) -> StudentSpec:
        """The dimensions of the teacher."""
        from edgekd.students.weights import spec_of

        return spec_of(self.teacher)

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Batches of the model's inputs, of evenly spaced training examples."""
        from edgekd.distill.collate import model_inputs

        return [model_inputs(batch) for batch in self._sampled]

    @cached_property
    def _sampled(self) -> list[dict[str, Any]]:
        from edgekd.distill.collate import Collator

        rows = len(self.train)
        picked = [index * rows // min(rows, MOST_SAMPLES) for index in range(min(rows, MOST_SAMPLES))]
        examples, collate = self.train.with_format("numpy"), Collator(self.pad)
        starts = range(0, len(picked), SAMPLES_AT_ONCE)
        return [collate(examples.__getitems__(picked[at : at + SAMPLES_AT_ONCE])) for at in starts]

    @cached_property
    def importance(self) -> Importance:
        """What the parts of the teacher are worth on the samples."""
        from edgekd.students.importance import measure_importance

        return measure_importance(self.teacher, self.samples)

    @cached_property
    def gates(self) -> Any:
        """What the teacher's heads are worth to the task, on the samples: see edgekd.students.gates."""
        from edgekd.distill.collate import LABELS
        from edgekd.distill.tasks import task_of
        from edgekd.students.gates import gate_importance

        def loss(outputs: Any, labels: Any) -> Any:
            return task_of(self.task).hard_loss(outputs, {LABELS: labels}, 1.0)

        return gate_importance(self.teacher, self.samples, [batch[LABELS] for batch in self._sampled], loss)

    def student(self, spec: StudentSpec, seed: int, start: Start) -> tuple[Any, Initialisation]:
        """An untrained student that begins with `start`, and what it has of the teacher. Errors: SpecError."""
        from edgekd.students.build import build
        from edgekd.students.initialise import ON_INPUTS, initialise

        student = build(spec, self.teacher.config, seed=seed)
        looks = start.method in ON_INPUTS
        return student, initialise(
            student, self.teacher, start.method, layers=start.layers or None,
            batches=self.samples if looks else (), importance=self.importance if looks else None,
            gates=self.gates if start.method == "gates" else None,
        )  # fmt: skip

    def scaffolded(self, spec: StudentSpec, seed: int, start: Start) -> tuple[Any, Initialisation]:
        """The same with a scaffold of the teacher's other layers, cut in the same way. Errors: SpecError."""
        from edgekd.distill.scaffold import put_up
        from edgekd.students.build import build
        from edgekd.students.deeper import deeper, of_layers, taken_apart

        every = tuple(range(self.teacher_spec.layers))
        deep, begun = self.student(deeper(spec, self.teacher_spec), seed, replace(start, layers=every))
        student = build(spec, self.teacher.config, seed=seed)
        copied = sum(weight.numel() for weight in student.parameters())
        put_up(student, taken_apart(student, deep, start.layers))
        return student, of_layers(begun, start.layers, copied)


def stored_for(context: Context, taught: Lesson, layers: int) -> StoredFeatures | None:
    """What the teacher computes inside, for a student of so many layers; None where it is to run beside the student.

    Stored once in cache/, for all students that look at the same layers. Errors: RecordError, TrainingError.
    """
    from edgekd.distill.capture import layers_of
    from edgekd.distill.feature_cache import feature_bytes, stored_features
    from edgekd.distill.features import feature_pairs, passes_of, wanted_of
    from edgekd.distill.settings import student_settings

    recipe, wish = context.recipe, context.recipe.distill.cache
    settings = student_settings(recipe.distill, recipe.budget, recipe.task)
    if not settings.features or wish.features is False:
        return None
    pairs = feature_pairs(settings.hidden, settings.relations, layers, len(layers_of(taught.teacher)))
    wanted = wanted_of(*pairs)
    if wish.features == "auto":
        seldom = passes_of(settings) < LEAST_PASSES
        if seldom or feature_bytes(taught.teacher, taught.train, wanted, taught.pad) > wish.limit:
            return None
    key = encoded_key(taught.task, context.splits.train, taught.preprocessing)
    return stored_features(
        taught.teacher, taught.train, context.path(CACHE), wanted, key=key, batch_size=64, pad_token_id=taught.pad,
        on_rows=lambda done, rows: context.progress.update("storing what the teacher computes inside", done / rows),
    )  # fmt: skip


def lesson(context: Context, max_length: int | None) -> Lesson:
    """The lesson of this run, of texts cut at `max_length` tokens where one is given; the teacher answers once.

    Errors: InputError, RecordError, TrainingError.
    """
    from edgekd.data.encode import load_tokenizer
    from edgekd.distill.tasks import task_of
    from edgekd.students.padding import padding_token

    splits, place = context.splits, context.path(TEACHER)
    preprocessing = read_preprocessing(place)
    if max_length is not None:
        preprocessing = replace(preprocessing, max_length=max_length)
    tokenizer = load_tokenizer(place) if splits.kind == "text" else None
    teacher = read_trained(place, splits.label_names, context.recipe.task)
    pad = padding_token(teacher.config, tokenizer)
    context.progress.update("encoding the data")
    name = context.recipe.task
    task = task_of(name)

    def answered(part: Examples) -> Any:
        return task.cached(
            teacher, encoded(name, part, preprocessing, tokenizer), context.path(CACHE),
            key=encoded_key(name, part, preprocessing), batch_size=64, pad_token_id=pad,
            top_k=context.recipe.distill.top_k,
            on_rows=lambda done, rows: context.progress.update("asking the teacher, once", done / rows),
        )  # fmt: skip

    train_set = answered(splits.train)
    held_out = splits.validation
    validation = answered(held_out) if task.truth_of_teacher else encoded(name, held_out, preprocessing, tokenizer)
    return Lesson(teacher, tokenizer, preprocessing, train_set, validation, pad, name)
