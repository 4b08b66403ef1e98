"""From examples to what a model reads: token ids or scaled pixels, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.examples import Examples, Images, Kind
from edgekd.data.extras import library
from edgekd.errors import DataError, RecordError
from edgekd.files import content_hash, sha256_of_bytes, sha256_of_file
from edgekd.text import printable

TOKENIZER_FILES = ("*token*.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken")
ROWS_AT_ONCE = 1000
UNLABELLED = -100  # at tokens that have no label, as transformers and torch have it
_ENCODING_VERSION = 1  # raise it when the same inputs become other columns


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How inputs are made: the folder or name of a tokenizer and `max_length`, or an image's size, mean and std.

    Units: `image_size` pixels per side; `mean` and `std` per channel, after bytes were divided by 255.
    Errors: DataError for one that makes no sense.
    """

    kind: Kind
    tokenizer: str = ""
    max_length: int = 0
    image_size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "text" and (not self.tokenizer or self.max_length < 1):
            raise DataError("preprocessing of text needs a tokenizer and a max_length of at least 1")
        if self.kind == "image" and (self.image_size < 1 or not self.mean or len(self.mean) != len(self.std)):
            raise DataError("preprocessing of images needs an image_size and as many means as standard deviations")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(self.std)) or any(value <= 0 for value in self.std):
            raise DataError(f"preprocessing has mean {self.mean} and std {self.std}, expected finite ones, std above 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Preprocessing:
        """The preprocessing in `table`. Errors: RecordError for unknown, missing or mistyped keys."""
        known = {item.name for item in fields(cls)}
        if set(table) != known or table["kind"] not in ("text", "image"):
            raise RecordError(f"preprocessing has the keys {sorted(table)}, expected {sorted(known)} and a known kind")
        numbers = {key: table[key] for key in ("mean", "std")}
        floats = all(type(v) is list and all(type(x) in (int, float) for x in v) for v in numbers.values())
        wholes = all(type(table[key]) is int for key in ("max_length", "image_size"))
        if not floats or not wholes or type(table["tokenizer"]) is not str:
            raise RecordError("preprocessing holds a value of the wrong type, expected what edgekd wrote")
        return cls(**{**table, **{key: tuple(float(x) for x in value) for key, value in numbers.items()}})


def preprocessing_for_images(train: Examples) -> Preprocessing:
    """Size, mean and standard deviation of the images in `train`; a constant channel gets the deviation 1.

    Errors: DataError for texts, and for images that are not square.
    """
    images = train.images
    if images is None:
        raise DataError(f"{train.name}: holds texts, expected images")
    height, width = images.shape[2:]
    if height != width:
        raise DataError(f"{train.name}: images are {height} x {width}, expected square ones. Pad or crop them")
    channels = range(images.shape[1])
    moments = [_moments(images[:, channel]) for channel in channels]
    mean = tuple(mean for mean, _ in moments)
    return Preprocessing(kind="image", image_size=height, mean=mean, std=tuple(std or 1.0 for _, std in moments))


def _moments(values: npt.NDArray[Any]) -> tuple[float, float]:
    if values.dtype != np.uint8:
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    # Counting is exact and needs no copy in float64 of a whole data set.
    counts = np.zeros(256, dtype=np.int64)
    for image in values:
        counts += np.bincount(image.ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = float(np.average(levels, weights=counts))
    return mean, float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))


def load_tokenizer(name: str | Path, *, words: bool = False) -> Any:
    """The fast tokenizer in the folder `name`, or of that hub id; one that takes sentences in `words` where told so.

    Errors: DataError when there is none.
    """
    transformers, hub = library("transformers"), library("huggingface_hub.errors")
    # A byte-level tokenizer takes words only if it puts a blank before each.
    options = {"add_prefix_space": True} if words else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(name), use_fast=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, hub.HTTPError) as error:
        said = printable(" ".join(str(error).split()), 200)
        raise DataError(f"{name}: no tokenizer can be loaded ({said}). Give a folder with tokenizer.json") from None
    if not tokenizer.is_fast:
        raise DataError(f"{name}: has only a slow tokenizer, expected a fast one. Save its tokenizer.json beside it")
    return tokenizer


