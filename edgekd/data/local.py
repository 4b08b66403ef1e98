"""A data set in local files: which file is which part, and in which format."""

from __future__ import annotations

import re
from pathlib import Path

from edgekd.data.conll import read_conll
from edgekd.data.examples import Kind
from edgekd.data.folders import entries, folder_part, holds_classes
from edgekd.data.idx import labels_beside, read_idx_images, read_idx_labels
from edgekd.data.parts import Part, part_from_table, refuse_same, unlabelled, wanted_columns
from edgekd.data.saved import is_saved, read_saved
from edgekd.data.tables import file_text, read_table
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.task import Labelling
from edgekd.text import listing, printable

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".text": "text",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}
NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "t10k")}


def local_parts(
    source: Path, data: Data, kind: Kind | None, labelling: Labelling = "one"
) -> tuple[dict[str, Part], list[str]]:
    """The parts of the data set in the file or folder `source`, and notes. Errors: DataError."""
    folder = source.parent if source.is_file() else source
    if source.is_file():
        if data.train is not None and folder / data.train != source:
            raise DataError(f"{source}: is a file and so the training part. Remove data.train, or give the folder")
        places = _named_places(folder, data, source)
    else:
        places = _places(source, data, _by_class(data, kind, labelling))
    refuse_same({part: _within(path, folder) for part, path in places.items()})

    def read(name: str, kind: Kind | None) -> Part:
        path = places[name]
        if is_saved(path) and data.format in (None, "arrow"):
            table = read_saved(path, wanted_columns(data))
            return part_from_table(path.name or folder.resolve().name, table, data, kind, path, labelling)
        if not (path.is_dir() and _by_class(data, kind, labelling)):
            return _part(path, data, kind, labelling)
        # A link may lead to what counts for the content of the data set: edgekd.pipeline.context.data_facts.
        roots = [path] if source.is_file() else [source] if getattr(data, name) is None else [source, path]
        return folder_part(path, roots, without=list(places.values()), lenient=path == source)

    first = read("train", kind)
    rest = {name: read(name, first.kind) for name in places if name != "train"}
    return {"train": first, **rest}, [] if source.is_file() else _unused(source, data, places)


def _by_class(data: Data, kind: Kind | None, labelling: Labelling) -> bool:
    """Whether a part may be a folder of images by class."""
    return data.format is None and kind != "text" and labelling == "one"


