from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data.normalise import normalised

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("A\u00a0\uff22\t c ", "a b C"),
        ("a gripping movie .", "A gripping movie!"),
        ("`` good ''", '"good"'),
        ("well-made, or not", "well made   or not"),
        ("cafe\u0301", "caf\u00e9"),
        ("cafe\u200d\u0301", "caf\u00e9"),
        ("hid\u00adden \u200bword\ufeff", "hidden word"),
        ("ma\u00dfe", "MASSE"),
        ("\ufb01lm", "film"),
        ("\u3002\u3053\u3093\u306b\u3061\u306f\u3001", "\u3053\u3093\u306b\u3061\u306f"),
        ("line\u2028break\x00s", "line break s"),
    ],
)
def test_texts_that_read_alike_are_the_same(text: str, other: str) -> None:
    assert normalised(text) == normalised(other) != ""


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("good", "goods"),
        ("C", "C++"),
        (":)", ":("),
        ("resume", "r\u00e9sum\u00e9"),
        ("fine \U0001f600", "fine \U0001f61e"),
        ("\u0915\u0940", "\u0915\u093f"),
        ("ab", "a b"),
    ],
)
def test_texts_that_read_otherwise_are_not(text: str, other: str) -> None:
    assert normalised(text) != normalised(other)


@pytest.mark.parametrize("text", ["", " \t\n", "\u200b", "\x00\x1f", "\u2028\u3000"])
def test_what_shows_nothing_is_empty(text: str) -> None:
    assert normalised(text) == ""


@given(texts)
def test_what_is_normalised_once_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@given(st.lists(texts, min_size=1, max_size=4), st.sampled_from([" ", "  ", ", ", "\n", " - ", "\u3000", "!? "]))
def test_spaces_and_punctuation_between_words_do_not_count(words: list[str], between: str) -> None:
    assert normalised(between.join(f"x{word}y" for word in words)) == normalised(
        " ".join(f"x{word}y" for word in words)
    )


@given(texts)
def test_no_control_character_and_no_double_space_is_left(text: str) -> None:
    found = normalised(text)
    assert "  " not in found
    assert found == found.strip()
    assert not [char for char in found if unicodedata.category(char) in ("Cc", "Cf")]
