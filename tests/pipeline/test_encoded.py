from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_language import byte_tokenizer, stories

from edgekd.data.encode import Preprocessing
from edgekd.data.examples import Examples
from edgekd.pipeline.encoded import encoded, encoded_key


def test_documents_become_blocks_for_language_models_alone(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(stories(4))
    tokenizer.save_pretrained(tmp_path)
    part = Examples("stories", np.zeros(4, dtype=np.int64), stories(4))
    made = Preprocessing(kind="text", tokenizer=str(tmp_path), max_length=32)
    blocks, rows = (encoded(task, part, made, tokenizer) for task in ("causal-lm", "text-classification"))
    assert len(blocks) > len(rows) == 4
    assert set(blocks["labels"][0]) != {0} == set(rows["labels"][:])
    assert encoded_key("causal-lm", part, made) != encoded_key("text-classification", part, made)
