from __future__ import annotations

import pytest

from edgekd.hosts.output import MAX_NOISE_BYTES, FramedTail, Tail


def test_tail_keeps_the_last_bytes_of_many_parts() -> None:
    tail = Tail(4)
    for part in (b"abc", b"defgh", b"", b"ij"):
        tail.add(part)
    assert tail.text() == "ghij"


def test_bytes_that_are_no_text_stay_visible() -> None:
    tail = Tail(10)
    tail.add(b"a\xffb")
    assert tail.text() == "a\\xffb"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_noise_before_the_mark_is_left_out_however_the_stream_is_cut(size: int) -> None:
    stream = b"welcome mark-\nmark-1 \nmark-x 42\nreal output mark-x 7\n"
    framed = FramedTail("mark-x", 100)
    for start in range(0, len(stream), size):
        framed.add(stream[start : start + size])
    assert framed.number == 42
    assert framed.text() == "real output mark-x 7\n"


def test_noise_is_told_when_the_mark_never_came() -> None:
    framed = FramedTail("mark-x", 100)
    for part in (b"This account ", b"is not available."):
        framed.add(part)
    assert framed.number is None
    assert framed.text() == "This account is not available."


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_mark_without_a_number_is_noise_and_the_next_one_counts(size: int) -> None:
    stream = b"mark-x none\nmark-x " + b"9" * 5000 + b"\nmark-x mark-x 42\nreal"
    framed = FramedTail("mark-x", 100)
    for start in range(0, len(stream), size):
        framed.add(stream[start : start + size])
    assert framed.number == 42
    assert framed.text() == "real"


@pytest.mark.parametrize("part", [b"9" * 1000, b"mark-x \n" * 100])
def test_mark_that_is_followed_by_no_number_for_ever_takes_no_memory(part: bytes) -> None:
    framed = FramedTail("mark-x", 100)
    framed.add(b"mark-x ")
    for _ in range(500):
        framed.add(part)
    assert framed.number is None
    assert len(framed._before) < 100
    assert len(framed.text()) <= MAX_NOISE_BYTES
