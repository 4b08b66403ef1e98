"""Documents for a language model: plain text files, folders of them, or a column of a table, in three parts.

Parts are whole documents. Lines or paragraphs of one document on two sides would let a model be judged on the rest of
what it has read.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekd.data.examples import Examples, Splits
from edgekd.data.local import NAMES, format_of
from edgekd.data.parts import refuse_same, texts_of
from edgekd.data.passages import without_shared
from edgekd.data.remote import hub_source, hub_tables
from edgekd.data.saved import is_saved, read_saved
from edgekd.data.splitting import cut, drawn
from edgekd.data.tables import Table, file_text, read_table
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.text import listing, printable

SEPARATOR = "<|endoftext|>"  # a line of its own between two documents in one file, as TinyStories has it
LABEL_NAMES = ["document"]

_BETWEEN = re.compile(rf"^[ \t]*{re.escape(SEPARATOR)}[ \t]*$", re.MULTILINE)


def load_documents(data: Data, *, base: Path = Path()) -> Splits:
    """The documents that `data` names, in three parts; `base` is the folder where relative paths start.

    A text file holds one document, or several with a line `<|endoftext|>` between them; a folder, those of all text
    files in it and below. Of CSV, TSV, JSON lines, Parquet, Arrow and hub data each row of the column data.text is one.
    Missing parts are cut from the training part, which keeps whole documents. `drop_leaked` takes out of the training
    documents the passages that also stand in another part.
    Errors: DataError naming file and row; MissingExtra.
    """
    notes: list[str] = []
    while data.otherwise is not None and ":" not in data.source and not _path(data, base).exists():
        notes.append(f"{data.source} is not there: {data.otherwise.source} is used instead (data.otherwise).")
        data = data.otherwise
    parts = _hub(data, base) if data.source.startswith("hub:") else _local(_path(data, base), data)
    parts, more = _completed(parts, data)
    dropped = 0
    if data.drop_leaked:
        parts["train"], dropped = without_shared(parts["train"], [parts["validation"], parts["test"]])
    full = parts["train"]
    if data.max_train_examples is not None:
        parts["train"] = drawn(full, data.max_train_examples, data.seed, LABEL_NAMES)
    if len(parts["train"]) < len(full):
        more.append(f"{len(parts['train'])} of {len(full)} training documents are used (max_train_examples).")
    return Splits(**parts, label_names=LABEL_NAMES, kind="text", notes=[*notes, *more], dropped=dropped)


def _path(data: Data, base: Path) -> Path:
    return base / Path(data.source).expanduser()


def _documents(name: str, texts: list[str], where: str) -> Examples:
    kept = [text for text in texts if text.strip()]
    if not kept:
        raise DataError(f"{where}: holds no text, expected at least one document")
    return Examples(name, np.zeros(len(kept), dtype=np.int64), kept)


def _hub(data: Data, base: Path) -> dict[str, Examples]:
    tables = hub_tables(hub_source(data.source, base), data)
    return {part: _column(split, table, data) for part, (split, table) in tables.items()}


def _column(name: str, table: Table, data: Data) -> Examples:
    return _documents(name, texts_of(table, data.text, "data.text"), table.where)


def _local(source: Path, data: Data) -> dict[str, Examples]:
    if not source.exists():
        raise DataError(f"{source}: no such file or folder. Give a local path or hub:ID in data.source")
    places = _places(source, data)
    refuse_same({part: str(place) for part, place in places.items()})
    return {
        part: _part(place, data, [other for other in places.values() if other != place])
        for part, place in places.items()
    }


def _places(source: Path, data: Data) -> dict[str, Path]:
    """The file or folder of each part that there is."""
    folder = source.parent if source.is_file() else source
    named = {part: getattr(data, part) for part in NAMES}
    places = {part: folder / name for part, name in named.items() if name is not None}
    if source.is_file():
        return {**places, "train": source}
    if data.train is None:
        places |= {part: place for part in NAMES if part not in places and (place := _guess(folder, part)) is not None}
    if "train" not in places:
        # No part is called the training part: then all that belongs to no other part is.
        places["train"] = folder
    return dict(sorted(places.items(), key=lambda item: list(NAMES).index(item[0])))


def _guess(folder: Path, part: str) -> Path | None:
    """What in `folder` is called like `part`: a folder, or a file of a known format. Errors: DataError for several."""
    for word in NAMES[part]:
        found = [path for path in sorted(folder.iterdir()) if path.name.lower().split(".")[0] == word]
        known = [path for path in found if path.is_dir() or format_of(path) not in (None, "idx")]
        if len(known) > 1:
            names = printable(listing(path.name for path in known))
            raise DataError(f"{folder}: {names} could each be the {part} part. Name one in data.{part}")
        if known:
            return known[0]
    return None


def _part(place: Path, data: Data, others: list[Path]) -> Examples:
    """The documents in the file or folder `place`, without those that belong to the `others` inside it."""
    if is_saved(place):
        return _column(place.name, read_saved(place, [data.text]), data)
    if place.is_dir():
        found = [path for path in sorted(place.rglob("*")) if path.is_file() and format_of(path) == "text"]
        files = [path for path in found if not any(other in (path, *path.parents) for other in others)]
        if not files:
            raise DataError(f"{place}: holds no text file (.txt), expected documents. Name the part in data.train")
        return _documents(place.name, [text for file in files for text in _texts(file)], str(place))
    form = data.format or format_of(place)
    if form == "text":
        return _documents(place.name, _texts(place), str(place))
    if form in (None, "idx"):
        raise DataError(
            f"{place}: is no table of texts and no plain text, expected .txt, .csv, .tsv, .jsonl, .parquet or .arrow. "
            "Give data.format"
        )
    return _column(place.name, read_table(place, str(form), [data.text]), data)


def _texts(file: Path) -> list[str]:
    return _BETWEEN.split(file_text(file))


def _completed(parts: dict[str, Examples], data: Data) -> tuple[dict[str, Examples], list[str]]:
    """The parts with those that were missing cut from the training part, the test part first."""
    missing = [name for name in ("test", "validation") if name not in parts]
    train = parts["train"]
    if len(set(train.keys)) <= len(missing):
        wanted = " and ".join(f"data.{name}" for name in missing)
        raise DataError(
            f"{train.name}: holds {len(set(train.keys))} different documents, expected at least {len(missing) + 1}: "
            f"parts are whole documents, never pieces of one. Name {wanted}, or put a line {SEPARATOR} between "
            "documents"
        )
    if sum({"test": data.test_share, "validation": data.validation_share}[name] for name in missing) >= 1:
        raise DataError("data.validation_share and data.test_share leave nothing to train on, expected a sum below 1")
    whole, notes, complete = len(train), [], dict(parts)
    for left, name in enumerate(missing):
        share = (data.test_share if name == "test" else data.validation_share) * whole / len(train)
        train, taken = cut(
            train, share, LABEL_NAMES, seed=data.seed, purpose=name, keep=len(missing) - left
        )  # fmt: skip
        complete[name] = replace(taken, name=f"{train.name}, {name}")
        notes.append(f"{name} was cut from {train.name}: {len(taken)} of {whole} documents (seed {data.seed}).")
    complete["train"] = train
    return complete, notes
