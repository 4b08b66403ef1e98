from __future__ import annotations

import numpy as np
import pytest
from tiny_language import stories

from edgekd.data.examples import Examples
from edgekd.data.leakage import leaks
from edgekd.data.passages import passages, pieces, without_shared
from edgekd.errors import DataError

LONG = "It is a truth universally acknowledged, that a single man in possession of a good fortune wants a wife."
OTHER = "The family of Dashwood had been long settled in Sussex, where their estate was large and well kept."
THIRD = "Sir Walter Elliot, of Kellynch Hall, in Somersetshire, was a man who never took up any book but one."


def documents(*texts: str, name: str = "train") -> Examples:
    return Examples(name, np.zeros(len(texts), dtype=np.int64), list(texts))


@pytest.mark.parametrize(
    "text", ["", "\n\n", "one", "one\n\n\ntwo\n \t\n three\n", "\r\none\r\n\r\ntwo", "x" * 2500 + "\ny\n\n"]
)
def test_pieces_are_the_text_again(text: str) -> None:
    found = pieces(text)
    assert "".join(found) == text
    assert len(found) % 2 == 1
    assert all(not between.strip() for between in found[1::2])


def test_long_paragraphs_are_taken_line_by_line() -> None:
    lines = [f"{number} {LONG}" for number in range(30)]
    assert pieces("\n".join(lines))[::2] == lines
    assert passages(documents("\n".join(lines))).texts == lines


def test_headings_do_not_count() -> None:
    assert passages(documents(f"Chapter 1\n\n{LONG}\n\nTHE END", "Chapter 1")).texts == [LONG]


def test_a_passage_of_one_document_is_found_in_another() -> None:
    parts = {
        "train": documents(f"Chapter 1\n\n{LONG}\n\n{OTHER}", *stories(3)),
        "validation": documents(*stories(2, start=50), name="validation"),
        "test": documents(f"Chapter 1\n\n{THIRD}\n\n{LONG.upper()}", name="test"),
    }
    found = {(leak.part, leak.other): leak for leak in leaks({name: passages(part) for name, part in parts.items()})}
    leak = found["test", "train"]
    assert (leak.same, leak.nearly, leak.examples) == (1, 0, 2)
    assert found["validation", "train"].count == 0


def test_shared_passages_are_taken_out_and_the_rest_of_the_document_stays() -> None:
    train = documents(f"{OTHER}\n\n{LONG}\n\n{THIRD}\n", LONG, f"Chapter 1\n\n{OTHER}")
    left, dropped = without_shared(train, [documents(f"{LONG}!", name="test")])
    assert (left.texts, dropped) == ([f"{OTHER}\n\n{THIRD}\n", f"Chapter 1\n\n{OTHER}"], 2)
    assert len(left.labels) == 2
    assert without_shared(left, [documents(LONG, name="test")]) == (left, 0)


def test_a_training_part_that_is_all_shared_is_refused() -> None:
    with pytest.raises(DataError, match="leaves nothing to train on"):
        without_shared(documents(LONG), [documents(LONG, name="test")])
