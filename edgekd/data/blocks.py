"""From documents to blocks of tokens, as a language model reads them.

All documents are one stream of tokens. Each block begins with the last token of the block before it, which it is not
asked about again: so every token of the stream but its first is predicted exactly once, and none is lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.encode import Preprocessing, encoding_key, load_tokenizer
from edgekd.data.examples import Examples
from edgekd.data.extras import library
from edgekd.errors import DataError
from edgekd.files import content_hash

UNPREDICTED = -100  # in place of a label, as torch and transformers have it
DOCUMENTS_AT_ONCE = 64
_BLOCKS_VERSION = 1  # raise it when the same documents become other blocks


def blocks_key(documents: Examples, preprocessing: Preprocessing) -> str:
    """Hex SHA-256 that changes whenever `blocks` would give something else. Errors: DataError for no tokenizer."""
    return content_hash({"blocks": _BLOCKS_VERSION, "encoding": encoding_key(documents, preprocessing)})


def blocks(documents: Examples, preprocessing: Preprocessing, tokenizer: Any = None) -> Any:
    """`documents` as a datasets.Dataset of blocks of `preprocessing.max_length` tokens.

    Columns: input_ids and labels, int32 [max_length], and row, the number of the block. A label is the token that
    stands there, to be predicted from those before it; -100 for the first of a block and for what fills up the last
    one. A document is tokenised as the tokenizer does it (with a beginning of text where that adds one) and followed by
    the end-of-text token where it has one. The fingerprint is `blocks_key`.
    Errors: DataError for images, for fewer than two tokens, or a `max_length` that the model cannot read.
    """
    if documents.texts is None:
        raise DataError(f"{documents.name}: holds images, expected documents")
    tokenizer = load_tokenizer(preprocessing.tokenizer) if tokenizer is None else tokenizer
    length = preprocessing.max_length
    if length > tokenizer.model_max_length:
        most = tokenizer.model_max_length
        raise DataError(
            f"data.max_length is {length}, but the model reads at most {most} tokens. Lower data.max_length"
        )
    stream = token_stream(documents.texts, tokenizer)
    if len(stream) < 2:
        raise DataError(
            f"{documents.name}: its documents are {len(stream)} tokens, expected at least two to predict one"
        )
    ids, labels = _cut(stream, length, _filler(tokenizer))
    arrow, datasets = library("pyarrow"), library("datasets")
    row = np.arange(len(ids), dtype=np.int64)
    columns = {"input_ids": _lists(ids), "labels": _lists(labels), "row": arrow.array(row)}
    lists = datasets.List(datasets.Value("int32"), length=length)
    features = datasets.Features({"input_ids": lists, "labels": lists, "row": datasets.Value("int64")})
    table = datasets.table.InMemoryTable(arrow.Table.from_pydict(columns, schema=features.arrow_schema))
    fingerprint = blocks_key(documents, preprocessing)[:16]
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=fingerprint)


def token_stream(texts: list[str], tokenizer: Any) -> npt.NDArray[np.int32]:
    """The tokens of all `texts`, one after the other, each followed by the end of text where there is such a token."""
    end = tokenizer.eos_token_id
    pieces: list[npt.NDArray[np.int32]] = []
    for start in range(0, len(texts), DOCUMENTS_AT_ONCE):
        some = texts[start : start + DOCUMENTS_AT_ONCE]
        for ids in tokenizer(some, truncation=False, padding=False, verbose=False)["input_ids"]:
            ended = end is None or (ids and ids[-1] == end)
            pieces.append(np.array(ids if ended else [*ids, end], dtype=np.int32))
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)


def _filler(tokenizer: Any) -> int:
    """What fills up the last block; nothing is asked of it, and what stands before it does not see it."""
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(token) for token in known if token is not None)


def _cut(
    stream: npt.NDArray[np.int32], length: int, filler: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Blocks and their labels. Shapes: both [blocks, length]."""
    step = length - 1
    count = -(-(len(stream) - 1) // step)
    whole = np.full(count * step + 1, filler, dtype=np.int32)
    whole[: len(stream)] = stream
    places = np.arange(count)[:, np.newaxis] * step + np.arange(length)
    ids = whole[places]
    labels = np.where(places < len(stream), ids, np.int32(UNPREDICTED))
    labels[:, 0] = UNPREDICTED
    return ids, labels


def _lists(values: npt.NDArray[np.int32]) -> Any:
    arrow = library("pyarrow")
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), values.shape[1])
