"""Text that came from a board or a file is safe to print."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from edgekd.text import did_you_mean, listing, printable


@given(st.text(alphabet=st.characters(blacklist_categories=()), max_size=200))
def test_nothing_printable_can_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    for char in shown:
        assert char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"}
        assert char not in "\u202e\u2028\u2029\u2066"
    shown.encode("utf-8")


def test_escape_sequences_become_visible() -> None:
    assert printable("\x1b[31mred\x9b") == "\\x1b[31mred\\x9b"


def test_long_text_is_cut() -> None:
    assert printable("a" * 50, limit=10) == "a" * 10 + "…"


def test_plain_text_stays() -> None:
    assert printable("Größe µs\n\t5 %") == "Größe µs\n\t5 %"


def test_a_close_word_is_suggested_and_a_distant_one_is_not() -> None:
    assert did_you_mean("latnecy", ["latency", "memory"]) == " Did you mean 'latency'?"
    assert did_you_mean("zzz", ["latency"]) == ""


def test_a_listing_is_sorted_and_says_what_it_leaves_out() -> None:
    assert listing(["b", "a"]) == "a, b"
    assert listing("edcba", limit=3) == "a, b, c and 2 more"
