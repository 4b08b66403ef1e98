from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_language import END, byte_tokenizer, stories

from edgekd.data.blocks import UNPREDICTED, blocks, blocks_key, token_stream
from edgekd.data.encode import Preprocessing
from edgekd.data.examples import Examples
from edgekd.errors import DataError


def documents(texts: list[str], name: str = "train") -> Examples:
    return Examples(name, np.zeros(len(texts), dtype=np.int64), texts)


def preprocessing(length: int, folder: str = "unused") -> Preprocessing:
    return Preprocessing(kind="text", tokenizer=folder, max_length=length)


def saved(tmp_path: Path, texts: list[str], **options: Any) -> tuple[Any, str]:
    tokenizer = byte_tokenizer(texts, **options)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tokenizer, str(tmp_path / "tokenizer")


@pytest.mark.parametrize("length", [4, 16, 33, 64])
def test_every_token_but_the_first_is_predicted_exactly_once(tmp_path: Path, length: int) -> None:
    texts = stories(5)
    tokenizer, folder = saved(tmp_path, texts)
    found = blocks(documents(texts), preprocessing(length, folder), tokenizer)
    stream = token_stream(texts, tokenizer)
    ids, labels = (np.array(found[name][:]) for name in ("input_ids", "labels"))
    assert ids.shape == labels.shape == (len(found), length)
    asked = labels != UNPREDICTED
    assert not asked[:, 0].any()
    np.testing.assert_array_equal(labels[asked], stream[1:])
    np.testing.assert_array_equal(ids[asked], stream[1:])
    # What a token is predicted from is what stands before it in the stream.
    np.testing.assert_array_equal(ids[:, :-1][asked[:, 1:]], stream[:-1])
    assert found["row"][:] == list(range(len(found)))


def test_documents_are_joined_by_the_end_of_text_and_lose_nothing(tmp_path: Path) -> None:
    texts = stories(3)
    tokenizer, _ = saved(tmp_path, texts)
    stream = token_stream(texts, tokenizer)
    assert (stream == tokenizer.eos_token_id).sum() == 3
    assert tokenizer.decode(stream.tolist()).split(END) == [*texts, ""]


def test_a_tokenizer_without_an_end_of_text_joins_documents_bare(tmp_path: Path) -> None:
    texts = stories(3)
    tokenizer, _ = saved(tmp_path, texts, end=None)
    assert tokenizer.decode(token_stream(texts, tokenizer).tolist()) == "".join(texts)


def test_the_last_block_is_filled_up_with_tokens_that_nobody_predicts(tmp_path: Path) -> None:
    texts = ["the cat sees the moon"]
    tokenizer, folder = saved(tmp_path, texts)
    found = blocks(documents(texts), preprocessing(64, folder), tokenizer)
    count = len(token_stream(texts, tokenizer))
    assert len(found) == 1
    assert (np.array(found["labels"][0])[count:] == UNPREDICTED).all()
    assert (np.array(found["input_ids"][0])[count:] == tokenizer.eos_token_id).all()


def test_equal_documents_have_equal_keys_and_others_do_not(tmp_path: Path) -> None:
    texts = stories(4)
    _, folder = saved(tmp_path, texts)
    one = blocks_key(documents(texts), preprocessing(32, folder))
    assert one == blocks_key(documents(list(texts), "another name"), preprocessing(32, folder))
    others = [
        blocks_key(documents(texts[:3]), preprocessing(32, folder)),
        blocks_key(documents(texts), preprocessing(16, folder)),
    ]
    saved(tmp_path, texts, vocabulary=300)
    assert len({one, *others, blocks_key(documents(texts), preprocessing(32, folder))}) == 4


def test_what_cannot_be_cut_into_blocks_is_refused(tmp_path: Path) -> None:
    tokenizer, folder = saved(tmp_path, stories(2))
    with pytest.raises(DataError, match="reads at most 64 tokens"):
        blocks(documents(stories(1)), preprocessing(65, folder), tokenizer)
    bare, _ = saved(tmp_path, stories(2), end=None)
    with pytest.raises(DataError, match="are 1 tokens, expected at least two"):
        blocks(documents(["t"]), preprocessing(32, folder), bare)
    images = Examples("train", np.zeros(2, dtype=np.int64), images=np.zeros((2, 1, 2, 2), dtype=np.uint8))
    with pytest.raises(DataError, match="holds images"):
        blocks(images, preprocessing(32, folder), tokenizer)
