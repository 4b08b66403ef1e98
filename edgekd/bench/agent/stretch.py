"""A stretch of one model alone, back to back, while a side process looks at the rails: what an inference takes of them.

In turns with a sentinel no rail can tell whose power it was, for rails give a few values a second. So on boards with
rails a stretch of the model alone follows the turns. The side process is forked before any session, while there are no
threads, and sleeps until the stretch begins: what is timed before does not notice it.

Units: seconds, watts.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

from .facts import read_int, read_text
from .forks import forked
from .steps import count
from .watch import last_words, move_aside, rails_w, watched_cores

PERIOD_S, LONGEST_PERIOD_S, SETTLE_S = 0.1, 1.0, 0.2
LEAST_LOOKS, MOST_LOOKS, LONGEST = 10, 512, 4


def update_s(root: str) -> float:
    """How long the slowest INA3221 takes for new values; 0 where it does not say.

    Source: Linux, Documentation/hwmon/ina3221.rst: update_interval, in milliseconds, of all channels and samples.
    """
    found = [
        read_int("%s/update_interval" % chip)
        for chip in Path(root + "sys/class/hwmon").glob("hwmon*")
        if read_text("%s/name" % chip) == "ina3221"
    ]
    return max([0, *(value for value in found if value is not None)]) / 1e3


class Meter:
    """The side process. `period_s` lies between two looks, `settle_s` after a change until the rails show it.

    `seen` is memory that both share, which counts the looks.
    """

    def __init__(self, pid: int, orders: int, answer: int, slowest_s: float, seen: mmap.mmap) -> None:
        self.pid, self.orders, self.answer, self.seen = pid, orders, answer, memoryview(seen).cast("Q")
        self.period_s = max(PERIOD_S, slowest_s)
        self.settle_s = SETTLE_S + slowest_s
        self.ended = False

    def begin(self) -> None:
        """Look from now on."""
        with contextlib.suppress(OSError):  # it died: its answer is then empty
            os.write(self.orders, b".")

    def end(self) -> List[Dict[str, Any]]:
        """Its looks {"at": CLOCK_MONOTONIC, "rails_w"}, and its end; none when it died or does not answer."""
        if self.ended:
            return []
        self.ended = True
        os.close(self.orders)
        return list(last_words(self.pid, self.answer) or [])


def ready(root: str) -> Optional[Meter]:
    """A side process that waits; None where no rail is measured, or so seldom that no stretch is long enough."""
    slowest_s = update_s(root)
    if not hasattr(os, "fork") or not rails_w(root) or slowest_s > LONGEST_PERIOD_S:
        return None
    cores, seen = watched_cores(), mmap.mmap(-1, mmap.PAGESIZE)
    from_parent, orders = os.pipe()

    def look() -> bytes:
        move_aside(cores)
        return json.dumps(looks(root, from_parent, max(PERIOD_S, slowest_s), memoryview(seen).cast("Q"))).encode()

    try:
        pid, answer = forked(look, not_its=[orders])
    except OSError:
        os.close(orders)
        return None
    finally:
        os.close(from_parent)
    return Meter(pid, orders, answer, slowest_s, seen)


@contextlib.contextmanager
def at_hand(root: str, wanted_s: float) -> Iterator[Optional[Meter]]:
    """A side process for the block, ended with it; None where no stretch is wanted or none can be measured."""
    meter = ready(root) if wanted_s > 0 else None
    try:
        yield meter
    finally:
        if meter is not None:
            meter.end()


def looks(root: str, orders: int, period_s: float, seen: Any) -> List[Dict[str, Any]]:
    """Wait for a word on `orders`, then look until its other end closes; `seen[0]` counts."""
    found = []  # type: List[Dict[str, Any]]
    if not os.read(orders, 1):
        return found
    due = time.monotonic()
    while len(found) < MOST_LOOKS:
        before = time.monotonic()
        rails = rails_w(root)
        found.append({"at": (before + time.monotonic()) / 2, "rails_w": rails})
        seen[0] = len(found)
        due = max(due + period_s, time.monotonic())
        if select.select([orders], [], [], max(0.0, due - time.monotonic()))[0]:
            break
    return found


def stretch(run: Callable[[], Any], meter: Meter, least_s: float, threads: int) -> Optional[Dict[str, Any]]:
    """`run` again and again for `least_s` and LEAST_LOOKS looks; None where the side process did not answer.

    Where the looks come late it takes longer, at most LONGEST times as long.
    The table is {"inferences", "lasted_s", "thread_s", "looks": [{"at_s", "rails_w"}]}, with `at_s` from the first
    inference. `thread_s` is for how long the thread had a processor; None where there are several `threads`.
    """
    settled = time.monotonic() + meter.settle_s
    while time.monotonic() < settled:
        run()
        count()
    meter.begin()
    begun, began_thread, inferences = time.monotonic(), time.thread_time(), 0
    least_s = max(least_s, LEAST_LOOKS * meter.period_s)
    while True:
        run()
        count()
        inferences += 1
        ended = time.monotonic()
        lasted_s = ended - begun
        if lasted_s >= LONGEST * least_s or (lasted_s >= least_s and meter.seen[0] >= LEAST_LOOKS):
            break
    thread_s = time.thread_time() - began_thread if threads == 1 else None
    seen = [one for one in meter.end() if begun <= one["at"] <= ended]
    table = [{"at_s": round(one["at"] - begun, 4), "rails_w": one["rails_w"]} for one in seen]
    if not table:
        return None
    return {"inferences": inferences, "lasted_s": lasted_s, "thread_s": thread_s, "looks": table}
