"""Texts that are longer than what a model is given of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekd.data.encode import ROWS_AT_ONCE, Preprocessing
from edgekd.data.examples import Examples
from edgekd.data.extras import library


def truncated_rows(encoded: Any, examples: Examples, preprocessing: Preprocessing, tokenizer: Any) -> int:
    """How many of `examples` lost tokens when they became `encoded`; 0 for images."""
    if examples.texts is None:
        return 0
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
