"""Texts that are longer than what a model is given of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd.data.encode import ROWS_AT_ONCE, UNLABELLED, Preprocessing
from edgekd.data.examples import Examples, Numbers
from edgekd.data.extras import library


def truncated_rows(encoded: Any, examples: Examples, preprocessing: Preprocessing, tokenizer: Any) -> int:
    """How many of `examples` lost tokens when they became `encoded`; 0 for images."""
    if examples.texts is None:
        return 0
    if examples.words is not None:
        return int((_unseen(encoded, examples) > 0).sum())
    limit = preprocessing.max_length
    lengths = library("pyarrow.compute").list_value_length(encoded.data.column("input_ids")).to_numpy()
    # Only what fills its whole length can have lost anything.
    full = examples.subset(np.flatnonzero(lengths >= limit))
    count = 0
    for start in range(0, len(full), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        pairs = None if full.pairs is None else full.pairs[rows]
        whole = tokenizer((full.texts or [])[rows], pairs, truncation=False, padding=False, verbose=False)
        count += sum(len(ids) > limit for ids in whole["input_ids"])
    return count


def cut_words(encoded: Any, examples: Examples) -> int:
    """How many words of sentences lost their tag when they became `encoded`; 0 for anything else."""
    return 0 if examples.words is None else int(_unseen(encoded, examples).sum())


def _unseen(encoded: Any, examples: Examples) -> Numbers:
    """Words of each sentence that no token stands for. Shapes: [sentences]."""
    labels = encoded.data.column("labels").combine_chunks()
    lengths = library("pyarrow.compute").list_value_length(labels).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    seen = np.bincount(rows, weights=labels.flatten().to_numpy() != UNLABELLED, minlength=len(lengths))
    missing: Numbers = np.diff(examples.starts) - seen.astype(np.int64)
    return missing