def encoding_key(examples: Examples, preprocessing: Preprocessing) -> str:
    """Hex SHA-256 that changes whenever `encode` would give something else. Errors: DataError for no tokenizer."""
    table = preprocessing.to_dict()
    if preprocessing.kind == "text":
        table["tokenizer"] = _tokenizer_hashes(preprocessing.tokenizer)
    return content_hash({"version": _ENCODING_VERSION, "examples": examples.sha256, "preprocessing": table})


def _tokenizer_hashes(name: str) -> dict[str, str]:
    folder = Path(name)
    if folder.is_dir():
        files = sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})
        if files:
            return {path.name: sha256_of_file(path) for path in files}
    return {"tokenizer.json": sha256_of_bytes(load_tokenizer(name).backend_tokenizer.to_str().encode())}


def encode(examples: Examples, preprocessing: Preprocessing, tokenizer: Any = None) -> Any:
    """`examples` as a datasets.Dataset in memory, in their order, without padding.

    Columns: input_ids, attention_mask and, where the tokenizer makes them, token_type_ids; or pixel_values float32
    [C, H, W], handed out as numpy arrays. Besides: labels, and row, the index in `examples`. Labels are one
    number, a 1 or 0 for each label, or of sentences one for each token: a word's tag at its first, -100 at all others.
    The fingerprint is
    `encoding_key`: equal contents have equal fingerprints. `tokenizer` saves loading it again.
    Errors: DataError when the examples do not fit `preprocessing`.
    """
    if examples.kind != preprocessing.kind:
        raise DataError(f"{examples.name}: holds {examples.kind}s, but the preprocessing is for {preprocessing.kind}s")
    if not len(examples):
        raise DataError(f"{examples.name}: holds no examples, expected at least one")
    arrow = library("pyarrow")
    if examples.images is None:
        tokenizer = load_tokenizer(preprocessing.tokenizer) if tokenizer is None else tokenizer
        columns, features = _tokens(examples, preprocessing, tokenizer)
    else:
        columns, features = _pixels(examples.images, preprocessing, examples.name)
    datasets = library("datasets")
    if examples.several:
        width = examples.labels.shape[1]
        columns["labels"] = arrow.FixedSizeListArray.from_arrays(arrow.array(examples.labels.reshape(-1)), width)
        features["labels"] = datasets.List(datasets.Value("int64"), length=width)
    elif examples.words is None:
        columns["labels"], features["labels"] = arrow.array(examples.labels), datasets.Value("int64")
    columns["row"] = arrow.array(np.arange(len(examples), dtype=np.int64))
    features["row"] = datasets.Value("int64")
    kinds = datasets.Features(features)
    table = datasets.table.InMemoryTable(arrow.Table.from_pydict(columns, schema=kinds.arrow_schema))
    fingerprint = encoding_key(examples, preprocessing)[:16]
    dataset = datasets.Dataset(table, info=datasets.DatasetInfo(features=kinds), fingerprint=fingerprint)
    return dataset if examples.images is None else dataset.with_format("numpy")


