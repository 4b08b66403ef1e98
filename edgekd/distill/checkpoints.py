"""Checkpoints that are whole or do not count: `complete.json` is written last and lists the files it vouches for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from edgekd.distill.settings import EpochRecord, Stopped
from edgekd.errors import EdgekdError, StorageError
from edgekd.files import read_json, write_error, write_json

MARKER = "complete.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: the history up to it, why the phase ended there (None: it goes on), the time used so far."""

    folder: Path
    history: tuple[EpochRecord, ...]
    stopped: Stopped | None
    seconds: float


def checkpoint_folder(home: Path, step: int) -> Path:
    """Where transformers' Trainer puts the checkpoint of `step`."""
    return home / f"checkpoint-{step}"


def save_weights(model: Any, path: Path) -> None:
    """Write the weights of `model` to `path`, tied ones once. Errors: StorageError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(model, str(path))
    except OSError as error:
        raise write_error(path, error) from None
    except safetensors.SafetensorError as error:
        raise StorageError(f"{path}: the weights cannot be written ({error}). Is the disk full?") from None


def load_weights(model: Any, path: Path) -> None:
    """Put the weights at `path` into `model`. Errors: StorageError when they are unreadable or do not fit."""
    try:
        safetensors.torch.load_model(model, str(path), strict=True)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise StorageError(
            f"{path}: the weights cannot be read back ({error}). Delete the folder and run again"
        ) from None


def seal(checkpoint: Checkpoint) -> None:
    """Declare the files in the checkpoint's folder whole, with what is needed to go on from there."""
    sizes = {}
    for path in sorted(checkpoint.folder.iterdir()):
        _flush(path)
        sizes[path.name] = path.stat().st_size
    marker = {
        "history": [asdict(record) for record in checkpoint.history],
        "stopped": checkpoint.stopped,
        "seconds": checkpoint.seconds,
        "files": sizes,
    }
    write_json(checkpoint.folder / MARKER, marker)


def newest(home: Path) -> Checkpoint | None:
    """The whole checkpoint with the longest history under `home`, if any. Those that are not whole are removed."""
    found = []
    for folder in sorted(home.glob("checkpoint-*")):
        checkpoint = _opened(folder)
        if checkpoint is None:
            remove(folder)
        else:
            found.append(checkpoint)
    return max(found, key=lambda checkpoint: len(checkpoint.history), default=None)


def keep_only(home: Path, folders: Iterable[Path]) -> None:
    """Remove every checkpoint under `home` but `folders`."""
    kept = set(folders)
    for folder in home.glob("checkpoint-*"):
        if folder not in kept:
            remove(folder)


def remove(folder: Path) -> None:
    """Remove `folder`. Its marker goes first, so that a half-removed checkpoint is never taken for a whole one."""
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _opened(folder: Path) -> Checkpoint | None:
    try:
        marker = read_json(folder / MARKER)
        if any((folder / name).stat().st_size != size for name, size in marker["files"].items()):
            return None
        history = tuple(EpochRecord(**record) for record in marker["history"])
        return Checkpoint(folder, history, marker["stopped"], marker["seconds"])
    except (EdgekdError, OSError, KeyError, TypeError, AttributeError):
        return None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
