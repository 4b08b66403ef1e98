"""The step teacher: found or built, taught its task when the recipe says so, and checked that it knows it."""

from __future__ import annotations

from collections.abc import Callable
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
from edgekd.pipeline.saved import publish, save_model, trained
from edgekd.student import StudentSpec
from edgekd.units import text_from_count, text_from_share

if TYPE_CHECKING:
    from edgekd.distill.settings import Progress


def inputs(context: Context) -> Any:
    """The teacher and the data, by content where they are local."""
    recipe = context.recipe
    model = recipe.teacher.model
    origin = None if model is None else model_facts(model, context.base)
    section = recipe.teacher.model_dump(mode="json")
    return [recipe.task, section, origin, data_facts(recipe.data, context.base)]


def work(context: Context, scratch: Path) -> Done:
    """Write teacher/, teacher.json and data.json."""
    table = trained(scratch, lambda folder, hand_over: _train(context, scratch, folder, hand_over))
    publish(scratch, context.path(TEACHER))
    write_json(context.path(DATA_JSON), table.pop("content"))
    write_json(context.path(TEACHER_JSON), table)
    shown = text_from_share(table["validation_accuracy"], 2)
    return Done(
        (context.path(TEACHER), context.path(TEACHER_JSON), context.path(DATA_JSON)),
        f"{table['origin']}, {text_from_count(table['parameters'])} parameters, {shown} right on the validation part"
        f"{out_of_time(table)}",
    )


def out_of_time(table: dict[str, Any]) -> str:
    """What to say of a training that its budget stopped; nothing of any other."""
    late = table["stopped"] == "budget"
    return "; out of time, the best so far was kept (raise budget.training and use --again)" if late else ""


def _train(context: Context, scratch: Path, folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
    from edgekd.data.encode import encode
    from edgekd.distill.settings import TrainingResult, teacher_settings
    from edgekd.distill.train import train

    recipe, splits = context.recipe, context.splits
    model, tokenizer, preprocessing, origin = _untrained(context)
    check_start(recipe, model.config.model_type)
    context.progress.update("encoding the data")
    parts = {name: encode(part, preprocessing, tokenizer) for name, part in splits.parts.items() if name != "test"}
    pad = getattr(tokenizer, "pad_token_id", None)

    def finish(result: TrainingResult | None) -> None:
        table = _checked(context, model, parts["validation"], pad, origin)
        table |= result.to_dict() if result else {"history": [], "best_epoch": None, "stopped": None}
        table.pop("fork", None)  # a teacher's training has no epoch without a teacher
        save_model(model, tokenizer, preprocessing, folder)
        hand_over(table)

    if recipe.teacher.fine_tune is None:
        finish(None)
        return
    settings = teacher_settings(recipe.teacher.fine_tune, recipe.budget)
    train(
        model, parts["train"], parts["validation"], settings, scratch, pad_token_id=pad,
        on_progress=training_progress(context, "teaching the teacher"), save=finish,
    )  # fmt: skip


def training_progress(context: Context, what: str) -> Callable[[Progress], None]:
    """A callback that shows the epoch, the loss and the last accuracy of a training."""

    def show(at: Progress) -> None:
        known = "" if at.accuracy is None else f", {text_from_share(at.accuracy)} right"
        text = f"{what}, epoch {at.epoch} of at most {at.epochs}, loss {at.loss:.3f}{known}"
        context.progress.update(text, at.step / at.steps)

    return show


def _untrained(context: Context) -> tuple[Any, Any, Any, str]:
    """The model before its training, its tokenizer, its preprocessing, and where it comes from."""
    from edgekd.data.encode import Preprocessing, load_tokenizer, preprocessing_for_images
    from edgekd.students.build import build
    from edgekd.students.locate import locate_model
    from edgekd.students.source import load_classifier

    recipe, splits = context.recipe, context.splits
    fine_tune = recipe.teacher.fine_tune
    images = preprocessing_for_images(splits.train) if splits.kind == "image" else None
    if recipe.teacher.model is None:
        if recipe.teacher.architecture is None or images is None or fine_tune is None:
            raise RecipeError("teacher: expected a model, or an architecture with fine_tune for images")
        sizes = recipe.teacher.architecture.model_dump(exclude={"type"})
        labels = splits.label_names
        spec = StudentSpec(
            architecture="vit", image_size=images.image_size, channels=len(images.mean), labels=len(labels), **sizes
        )
        model = build(spec, seed=fine_tune.seed)
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: index for index, label in enumerate(labels)}
        return model, None, images, f"ViT {spec.name} trained from nothing"
    name = locate_model(recipe.teacher.model, context.base)
    loaded = load_classifier(name, splits.label_names, seed=fine_tune.seed if fine_tune else 0)
    if loaded.fresh_head and fine_tune is None:
        raise RecipeError(f"teacher.model {recipe.teacher.model}: {loaded.note}. Add teacher.fine_tune to the recipe")
    origin = recipe.teacher.model + (" fine-tuned" if fine_tune else "")
    if images is not None:
        _check_images(context, loaded.model, images)
        return loaded.model, None, images, origin
    tokenizer = load_tokenizer(name)
    return (
        loaded.model,
        tokenizer,
        Preprocessing(kind="text", tokenizer=name, max_length=recipe.data.max_length),
        origin,
    )


def _check_images(context: Context, model: Any, images: Any) -> None:
    size, channels = model.config.image_size, model.config.num_channels
    if (size, channels) != (images.image_size, len(images.mean)):
        raise RecipeError(
            f"teacher.model {context.recipe.teacher.model}: takes images of {size} pixels with {channels} channels, "
            f"the data has {images.image_size} with {len(images.mean)}. Resize the data, or choose another teacher"
        )


def _checked(context: Context, model: Any, validation: Any, pad: int | None, origin: str) -> dict[str, Any]:
    """What is known of the trained teacher. Errors: TrainingError when it is no better than the majority class."""
    import numpy as np

    from edgekd.distill.evaluate import accuracy, check_teacher, predict_logits
    from edgekd.students.families import spec_from_config

    splits = context.splits
    logits = predict_logits(model, validation, 64, pad)
    labels = splits.validation.labels
    counts = np.bincount(splits.train.labels, minlength=len(splits.label_names))
    check_teacher(labels, logits.argmax(axis=-1), counts)
    parts = {name: len(part) for name, part in splits.parts.items()}
    return {
        "schema_version": "1.1",
        "spec": spec_from_config(model.config).to_dict(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "origin": origin,
        "trained": context.recipe.teacher.fine_tune is not None,
        "validation_accuracy": accuracy(logits, labels),
        "label_names": splits.label_names,
        "data": {"name": data_used(context.recipe.data, context.base).source, **parts, "notes": splits.notes},
        "content": {name: part.sha256 for name, part in splits.parts.items()},
    }