def _tokens(examples: Examples, preprocessing: Preprocessing, tokenizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    limit = preprocessing.max_length
    if limit > tokenizer.model_max_length:
        most = tokenizer.model_max_length
        raise DataError(f"data.max_length is {limit}, but the model reads at most {most} tokens. Lower data.max_length")
    arrow, datasets = library("pyarrow"), library("datasets")
    kinds = {"input_ids": "int32", "token_type_ids": "int8", "attention_mask": "int8", "labels": "int64"}
    chunks: dict[str, list[Any]] = {}
    for start in range(0, len(examples), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        pairs = None if examples.pairs is None else examples.pairs[rows]
        inputs = (examples.texts or [])[rows] if examples.words is None else examples.words[rows]
        split = examples.words is not None
        batch = tokenizer(inputs, pairs, truncation=True, max_length=limit, padding=False, is_split_into_words=split)
        if split:
            batch["labels"] = _tags_of_tokens(examples, batch, start)
        _refuse_empty(batch["input_ids"], examples.name, start)
        for name in kinds.keys() & batch.keys():
            chunks.setdefault(name, []).append(arrow.array(batch[name], arrow.list_(arrow.type_for_alias(kinds[name]))))
    columns = {name: arrow.chunked_array(chunks[name]) for name in kinds if name in chunks}
    return columns, {name: datasets.List(datasets.Value(kinds[name])) for name in columns}


def _tags_of_tokens(examples: Examples, batch: Any, start: int) -> list[list[int]]:
    """The labels of the tokens of the rows from `start` on. A word that was cut off has none."""
    found, starts = [], examples.starts
    for row in range(len(batch["input_ids"])):
        tags = examples.labels[starts[start + row] : starts[start + row + 1]]
        labels, before = [], None
        for word in batch.word_ids(row):
            labels.append(UNLABELLED if word is None or word == before else int(tags[word]))
            before = word
        found.append(labels)
    return found


def _refuse_empty(ids: list[list[int]], name: str, start: int) -> None:
    for row, tokens in enumerate(ids, start=start):
        if not tokens:
            raise DataError(f"{name}: the text of example {row + 1} becomes no token at all. Remove it")


def _pixels(images: Images, preprocessing: Preprocessing, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    size, channels = preprocessing.image_size, len(preprocessing.mean)
    if images.shape[1:] != (channels, size, size):
        found = " x ".join(map(str, images.shape[1:]))
        raise DataError(f"{name}: images are {found}, expected {channels} x {size} x {size}. Resize them beforehand")
    kind = library("datasets").Array3D(shape=(channels, size, size), dtype="float32")
    # In chunks: a list of Arrow counts its values in 32 bits.
    chunks = [
        _pixel_chunk(images[at : at + ROWS_AT_ONCE], preprocessing, kind) for at in range(0, len(images), ROWS_AT_ONCE)
    ]
    return {"pixel_values": library("pyarrow").chunked_array(chunks, type=kind())}, {"pixel_values": kind}


def _pixel_chunk(images: Images, preprocessing: Preprocessing, kind: Any) -> Any:
    values = np.empty(images.shape, dtype=np.float32)
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for channel, (mean, std) in enumerate(zip(preprocessing.mean, preprocessing.std, strict=True)):
        np.multiply(images[:, channel], np.float32(1 / (scale * std)), out=values[:, channel], dtype=np.float32)
        values[:, channel] -= np.float32(mean / std)
    arrow = library("pyarrow")
    nested = arrow.array(values.ravel())
    for length in reversed(images.shape[1:]):
        nested = arrow.FixedSizeListArray.from_arrays(nested, length)
    return arrow.ExtensionArray.from_storage(kind(), nested.cast(kind().storage_type))


def numpy_batches(
    dataset: Any, batch_size: int, pad_id: int = 0, *, pad_to: int | None = None
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The rows of an encoded `dataset` in batches of numpy arrays, padded on the right to the longest row or `pad_to`.

    Shapes: ids int64 [B, L], pixel_values float32 [B, C, H, W], labels and row int64 [B], of several
    labels [B, labels], of tokens [B, L] with -100 at padding; the last B may be smaller.
    Errors: DataError when a row is longer than `pad_to` or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}, expected at least 1")
    rows = dataset.with_format("numpy") if "pixel_values" in dataset.column_names else dataset.with_format(None)
    fills = {"input_ids": pad_id, "labels": UNLABELLED}
    ragged = {name for name, kind in dataset.features.items() if getattr(kind, "length", None) == -1}
    for start in range(0, len(rows), batch_size):
        columns = rows[start : start + batch_size]
        yield {name: _batched(name, cells, ragged, fills.get(name, 0), pad_to) for name, cells in columns.items()}


def _batched(name: str, cells: Any, ragged: set[str], fill: int, pad_to: int | None) -> npt.NDArray[Any]:
    if name == "pixel_values":
        return np.ascontiguousarray(cells, dtype=np.float32)
    if name not in ragged:
        return np.asarray(cells, dtype=np.int64)
    longest = max(len(cell) for cell in cells)
    if pad_to is not None and longest > pad_to:
        raise DataError(f"a row has {longest} tokens, expected at most {pad_to}. Lower data.max_length")
    batch = np.full((len(cells), pad_to or longest), fill, dtype=np.int64)
    for line, cell in zip(batch, cells, strict=True):
        line[: len(cell)] = cell
    return batch
