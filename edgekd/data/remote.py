"""Data sets that come by name: from the Hugging Face hub, and the one that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.examples import Kind
from edgekd.data.extras import library
from edgekd.data.local import NAMES
from edgekd.data.parts import Part, part_from_table, refuse_same, wanted_columns
from edgekd.data.tables import Table, table_from_arrow
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.task import Labelling
from edgekd.text import did_you_mean, listing, printable

DIGITS_MAXIMUM = 16  # load_digits: "each element is an integer in the range 0..16"


def hub_parts(source: str, data: Data, kind: Kind | None, labelling: Labelling = "one") -> dict[str, Part]:
    """The parts of the hub data set 'hub:ID' or 'hub:ID:CONFIG'; ID may be a folder. Errors: DataError."""
    parts: dict[str, Part] = {}
    for part, (split, table) in hub_tables(source, data).items():
        parts[part] = part_from_table(split, table, data, kind, Path(), labelling)
        kind = parts[part].kind
    return parts


def hub_tables(source: str, data: Data) -> dict[str, tuple[str, Table]]:
    """By part the name of its split and the columns that `data` may need. Errors: DataError."""
    name, config = _hub_name(source, data.config)
    loaded = _load(name, config)
    tables: dict[str, tuple[str, Table]] = {}
    for part, split in _split_names(source, data, list(loaded)).items():
        where = f"{source}, {split}"
        columns = list(loaded[split].column_names)
        rows = loaded[split].select_columns([column for column in columns if column in wanted_columns(data)])
        if not len(loaded[split]):
            raise DataError(f"{where}: holds no examples, expected at least two")
        tables[part] = split, table_from_arrow(where, rows.with_format("arrow")[:], columns)
    return tables


def hub_source(source: str, base: Path) -> str:
    """`source` with an ID that is a path (it starts with a dot or a slash) made relative to `base`."""
    name = source.removeprefix("hub:")
    return f"hub:{base / name}" if name.startswith((".", "/")) else source


def _hub_name(source: str, config: str | None) -> tuple[str, str | None]:
    name = source.removeprefix("hub:")
    head, colon, tail = name.rpartition(":")
    if colon and "/" not in tail and "\\" not in tail:
        if config not in (None, tail):
            raise DataError(f"data.source names the config {tail!r} and data.config {config!r}. Keep one of them")
        name, config = head, tail
    if not name:
        raise DataError(f"data.source is {source!r}, expected hub:ID, such as hub:stanfordnlp/sst2")
    return name, config


def _load(name: str, config: str | None) -> Any:
    datasets, arrow, hub = library("datasets"), library("pyarrow"), library("huggingface_hub.errors")
    try:
        return datasets.load_dataset(name, config)
    except ConnectionError:
        raise DataError(
            f"hub:{name}: the hub cannot be reached and the data set is not in the local cache. "
            "Go online, or name a local folder in data.source"
        ) from None
    except datasets.exceptions.DatasetNotFoundError:
        raise DataError(f"hub:{name}: no such data set on the hub, or no right to read it. Check data.source") from None
    except (
        datasets.exceptions.DatasetsError,
        hub.HTTPError,
        arrow.ArrowException,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        said = printable(" ".join(str(error).split()), 300)
        raise DataError(f"hub:{name}: cannot be loaded ({said}). Check data.source and data.config") from None


def _split_names(source: str, data: Data, present: list[str]) -> dict[str, str]:
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    if data.train is None:
        for part, words in NAMES.items():
            named[part] = named[part] or next((word for word in words if word in present), None)
    splits = {part: split for part, split in named.items() if split is not None}
    found = printable(listing(present), 400)
    if "train" not in splits:
        raise DataError(f"{source}: has no split called train, found {found}. Name it in data.train")
    refuse_same(splits)
    for part, split in splits.items():
        if split not in present:
            hint = did_you_mean(split, present)
            raise DataError(f"{source}: has no split {split!r}, found {found}. Name one in data.{part}.{hint}")
    return splits


def sklearn_part(source: str) -> Part:
    """The data set that scikit-learn carries: digits, 1797 images of 8 x 8, scaled to 0..1. Errors: DataError."""
    if source != "sklearn:digits":
        raise DataError(f"data.source is {source!r}, expected sklearn:digits, the one data set that comes from there")
    bunch = library("sklearn.datasets").load_digits()
    images = (bunch.images[:, np.newaxis] / DIGITS_MAXIMUM).astype(np.float32)
    labels = [str(label) for label in bunch.target.tolist()]
    return Part(source, source, labels, lambda row: f"{source}: row {row + 1}", images=images)
