"""What students are taught with: the encoded data, the teacher's cached answers, and the teacher to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekd.pipeline.context import CACHE, TEACHER, Context
from edgekd.pipeline.saved import read_preprocessing, read_trained

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing
    from edgekd.student import StudentSpec
    from edgekd.students.initialise import Initialisation


@dataclass(frozen=True)
class Lesson:
    """Data sets as edgekd.distill takes them; `train` has the teacher's logits. `pad` fills up short texts."""

    teacher: Any
    tokenizer: Any
    preprocessing: Preprocessing
    train: Any
    validation: Any
    pad: int | None

    def student(self, spec: StudentSpec, seed: int) -> tuple[Any, Initialisation]:
        """An untrained student that starts from the teacher, and what of it. Errors: SpecError."""
        from edgekd.students.build import build
        from edgekd.students.initialise import initialise

        student = build(spec, self.teacher.config, seed=seed)
        return student, initialise(student, self.teacher)


def lesson(context: Context, max_length: int | None) -> Lesson:
    """The lesson of this run, of texts cut at `max_length` tokens where one is given; the teacher answers once.

    Errors: InputError, RecordError, TrainingError.
    """
    from edgekd.data.encode import encode, encoding_key, load_tokenizer
    from edgekd.distill.cache import cached_logits

    splits, place = context.splits, context.path(TEACHER)
    preprocessing = read_preprocessing(place)
    if max_length is not None:
        preprocessing = replace(preprocessing, max_length=max_length)
    tokenizer = load_tokenizer(place) if splits.kind == "text" else None
    pad = getattr(tokenizer, "pad_token_id", None)
    teacher = read_trained(place, splits.label_names)
    context.progress.update("encoding the data")
    train_set, validation = (encode(part, preprocessing, tokenizer) for part in (splits.train, splits.validation))
    train_set = cached_logits(
        teacher, train_set, context.path(CACHE), key=encoding_key(splits.train, preprocessing), batch_size=64,
        pad_token_id=pad,
        on_rows=lambda done, rows: context.progress.update("asking the teacher, once", done / rows),
    )  # fmt: skip
    return Lesson(teacher, tokenizer, preprocessing, train_set, validation, pad)
