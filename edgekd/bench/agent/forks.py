"""A forked process that answers once, through a pipe."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Callable, NoReturn, Sequence, Tuple


def forked(work: Callable[[], bytes], not_its: Sequence[int] = ()) -> Tuple[int, int]:
    """Let a new process write what `work` gives, and end; the ends of pipes `not_its` are closed in it.

    Returns its number and the end to read its answer from: nothing where `work` failed, which it says on stderr.
    Errors: OSError where the system has no room for one more process; no pipe is left open then.
    """
    from_child, to_parent = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(from_child)
        os.close(to_parent)
        raise
    if not child:
        _answer(work, to_parent, (from_child, *not_its))
    os.close(to_parent)
    return child, from_child


def _answer(work: Callable[[], bytes], to_parent: int, not_its: Sequence[int]) -> NoReturn:
    """Nothing leaves this but the end of the process: a forked process must never return into its parent's code."""
    status = 1
    try:
        for end in not_its:
            os.close(end)
        answer = work()
        try:
            with os.fdopen(to_parent, "wb") as stream:
                stream.write(answer)
            status = 0
        except BrokenPipeError:
            # Who asked has ended. What it said last tells why, so nothing may be said after it.
            status = 2
    except BaseException:  # noqa: BLE001  see above
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
