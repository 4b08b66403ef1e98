"""Whatever is done to runs of one board in whatever order: one measures at a time, ends stay ends, and all is free after."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from workbench import Workbench, is_living, until

from edgekd.bench.states import GOING, SAID, conclusion

RUNS = st.integers(0, 2)
GOES_ON = "time.sleep(0.005)"


class Board(RuleBasedStateMachine):
    """Three runs on a board with the real agent, and what may befall them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="edgekd-order-")
        self.bench = Workbench(Path(self._folder.name) / "bench")
        self.bench.scripted(GOES_ON)
        self.ordered = [self.bench.order(min_duration_s=seconds, lock_wait_s=0.05) for seconds in (0.1, 60.0, 60.0)]
        self.begun: set[str] = set()
        self.ends: dict[str, str] = {}

    def _conclude(self, run: str) -> str | None:
        return conclusion(self.bench.ask("state", run), quiet_s=0, where="here")

    @rule(index=RUNS)
    def launch(self, index: int) -> None:
        run = self.ordered[index]
        self.bench.ask("launch", run)
        self.begun.add(run)

    @precondition(lambda self: self.begun)
    @rule(index=RUNS)
    def cancel(self, index: int) -> None:
        run = self.ordered[index]
        if run in self.begun:
            self.bench.ask("cancel", run, 10)
            assert self._conclude(run) is not None

    @precondition(lambda self: self.begun)
    @rule(index=RUNS)
    def kill_the_supervisor(self, index: int) -> None:
        pid = self.bench.stated(self.ordered[index]).get("pid")
        if pid and is_living(pid):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not is_living(pid), "its death")
            assert self._conclude(self.ordered[index]) in {"LOST", "ORPHAN", *SAID}

    @precondition(lambda self: self.begun)
    @rule(index=RUNS)
    def kill_the_child(self, index: int) -> None:
        run = self.ordered[index]
        pid = self.bench.stated(run).get("pid")
        for child in self.bench.children(run) if pid else []:
            os.kill(child, signal.SIGKILL)

    @precondition(lambda self: self.begun)
    @rule(index=RUNS)
    def reap(self, index: int) -> None:
        run = self.ordered[index]
        self.bench.ask("reap", run)
        if run in self.begun:
            assert self._conclude(run) is not None
            assert self.bench.processes(run) == []

    @invariant()
    def at_most_one_measures(self) -> None:
        measuring = [run for run in self.begun if self.bench.stated(run) and self.bench.children(run)]
        assert len(measuring) <= 1

    @invariant()
    def an_end_stays_an_end(self) -> None:
        for run in self.begun:
            state = self.bench.stated(run).get("state")
            assert state in {*GOING, *SAID, None}
            if run in self.ends:
                assert state == self.ends[run]
            elif state in SAID:
                self.ends[run] = str(state)

    def teardown(self) -> None:
        try:
            self.bench.close()
            assert all(not self.bench.processes(run) for run in self.begun)
            assert self.bench.lock_is_free()
        finally:
            self._folder.cleanup()


TestBoard = Board.TestCase
TestBoard.settings = settings(
    deadline=None, max_examples=4, stateful_step_count=6, derandomize=True, suppress_health_check=list(HealthCheck)
)
