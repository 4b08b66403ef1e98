"""How many inferences were made, for whoever watches: a number in memory that a process shares with its children.

Counting takes tens of nanoseconds and stands between two timed inferences, never inside one.
"""

from __future__ import annotations

import mmap

_CELL = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")


def count() -> None:
    """One more inference was made."""
    _CELL[0] += 1


def counted() -> int:
    """How many were made so far, here and in the children of this process."""
    return _CELL[0]
