"""A trained model on disk with all it needs: weights, configuration, tokenizer, and how inputs are made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import RecordError, StorageError
from edgekd.files import make_folder, read_json, write_error, write_json
from edgekd.task import TASKS, TaskName

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing

PREPROCESSING = "preprocessing.json"
RESULT = "result.json"
SAVED = "saved"


def save_model(model: Any, tokenizer: Any, preprocessing: Preprocessing, folder: Path) -> None:
    """`model` as a plain Hugging Face checkpoint in `folder`, with its tokenizer and preprocessing.

    Errors: InputError, StorageError.
    """
    from safetensors import SafetensorError

    make_folder(folder)
    try:
        with _no_progress_bar():
            model.save_pretrained(folder, safe_serialization=True)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
    except OSError as error:
        raise write_error(folder, error) from None
    except SafetensorError as error:
        raise StorageError(f"{folder}: the weights cannot be written ({error}). Is the disk full?") from None
    write_json(folder / PREPROCESSING, {**preprocessing.to_dict(), "tokenizer": ""})


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Inside: transformers draws no bar of its own on the error stream. After: as it was."""
    from transformers.utils import logging

    log: Any = logging  # its functions carry no annotations
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def read_trained(folder: Path, labels: list[str], task: TaskName) -> Any:
    """The trained model that a step left in `folder`. Errors: InputError, RecordError when its head is not trained."""
    from edgekd.students.source import load_model

    loaded = load_model(str(folder), TASKS[task].head, labels, seed=0)
    if loaded.fresh_head:
        raise RecordError(
            f"{folder}: this folder is damaged ({loaded.note}), expected a trained model. Delete it and run again"
        )
    return loaded.model


def read_preprocessing(folder: Path) -> Preprocessing:
    """How inputs are made for the model in `folder`. Errors: InputError, RecordError."""
    from edgekd.data.encode import Preprocessing

    table = read_json(folder / PREPROCESSING)
    if not isinstance(table, dict):
        raise RecordError(f"{folder / PREPROCESSING}: is no preprocessing of edgekd. Run the step again")
    return Preprocessing.from_dict({**table, "tokenizer": str(folder) if table.get("kind") == "text" else ""})


def trained(scratch: Path, train: Callable[[Path, Callable[[dict[str, Any]], None]], None]) -> dict[str, Any]:
    """The result of `train`, done once: a model that was saved under `scratch` before a kill is not trained again.

    `train` gets the folder to save the model in, and a function to hand its result to after saving.
    """
    saved, result = scratch / SAVED, scratch / RESULT
    if not result.exists():
        shutil.rmtree(saved, ignore_errors=True)
        train(saved, lambda table: write_json(result, table))
    table: dict[str, Any] = read_json(result)
    return table


def publish(scratch: Path, target: Path) -> None:
    """Move the saved model to `target`, which it replaces; a second call after a kill in between does no harm."""
    saved = scratch / SAVED
    if saved.exists():
        shutil.rmtree(target, ignore_errors=True)
        try:
            saved.rename(target)
        except OSError as error:
            raise write_error(target, error) from None
