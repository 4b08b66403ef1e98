"""How a sentence encoder pools, as the files of sentence-transformers beside its weights say it.

modules.json lists the parts of the encoder: Transformer, Pooling, and Normalize where vectors get the length 1. Only
these are read; a part that would change the vectors otherwise is refused. Source: sentence-transformers 2 to 5, the
files that SentenceTransformer.save writes.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from edgekd.errors import InputError, SecurityError, ToolError
from edgekd.files import make_folder, read_json, write_json
from edgekd.pooling import Pooling, PoolingMode, pooling_of
from edgekd.text import listing, printable

MODULES, POOLING_FOLDER, NORMALISE_FOLDER = "modules.json", "1_Pooling", "2_Normalize"
OPTIONS, LIMITS = "config_sentence_transformers.json", "sentence_bert_config.json"

_KNOWN = ("Transformer", "Pooling", "Normalize")
_FLAGS: dict[str, PoolingMode] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_NAMES: dict[str, PoolingMode] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}


def read_pooling(folder: Path) -> Pooling | None:
    """How the sentence encoder in `folder` pools; None where no file of sentence-transformers says it.

    Errors: InputError for an encoder with a part, a pooling or a prompt that we do not compute.
    """
    path = folder / MODULES
    if not path.exists():
        return None
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules):
        raise InputError(f"{path}: is no list of modules, expected what sentence-transformers writes")
    names = [str(one.get("type", "")).rsplit(".", 1)[-1] for one in modules]
    if names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        found = printable(listing(names), 200) or "none"
        raise InputError(
            f"{path}: found the parts {found}, expected {_KNOWN[0]}, {_KNOWN[1]} and perhaps {_KNOWN[2]}: another part "
            "would change the vectors, and no student could copy it"
        )
    _refuse_prompt(folder / OPTIONS)
    place = PurePosixPath(str(modules[1].get("path", "")))
    if place.is_absolute() or ".." in place.parts:
        raise SecurityError(f"{path}: names the folder {printable(repr(str(place)), 80)}, expected one beside it")
    return Pooling(_mode(folder / place / "config.json"), normalised="Normalize" in names)


def _mode(path: Path) -> PoolingMode:
    table = read_json(path)
    table = table if isinstance(table, dict) else {}
    told = table.get("pooling_mode")
    flags = [key for key, value in table.items() if key.startswith("pooling_mode_") and value is True]
    found = [_NAMES.get(str(told))] if told is not None else [_FLAGS.get(flag) for flag in flags]
    if len(found) != 1 or found[0] is None:
        shown = printable(listing([str(told)] if told is not None else flags), 200) or "none"
        raise InputError(f"{path}: found the pooling {shown}, expected one of mean, cls and the last token")
    return found[0]


def _refuse_prompt(path: Path) -> None:
    """Errors: InputError when the encoder puts words before each text."""
    table: Any = read_json(path) if path.exists() else {}
    name = table.get("default_prompt_name") if isinstance(table, dict) else None
    if name is not None:
        raise InputError(
            f"{path}: default_prompt_name is {printable(repr(name), 60)}: this encoder puts words before each text, "
            "which edgekd does not. Put them into the texts of the data and set default_prompt_name to null"
        )


def write_sentence_files(folder: Path, pooling: Pooling, dimensions: int, max_length: int) -> None:
    """Beside a saved model the files with which sentence-transformers loads it as the encoder that it is.

    Units: `max_length` in tokens. Errors: InputError, StorageError.
    """
    kinds = [("", "Transformer"), (POOLING_FOLDER, "Pooling")]
    kinds += [(NORMALISE_FOLDER, "Normalize")] if pooling.normalised else []
    write_json(folder / MODULES, [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ])  # fmt: skip
    flags = {name: mode == pooling.mode for name, mode in _FLAGS.items()}
    for path, _ in kinds[1:]:
        make_folder(folder / path)
    write_json(folder / POOLING_FOLDER / "config.json", {"word_embedding_dimension": dimensions, **flags})
    write_json(folder / LIMITS, {"max_seq_length": max_length, "do_lower_case": False})


def pooling_for(name: str, config: Any, *, mode: PoolingMode | None = None, normalised: bool | None = None) -> Pooling:
    """How the located model `name` pools: as its files say, else as is asked for, else the mean, normalised.

    Errors: InputError when what is asked for is not what the files say; ToolError when the hub cannot be reached.
    """
    stated = pooling_of(config) or read_pooling(Path(name) if Path(name).is_dir() else _hub_files(name))
    asked = Pooling(
        mode if mode is not None else stated.mode if stated else "mean",
        normalised if normalised is not None else stated.normalised if stated else True,
    )
    if stated is not None and asked != stated:
        raise InputError(
            f"{name}: its files say that it pools as {stated.text}, the recipe says {asked.text}. Remove "
            "teacher.pooling and teacher.normalised from the recipe: a student learns what its teacher gives"
        )
    return asked


def _hub_files(name: str) -> Path:
    """A folder with those files of the hub model `name` that say how it pools. Errors: ToolError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [MODULES, OPTIONS, "*_Pooling/config.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        said = printable(" ".join(str(error).split()), 200)
        raise ToolError(
            f"{name}: the hub does not tell how it pools ({said}). Check the connection, or give a local folder"
        ) from None
