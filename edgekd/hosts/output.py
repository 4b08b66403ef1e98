"""What a command says, kept within bounds."""

from __future__ import annotations

MAX_NOISE_BYTES = 64 * 1024
_MAX_DIGITS = 19  # of the number of a process; the kernel's have at most 7


class Tail:
    """The last `max_bytes` of a stream, whatever its length."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        """Take the next part of the stream."""
        self._kept += data
        if len(self._kept) > 2 * self._max_bytes:
            self._trim()

    def text(self) -> str:
        """The kept part as text; bytes that are no UTF-8 stay visible as escapes."""
        self._trim()
        return self._kept.decode("utf-8", errors="backslashreplace")

    def _trim(self) -> None:
        excess = len(self._kept) - self._max_bytes
        if excess > 0:
            del self._kept[:excess]


class FramedTail:
    """A Tail that begins after a line 'MARK NUMBER': what a login shell prints before our command is left out."""

    def __init__(self, mark: str, max_bytes: int) -> None:
        self.number: int | None = None
        self._mark = mark.encode() + b" "
        self._noise = Tail(MAX_NOISE_BYTES)
        self._before = bytearray()
        self._tail = Tail(max_bytes)

    def add(self, data: bytes) -> None:
        """Take the next part of the stream."""
        if self.number is not None:
            self._tail.add(data)
            return
        self._before += data
        # What follows the mark is the board's word: it may be no number, or one without an end.
        while (start := self._before.find(self._mark)) >= 0:
            first = start + len(self._mark)
            end = self._before.find(b"\n", first, first + _MAX_DIGITS + 1)
            if end < 0 and len(self._before) - first <= _MAX_DIGITS:
                return
            word = bytes(self._before[first : max(end, first)])
            if word.isdigit():
                self.number = int(word)
                self._tail.add(bytes(self._before[end + 1 :]))
                self._before.clear()
                return
            self._noise.add(bytes(self._before[:first]))
            del self._before[:first]
        self._give_up_noise()

    def text(self) -> str:
        """What followed the mark, or, when it never came, what was said instead."""
        if self.number is not None:
            return self._tail.text()
        self._noise.add(bytes(self._before))
        self._before.clear()
        return self._noise.text()

    def _give_up_noise(self) -> None:
        keep = len(self._mark)
        if len(self._before) > keep:
            self._noise.add(bytes(self._before[:-keep]))
            del self._before[:-keep]
