from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekd.data.encode import Preprocessing, encode, load_tokenizer, preprocessing_for_images
from edgekd.data.examples import Examples
from edgekd.data.truncation import truncated_rows


def truncated(folder: Path, max_length: int, *texts: str, pairs: list[str] | None = None) -> int:
    examples = Examples("t", np.zeros(len(texts), dtype=np.int64), list(texts), pairs)
    preprocessing = Preprocessing(kind="text", tokenizer=str(folder), max_length=max_length)
    tokenizer = load_tokenizer(folder)
    return truncated_rows(encode(examples, preprocessing, tokenizer), examples, preprocessing, tokenizer)


def test_only_what_lost_a_token_counts(tokenizer_folder: Path) -> None:
    # Two more tokens stand around every text.
    assert truncated(tokenizer_folder, 5, "a b", "a b c", "a b c a", "a " * 90, "") == 2
    assert truncated(tokenizer_folder, 6, "a b c a", "a b c d") == 0


def test_both_texts_of_a_pair_take_room(tokenizer_folder: Path) -> None:
    assert truncated(tokenizer_folder, 7, "a b", "a b", pairs=["c c", "c c c"]) == 1


def test_texts_beyond_one_batch_count(tokenizer_folder: Path) -> None:
    assert truncated(tokenizer_folder, 5, *["a b c a"] * 1500, *["a"] * 700, *["a " * 7] * 3) == 1503


@pytest.mark.filterwarnings("error")
def test_texts_longer_than_the_tokenizer_likes_are_counted_in_silence(
    tokenizer_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert truncated(tokenizer_folder, 64, "a " * 500) == 1
    assert not caplog.records


def test_images_lose_nothing() -> None:
    pixels = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    examples = Examples("i", np.zeros(2, dtype=np.int64), images=pixels)
    preprocessing = preprocessing_for_images(examples)
    assert truncated_rows(encode(examples, preprocessing), examples, preprocessing, None) == 0
