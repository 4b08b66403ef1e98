"""Training from the first step to the best weights, for teacher and student alike."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn

from edgekd.distill import processes, sharding
from edgekd.distill.capture import layers_of
from edgekd.distill.checkpoints import WEIGHTS, load_weights
from edgekd.distill.columns import check_columns, check_labels_column
from edgekd.distill.feature_cache import StoredFeatures
from edgekd.distill.features import feature_pairs, feature_teacher, wanted_of
from edgekd.distill.fingerprint import dataset_hash, options_hash, weights_hash
from edgekd.distill.fork import judged
from edgekd.distill.phase import Clock, Course, Phase, run_phase
from edgekd.distill.quiet import silent_libraries
from edgekd.distill.rates import distances
from edgekd.distill.reporting import Reporting, check_reporting
from edgekd.distill.scaffold import scaffolding
from edgekd.distill.schedule import highest
from edgekd.distill.settings import OnProgress, TrainingResult, TrainingSettings, best_of, check_numbers
from edgekd.distill.tasks import task_of
from edgekd.errors import DataError, InputError, TrainingError
from edgekd.files import content_hash, make_folder

FORMAT = 3
# The last epoch polishes what is learned: at the full rate it would undo part of it.
FINAL_LEARNING_RATE_SHARE = 0.1


def train(
    model: Any,
    train_set: datasets.Dataset,
    validation_set: datasets.Dataset,
    settings: TrainingSettings,
    folder: Path,
    *,
    teacher: Any = None,
    features: StoredFeatures | None = None,
    pad_token_id: int | None = None,
    on_progress: OnProgress | None = None,
    save: Callable[[TrainingResult], None] | None = None,
    reporting: Reporting | None = None,
) -> TrainingResult:
    """What the training did; `model` then holds the weights of the best epoch and is in evaluation mode.

    With `settings.drop_until` the model has a scaffold (edgekd.distill.scaffold), which is taken off at the end.
    `teacher` is needed where `settings` ask for its features; it is only asked, and never changed. With `features` of
    its that were stored (edgekd.distill.feature_cache) it is not asked either.
    Killed at any moment, the same call goes on from the last whole checkpoint under `folder`/checkpoints and ends with
    the same weights and numbers. A call with other settings, data, first weights or options of the model (heads, say)
    never meets those. At the end they are removed; `save` is called just before, so a kill in between loses nothing.
    `reporting` says which other programs are told on the way (edgekd.distill.reporting).

    Under torchrun or accelerate launch every process calls this with the same arguments, and `folder` is one that all
    of them see. They take the steps that one process would take, each with its share of the rows; the first one
    evaluates, writes, watches the time, and calls `on_progress` and `save`.

    Errors: InputError for data that does not fit the settings; DataError for empty parts or labels outside the model's;
    TrainingError when the loss is no number or memory runs out; StorageError when a checkpoint cannot be written.
    """
    sharded = sharding.asked() is not None
    processes.join()
    _check_pieces(settings, sharded)
    check_training(model, train_set, validation_set, settings)
    check_stored(features, teacher, model, train_set, settings)
    check_reporting(() if reporting is None else reporting.to)
    examples = _drawn(train_set, settings)
    key = _training_key(model, examples, validation_set, settings, teacher, sharded, features)
    if not processes.all_say_the_same(key):
        raise InputError(
            "training: the processes were given different data, settings or first weights, expected the same in all. "
            "Read the same files in each, and draw the first weights from one seed"
        )
    checkpoints = processes.done_by_first(lambda: make_folder(folder / "checkpoints"))
    home = checkpoints / key[:32]
    taught = task_of(settings.task).taught(model, examples)
    with (
        prepared(model, settings),
        scaffolding(model, settings) as scaffold,
        taught,
        feature_teacher(teacher, model, settings, features) as taught_by,
    ):
        course = Course(
            model, examples, validation_set, settings, pad_token_id, on_progress, taught_by, scaffold, reporting
        )
        result = _taken(course, home)
    processes.wait_for_all()  # each has read the best weights
    processes.done_by_first(lambda: _ended(result, checkpoints, save))
    return result


def _check_pieces(settings: TrainingSettings, sharded: bool) -> None:
    if sharded and processes.count() > 1 and settings.drop_until is not None:
        raise InputError(
            "training: found FSDP and layers that are given up on the way (distill.drop_layers), expected one of them: "
            "what is cut into pieces at the beginning cannot lose a layer. Use DDP"
        )


def _ended(result: TrainingResult, checkpoints: Path, save: Callable[[TrainingResult], None] | None) -> None:
    if save is not None:
        save(result)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _taken(course: Course, home: Path) -> TrainingResult:
    settings, clock = course.settings, Clock(course.settings.max_seconds)
    per_epoch = steps_per_epoch(len(course.train_set), settings)
    with_final = settings.final_ce_epoch and settings.guided
    all_epochs = settings.epochs + int(with_final)
    main = Phase(
        folder=home / "main",
        epochs=settings.epochs,
        alpha=settings.alpha,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        first_epoch=0,
        first_step=0,
        all_epochs=all_epochs,
        all_steps=all_epochs * per_epoch,
    )

    history, stopped = run_phase(course, main, clock)
    best, fork = best_of(history), None
    load_weights(course.model, main.checkpoint(best) / WEIGHTS)
    if with_final and stopped != "budget":
        last = replace(
            main,
            folder=home / "final",
            epochs=1,
            alpha=0.0,
            labels_alone=True,
            learning_rate=settings.learning_rate * FINAL_LEARNING_RATE_SHARE,
            seed=settings.seed + 1,
            first_epoch=len(history),
            first_step=history[-1].step,
            all_epochs=len(history) + 1,
            all_steps=history[-1].step + per_epoch,
        )
        (final,), final_stopped = run_phase(course, last, clock)
        fork = judged(best, final)
        history = (*history, final)
        kept, best = (last, final) if fork.kept else (main, best)
        load_weights(course.model, kept.checkpoint(best) / WEIGHTS)
        stopped = "budget" if final_stopped == "budget" else stopped
    return TrainingResult(history, best.epoch, stopped, clock.used_s, fork)


@contextmanager
def prepared(model: Any, settings: TrainingSettings) -> Iterator[None]:
    """Inside: quiet libraries, deterministic kernels, and the embeddings frozen where `settings` say so.

    After: all that as it was, and `model` where it was, in evaluation mode. Errors: TrainingError when memory runs out.
    """
    device = next(model.parameters()).device
    with ExitStack() as around:
        around.enter_context(silent_libraries())
        around.enter_context(_deterministic())
        around.enter_context(_frozen_embeddings(model, settings.freeze_embeddings))
        around.enter_context(_kept_config(model))
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"training: out of memory ({error}); lower batch_size") from None
    model.to(device).eval()


def check_training(
    model: Any, train_set: datasets.Dataset, validation_set: datasets.Dataset, settings: TrainingSettings
) -> None:
    """Refuse what cannot be trained. Errors: DataError, InputError."""
    check_numbers(settings)
    task = task_of(settings.task)
    for name, part in (("training", train_set), ("validation", validation_set)):
        if len(part) == 0:
            raise DataError(f"training: the {name} part has no rows, expected at least one")
        check_columns(model, part, f"training: the {name} part")
        if settings.task != "sentence-embedding":
            whole = settings.task != "multi-label-classification"
            check_labels_column(part, f"training: the {name} part", whole=whole)
        task.check_labels(model, part, name)
    alpha = highest(settings.alpha)
    missing = [column for column in task.teacher_columns if column not in train_set.column_names]
    if alpha > 0 and missing:
        raise InputError(
            f"training: alpha is {alpha} and the training part has no column {missing[0]!r}; "
            "let the task add it (Task.cached), or set alpha to 0"
        )
    if settings.layer_decay != 1:
        distances(model)
    if settings.precision == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("training: precision is bf16, which this GPU does not compute; set it to fp32")
    if settings.batch_size % (settings.accumulation * processes.count()):
        raise InputError(
            f"training: found batch_size {settings.batch_size}, accumulation {settings.accumulation} and "
            f"{processes.count()} processes, expected a batch size that the product of the two divides"
        )


def check_stored(
    features: StoredFeatures | None, teacher: Any, model: Any, train_set: datasets.Dataset, settings: TrainingSettings
) -> None:
    """Refuse stored features that are not those that `settings` ask for. Errors: InputError."""
    if features is None or teacher is None or not settings.features:
        return
    pairs = feature_pairs(settings.hidden, settings.relations, len(layers_of(model)), len(layers_of(teacher)))
    features.check(weights_hash(teacher), wanted_of(*pairs), train_set)


def _drawn(train_set: datasets.Dataset, settings: TrainingSettings) -> datasets.Dataset:
    most = settings.max_examples
    if most is None or len(train_set) <= most:
        return train_set
    return train_set.select(np.sort(np.random.default_rng(settings.seed).permutation(len(train_set))[:most]))


def steps_per_epoch(examples: int, settings: TrainingSettings) -> int:
    """The optimiser steps that an epoch of so many examples takes."""
    parts = math.ceil(examples / (settings.batch_size // settings.accumulation))
    return math.ceil(parts / settings.accumulation)


def _training_key(
    model: Any,
    train_set: datasets.Dataset,
    validation_set: datasets.Dataset,
    settings: TrainingSettings,
    teacher: Any,
    sharded: bool,
    features: StoredFeatures | None,
) -> str:
    asked = settings.features and teacher is not None
    # The time limit is no part of it: a training that ran out of time goes on when it is given more.
    return content_hash(
        {
            "format": FORMAT,
            "settings": asdict(replace(settings, max_seconds=None)),
            "weights": weights_hash(model),
            "options": options_hash(model),
            "teacher": [weights_hash(teacher), options_hash(teacher)] if asked else None,
            "train": dataset_hash(train_set),
            "validation": dataset_hash(validation_set),
            "processes": processes.count(),
            **({"sharded": True} if sharded and processes.count() > 1 else {}),
            # What was stored in float16 is not quite what a teacher beside the student computes.
            **({"features": features.name} if settings.features and features is not None else {}),
        }
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    """Inside: deterministic kernels wherever torch has them. After: torch as it was."""
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic
    fill, benchmark = memory.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory finds bugs in kernels and costs time; it changes no result of a correct one.
    memory.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*determinis.*")
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def _frozen_embeddings(model: Any, wanted: bool) -> Iterator[None]:
    """Inside, when `wanted`: the embedding tables get no gradient. They are saved with the rest all the same."""
    tables = _embedding_tables(model) if wanted else []
    if wanted and not tables:
        raise InputError("training: freeze_embeddings is set and the model has no embedding table; remove the setting")
    frozen = [weight for table in tables for weight in table.parameters() if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(True)


def _embedding_tables(model: Any) -> list[nn.Embedding]:
    holder = getattr(getattr(model, "base_model", model), "embeddings", None)
    if not isinstance(holder, nn.Module):
        holder = model.get_input_embeddings()
    return [part for part in holder.modules() if isinstance(part, nn.Embedding)]


@contextmanager
def _kept_config(model: Any) -> Iterator[None]:
    """Inside: transformers' Trainer may write `use_cache` into the model's config. After: the config as it was."""
    config = getattr(model, "config", None)
    before = None if config is None else dict(vars(config))
    try:
        yield
    finally:
        if config is not None and before is not None:
            vars(config).clear()
            vars(config).update(before)