def _within(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _unused(folder: Path, data: Data, places: dict[str, Path]) -> list[str]:
    """Notes on what is called like a part that is cut from the training part instead, since only some were named.

    Where the folders in `folder` are the classes, notes on files beside them.
    """
    used, train = list(places.values()), places["train"]
    if train == folder and not is_saved(folder):
        loose = [path for path in entries(folder) if not path.is_dir() and path not in used]
        return [f"{printable(path.name)} is not used: it is in no folder of a class." for path in loose]
    missing = [part for part in NAMES if part not in places]
    paths = [path for part in missing for path in _guesses(folder, part, data.format) if path not in used]
    if train.is_dir():
        paths += [path for part in missing for path in _folders_called(folder, part) if path not in used]
    return [
        f"{printable(path.name)} is not used: data.train is given, and data does not name that "
        f"{'folder' if path.is_dir() else 'file'}."
        for path in paths
    ]


def _places(folder: Path, data: Data, by_class: bool) -> dict[str, Path]:
    """The file of each part that there is; where no file is called like a training part, the folder.

    Folders are data sets that were saved, or `by_class` images.
    """
    if data.train is not None:
        return _named_places(folder, data, folder / data.train)
    named = {name: path for name, path in (("validation", data.validation), ("test", data.test)) if path is not None}
    places = {name: folder / path for name, path in named.items()}
    places |= _only(folder, {part: _guesses(folder, part, data.format) for part in NAMES if part not in places})
    if "train" not in places:
        called = {part: _folders_called(folder, part) for part in NAMES if part not in places}
        found = _only(
            folder, {part: [at for at in paths if by_class or is_saved(at)] for part, paths in called.items()}
        )
        if not found and (is_saved(folder) or (by_class and _is_training_part(folder))):
            found = {"train": folder}
        places |= found
    if "train" not in places:
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
        found_names = printable(listing(names), 400) or "nothing"
        hint = " ('.' where each folder here is a class of images)" if by_class and names else ""
        raise DataError(f"{folder}: holds no file such as train.csv, found {found_names}. Name one in data.train{hint}")
    return places


def _only(folder: Path, candidates: dict[str, list[Path]]) -> dict[str, Path]:
    """The one candidate of each part that has any. Errors: DataError where it has several."""
    for part, paths in candidates.items():
        if len(paths) > 1:
            found = printable(listing(path.name for path in paths))
            raise DataError(f"{folder}: {found} could each be the {part} part. Name one in data.{part}")
    return {part: paths[0] for part, paths in candidates.items() if paths}


def _named_places(folder: Path, data: Data, train: Path) -> dict[str, Path]:
    named = {"validation": data.validation, "test": data.test}
    return {"train": train, **{part: folder / name for part, name in named.items() if name is not None}}


def _is_training_part(folder: Path) -> bool:
    """Whether the folders in `folder` are classes of images; beside a table they belong to it."""
    tables = [path for path in entries(folder) if format_of(path) not in (None, "text") and not path.is_dir()]
    return not tables and holds_classes(folder)


def _folders_called(folder: Path, part: str) -> list[Path]:
    """The folders in `folder` that are called like `part`, in the first of its usual names that occurs."""
    for word in NAMES[part]:
        found = [path for path in entries(folder) if path.name.lower() == word and path.is_dir()]
        if found:
            return found
    return []


def _guesses(folder: Path, part: str, form: str | None) -> list[Path]:
    """The files of `folder` that are called like `part`, in the first of its usual names that occurs."""
    for word in NAMES[part]:
        pattern = re.compile(rf"{word}([.]|-images[-.]idx3|-0+-of-0+1[.])", re.IGNORECASE)
        found = sorted(path for path in folder.iterdir() if pattern.match(path.name) and path.is_file())
        known = [path for path in found if form is not None or format_of(path) is not None]
        if known:
            return known
    return []


def format_of(path: Path) -> str | None:
    """The format that the name of a file tells, None where it tells none."""
    name = path.name.lower().removesuffix(".gz")
    if re.search(r"idx[1-4]|-ubyte$", name):
        return "idx"
    return FORMATS.get(Path(name).suffix)


def _part(path: Path, data: Data, kind: Kind | None, labelling: Labelling) -> Part:
    form = data.format or format_of(path)
    if form is None and path.is_dir():
        raise DataError(f"{path}: is a folder, expected a file. Only images of one class each may be in folders")
    if form is None:
        raise DataError(
            f"{path}: the name does not tell the format. Give data.format: csv, tsv, jsonl, parquet, arrow, idx or "
            "conll"
        )
    if form == "text" and labelling == "none":
        return _lines_part(path)
    if form == "text":
        raise DataError(
            f"{path}: is plain text, one example per line, which has no labels; classification needs them. "
            "Write a CSV, TSV or JSON lines file with a text and a label column"
        )
    if form == "idx":
        return _idx_part(path, kind)
    if form == "conll":
        if labelling != "tokens":
            raise DataError(f"{path}: is a CoNLL file, which has a tag for each word. Set task: token-classification")
        return part_from_table(path.name, read_conll(path), _of_conll(data), kind, path.parent, labelling)
    table = read_table(path, form, wanted_columns(data))
    return part_from_table(path.name, table, data, kind, path.parent, labelling)


def _of_conll(data: Data) -> Data:
    return data.model_copy(update={"text": "tokens", "label": "tags"})


def _lines_part(path: Path) -> Part:
    """One text in each line that is not blank."""
    lines = [(number, line.strip()) for number, line in enumerate(file_text(path).split("\n"), start=1)]
    filled = [(number, line) for number, line in lines if line]
    if not filled:
        raise DataError(f"{path}: holds no text, expected one in each line")
    return unlabelled(path.name, str(path), [line for _, line in filled], lambda row: f"{path}:{filled[row][0]}")


def _idx_part(path: Path, kind: Kind | None) -> Part:
    if kind == "text":
        raise DataError(f"{path}: is an idx file, which holds images, expected texts")
    images = read_idx_images(path)
    labels_path = labels_beside(path)
    labels = read_idx_labels(labels_path)
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: found {len(labels)} labels, expected {len(images)} as in {path.name}")
    if not labels:
        raise DataError(f"{path}: holds no examples, expected at least two")
    return Part(path.name, str(labels_path), labels, lambda row: f"{labels_path}: label {row + 1}", images=images)
