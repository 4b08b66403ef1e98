"""The step teacher: found or built, taught its task when the recipe says so, and checked that it knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import RecipeError
from edgekd.files import write_json
from edgekd.pipeline.begin import check_start
from edgekd.pipeline.context import (
    DATA_JSON,
    TEACHER,
    TEACHER_JSON,
    Context,
    Done,
    data_facts,
    data_used,
    model_facts,
)
from edgekd.pipeline.encoded import encoded
from edgekd.pipeline.saved import publish, save_model, trained
from edgekd.pipeline.student_checks import check_dropping, check_losses, check_space
from edgekd.pipeline.teacher_checks import check_head, check_order, check_tokenizer, set_padding
from edgekd.pipeline.tracking import reporting_of
from edgekd.pooling import is_encoder, pooling_of
from edgekd.student import StudentSpec
from edgekd.units import text_from_count

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing
    from edgekd.data.examples import Splits
    from edgekd.distill.settings import Progress


def inputs(context: Context) -> Any:
    """The teacher and the data, by content where they are local."""
    recipe = context.recipe
    model = recipe.teacher.model
    origin = None if model is None else model_facts(model, context.base)
    section = recipe.teacher.model_dump(mode="json")
    return [recipe.task, section, origin, data_facts(recipe.data, context.base)]


def work(context: Context, scratch: Path) -> Done:
    """Write teacher/, teacher.json and data.json. Errors: DataError, RecipeError before any training; see train."""
    table = trained(scratch, lambda folder, hand_over: _train(context, scratch, folder, hand_over))
    publish(scratch, context.path(TEACHER))
    write_json(context.path(DATA_JSON), table.pop("content"))
    write_json(context.path(TEACHER_JSON), table)
    judged = context.words.head != "none"  # a sentence encoder is what its students are judged by
    shown = f", {context.words.text(table['validation_accuracy'], 2)} on the validation part" if judged else ""
    return Done(
        (context.path(TEACHER), context.path(TEACHER_JSON), context.path(DATA_JSON)),
        f"{table['origin']}, {text_from_count(table['parameters'])} parameters{shown}{out_of_time(table)}",
    )


def out_of_time(table: dict[str, Any]) -> str:
    """What to say of a training that its budget stopped; nothing of any other."""
    late = table["stopped"] == "budget"
    return "; out of time, the best so far was kept (raise budget.training and use --again)" if late else ""


def _train(context: Context, scratch: Path, folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
    from edgekd.data.extras import library

    for needed in ("numpy", "datasets", "torch", "transformers"):
        library(needed)
    from edgekd.data.truncation import cut_words
    from edgekd.distill.settings import TrainingResult, teacher_settings
    from edgekd.distill.train import train
    from edgekd.students.padding import padding_token
    from edgekd.students.weights import spec_of

    recipe, splits, checks = context.recipe, context.splits, context.checks
    teacher = _untrained(context)
    check_start(recipe, teacher.model.config.model_type)
    check_space(recipe.space, spec_of(teacher.model))
    check_losses(recipe, spec_of(teacher.model), len(splits.label_names))
    check_dropping(recipe, spec_of(teacher.model))
    context.progress.update("encoding the data")
    wanted = [name for name in splits.parts if name != "test" or splits.kind == "text"]
    parts = {
        name: encoded(recipe.task, splits.parts[name], teacher.preprocessing, teacher.tokenizer) for name in wanted
    }
    if splits.kind == "text" and context.words.head != "language":
        truncated = _truncated(splits, parts, teacher)
        lost = {name: cut_words(parts[name], part) for name, part in splits.parts.items()}
        longest = teacher.preprocessing.max_length
        checks = replace(checks, truncated=truncated, cut_words=lost, max_length=longest)
    for warning in checks.warnings:
        context.progress.warn(warning)
    model, tokenizer = teacher.model, teacher.tokenizer
    pad = padding_token(model.config, tokenizer)

    def finish(result: TrainingResult | None) -> None:
        table = _checked(context, teacher, parts["train"], parts["validation"], pad)
        table |= result.to_dict() if result else {"history": [], "best_epoch": None, "stopped": None}
        table.pop("fork", None)  # a teacher's training has no epoch without a teacher
        save_model(model, tokenizer, teacher.preprocessing, folder)
        hand_over(table | {"content": checks.to_dict() | {name: part.sha256 for name, part in splits.parts.items()}})

    if recipe.teacher.fine_tune is None:
        finish(None)
        return
    settings = teacher_settings(recipe.teacher.fine_tune, recipe.budget, recipe.task)
    train(
        model, parts["train"], parts["validation"], settings, scratch, pad_token_id=pad,
        on_progress=training_progress(context, "teaching the teacher"), save=finish,
        reporting=reporting_of(context, "teacher"),
    )  # fmt: skip


def _truncated(splits: Splits, encoded: dict[str, Any], teacher: _Untrained) -> dict[str, int]:
    from edgekd.data.truncation import truncated_rows

    return {
        name: truncated_rows(encoded[name], part, teacher.preprocessing, teacher.tokenizer)
        for name, part in splits.parts.items()
    }


def training_progress(context: Context, what: str) -> Callable[[Progress], None]:
    """A callback that shows the epoch, the loss and the last accuracy of a training."""

    def show(at: Progress) -> None:
        known = "" if at.accuracy is None else f", {context.words.text(at.accuracy)}"
        text = f"{what}, epoch {at.epoch} of at most {at.epochs}, loss {at.loss:.3f}{known}"
        context.progress.update(text, at.step / at.steps)

    return show


@dataclass(frozen=True)
class _Untrained:
    """The model before its training, its tokenizer, its preprocessing, and where it comes from.

    `by_position`: which of its outputs is which class is taken by position, for its labels have no names.
    """

    model: Any
    tokenizer: Any
    preprocessing: Preprocessing
    origin: str
    by_position: bool = False


def _untrained(context: Context) -> _Untrained:
    from edgekd.data.encode import Preprocessing, load_tokenizer, preprocessing_for_images
    from edgekd.students.locate import locate_model
    from edgekd.students.source import load_encoder, load_model

    recipe, splits = context.recipe, context.splits
    fine_tune, called = recipe.teacher.fine_tune, recipe.teacher.model
    images = preprocessing_for_images(splits.train) if splits.kind == "image" else None
    if called is None:
        return _from_nothing(context, images)
    name = locate_model(called, context.base)
    if context.words.head == "none":
        loaded = load_encoder(name, mode=recipe.teacher.pooling, normalised=recipe.teacher.normalised)
    else:
        loaded = load_model(name, context.words.head, splits.label_names, seed=fine_tune.seed if fine_tune else 0)
    check_head(called, loaded, taught=fine_tune is not None)
    if loaded.lost_head:
        context.progress.warn(f"teacher.model {called}: {loaded.note}")
    pooling = pooling_of(loaded.model.config) if is_encoder(loaded.model) else None
    if context.words.labelling == "many":
        loaded.model.config.problem_type = "multi_label_classification"
    origin = called + (" fine-tuned" if fine_tune else "") + (f" (pooling {pooling.text})" if pooling else "")
    if images is not None:
        _check_images(context, loaded.model, images)
        return _Untrained(loaded.model, None, images, origin, loaded.by_position)
    tokenizer = load_tokenizer(name, words=context.words.labelling == "tokens")
    preprocessing = Preprocessing(kind="text", tokenizer=name, max_length=recipe.data.max_length)
    check_tokenizer(called, loaded.model, tokenizer, preprocessing.max_length)
    if context.words.head != "language":
        set_padding(called, loaded.model, tokenizer)
    return _Untrained(loaded.model, tokenizer, preprocessing, origin, loaded.by_position)


def _from_nothing(context: Context, images: Preprocessing | None) -> _Untrained:
    from edgekd.students.build import build

    labels, teacher = context.splits.label_names, context.recipe.teacher
    if teacher.architecture is None or images is None or teacher.fine_tune is None:
        raise RecipeError("teacher: expected a model, or an architecture with fine_tune for images")
    spec = StudentSpec(
        architecture="vit", image_size=images.image_size, channels=len(images.mean), labels=len(labels),
        **teacher.architecture.model_dump(exclude={"type"}),
    )  # fmt: skip
    model = build(spec, seed=teacher.fine_tune.seed)
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    return _Untrained(model, None, images, f"ViT {spec.name} trained from nothing")


def _check_images(context: Context, model: Any, images: Any) -> None:
    size, channels = model.config.image_size, model.config.num_channels
    if (size, channels) != (images.image_size, len(images.mean)):
        raise RecipeError(
            f"teacher.model {context.recipe.teacher.model}: takes images of {size} pixels with {channels} channels, "
            f"the data has {images.image_size} with {len(images.mean)}. Resize the data, or choose another teacher"
        )


def _checked(context: Context, teacher: _Untrained, train_set: Any, validation: Any, pad: int | None) -> dict[str, Any]:
    """What is known of the trained teacher. Errors: TeacherError when it is no better than the majority class."""
    from edgekd.distill.tasks import task_of
    from edgekd.students.weights import spec_of

    splits, recipe, model = context.splits, context.recipe, teacher.model
    taught = recipe.teacher.fine_tune is not None
    task = task_of(recipe.task)
    found = task.answers(model, validation, 64, pad)
    if teacher.by_position and not taught and context.words.labelling != "many":
        check_order(str(recipe.teacher.model), found.truth.tolist(), found.answers.tolist(), splits.label_names)
    task.check_teacher(found, task.class_counts(train_set, len(splits.label_names)))
    parts = {name: len(part) for name, part in splits.parts.items()}
    return {
        "schema_version": "1.1",
        "spec": spec_of(model).to_dict(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "origin": teacher.origin,
        "trained": taught,
        "validation_accuracy": task.score(found),
        "label_names": splits.label_names,
        "data": {"name": data_used(recipe.data, context.base).source, **parts, "notes": splits.notes},
    }
