"""The dimensions of a teacher before the step teacher has run, where the recipe and local files tell them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekd.errors import InputError
from edgekd.pipeline.context import TEACHER_JSON, Context, data_used
from edgekd.recipe import Architecture, Recipe
from edgekd.student import StudentSpec
from edgekd.task import TASKS


def recipe_teacher(context: Context, called: str) -> StudentSpec:
    """The teacher as the recipe describes it; nothing is fetched, built or trained.

    `called` is how the user names the recipe. Errors: InputError when only the network or a training could tell;
    SecurityError, SpecError for a local model that is refused; DataError.
    """
    from edgekd.students.locate import PACKAGE_PREFIX, locate_model

    recipe = context.recipe
    model, architecture = recipe.teacher.model, recipe.teacher.architecture
    if model is not None and (model.startswith(PACKAGE_PREFIX) or (context.base / Path(model).expanduser()).is_dir()):
        return _configured(locate_model(model, context.base), recipe)
    if architecture is not None and not data_used(recipe.data, context.base).source.startswith("hub:"):
        return _described(context, architecture)
    raise InputError(
        f"{context.root}: there is no {TEACHER_JSON}, and the recipe alone does not tell the teacher's dimensions. "
        f"Run first: edgekd teacher {called}"
    )


def _configured(folder: str, recipe: Recipe) -> StudentSpec:
    from edgekd.students.families import spec_from_config
    from edgekd.students.source import load_config

    spec, labels = spec_from_config(load_config(folder), head=TASKS[recipe.task].head), recipe.data.labels
    return replace(spec, labels=len(labels)) if labels and spec.labels else spec


def _described(context: Context, architecture: Architecture) -> StudentSpec:
    """A teacher that is trained from nothing; the data tell the size of its images and its labels."""
    from edgekd.data.encode import preprocessing_for_images

    splits = context.splits
    images = preprocessing_for_images(splits.train)
    sizes = architecture.model_dump(exclude={"type"})
    return StudentSpec(
        architecture="vit", image_size=images.image_size, channels=len(images.mean), labels=len(splits.label_names),
        **sizes,
    )  # fmt: skip
