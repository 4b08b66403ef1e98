"""A trained model on disk with all it needs: weights, configuration, tokenizer, and how inputs are made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import RecordError
from edgekd.files import make_folder, read_json, write_error, write_json

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing

PREPROCESSING = "preprocessing.json"
RESULT = "result.json"
SAVED = "saved"


def save_model(model: Any, tokenizer: Any, preprocessing: Preprocessing, folder: Path) -> None:
    """`model` as a plain Hugging Face checkpoint in `folder`, with its tokenizer and preprocessing.

    Errors: InputError, StorageError.
    """
    make_folder(folder)
    try:
        model.save_pretrained(folder, safe_serialization=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    except OSError as error:
        raise write_error(folder, error) from None
    write_json(folder / PREPROCESSING, {**preprocessing.to_dict(), "tokenizer": ""})


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
