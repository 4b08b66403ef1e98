from __future__ import annotations

import pytest

from edgekd.hosts.output import FramedTail, Tail


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
