"""The process that outlives the link: it runs a measurement in a child, watches it, and writes how it ended.

It has no terminal and needs nobody: it takes the board's lock, beats once a second, ends the child at its limits, and
keeps enough space to say even that the disk is full. The measuring process has no thread or timer of its own for that.
After the child ended, whatever it left behind is ended too, and then the lock is given back.

A run ends in one of DONE, EXITED, SIGNALED, OOM, TIMEOUT, HUNG, BUSY, DISK_FULL and CANCELLED, unless the supervisor
did not live to say so. Limits are counted by CLOCK_MONOTONIC; the calendar of the board is never asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import processes
from .board_lock import LOCK, BoardLock, Lock
from .child import EXIT_DISK, Child
from .facts import system_root
from .failures import AgentError, first_line
from .folder import (
    CANCEL,
    ERROR,
    LOG,
    MANIFEST,
    NO_SPACE,
    OWN_LOCK,
    SPEC,
    STATE,
    State,
    folder_of,
    give_up_reserve,
    read_table,
    replace_file,
    reserve,
)
from .oom import oom_kills
from .steps import counted
from .tune import restore
from .work import EXIT_ERROR, LOCK_WAIT_S, read_spec

BEAT_S = 1.0
LOCK_STEP_S, LONGEST_STEP_S = 0.05, 0.5
TOTAL_S, STALL_S = 3600.0, 300.0
OWN_NICE = 5
Tell = Callable[[Dict[str, Any]], None]
Ending = Tuple[str, Dict[str, Any]]


class Supervisor:
    """One run, from its orders to its end. `tell` gets the first state, and the last one where it cannot be written."""

    def __init__(self, run: str, tell: Tell) -> None:
        self.run, self.folder, self.tell = run, folder_of(run), tell
        pid = os.getpid()
        known = {"run": run, "boot_id": processes.boot_id(), "pid": pid, "session": os.getsid(0)}
        self.state = State(self.folder, **known, starttime=processes.start_time(pid))
        self.stopped: Optional[str] = None

    def work(self) -> None:
        """Nothing happens when the run has another supervisor, or had one."""
        own = Lock("%s/%s" % (self.folder, OWN_LOCK))
        if not own.take() or Path(self.folder, STATE).exists():
            return
        signal.signal(signal.SIGTERM, self._stop)
        try:
            reserve(self.folder)
            self.state.write(state="PREPARED")
            self.tell(self.state.table)
            state, known = self.alone(read_spec("%s/%s" % (self.folder, SPEC)), own)
        except AgentError as error:
            state, known = "EXITED", {"exit_status": EXIT_ERROR, "error": error.table()}
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            state, known = "DISK_FULL", {"message": first_line(error)}
        self.end(state, known)

    def alone(self, spec: Dict[str, Any], own: Lock) -> Ending:
        """Wait for the board's lock, measure, and give it back."""
        lock = BoardLock()
        late = time.monotonic() + spec.get("lock_wait_s", LOCK_WAIT_S)
        due, step_s = time.monotonic() + BEAT_S, LOCK_STEP_S
        while not lock.take():
            now = time.monotonic()
            if self.cancelled():
                return "CANCELLED", {}
            if now >= late:
                return "BUSY", {"holder": lock.holder()}
            if now >= due:
                self.state.write()
                due = now + BEAT_S
            time.sleep(step_s)
            # Often at first, for a run that just ends; then seldom, for one that is not to be disturbed.
            step_s = min(1.5 * step_s, LONGEST_STEP_S)
        try:
            lock.sign(self.run)
            self.state.write(state="RUNNING")
            return self.measure(spec, own)
        finally:
            # A child that was ended could not put back what it tuned; one that ended by itself has left no journal.
            with contextlib.suppress(OSError):
                restore(system_root())
            lock.free()

    def measure(self, spec: Dict[str, Any], own: Lock) -> Ending:
        """One child from its start to its end."""
        kills = oom_kills()
        child = Child(self.folder, self.run, spec, own)
        # The child keeps the priority that the board gave us; to watch it is less urgent.
        with contextlib.suppress(OSError):
            os.nice(OWN_NICE)
        try:
            self.watch(child, spec)
        finally:
            self.end_all(child)
            child.close()
            with contextlib.suppress(OSError):
                self.keep_log(child)
        return self.judged(child, oom=oom_kills() > kills)

    def watch(self, child: Child, spec: Dict[str, Any]) -> None:
        """Wait for the end of `child`, or for a reason to end it; beat meanwhile. Errors: OSError on a full disk."""
        begun = moved = time.monotonic()
        due, steps = begun + BEAT_S, counted()
        while child.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            if counted() != steps:
                steps, moved = counted(), now
            if self.cancelled():
                return
            if now - begun > spec.get("total_s", TOTAL_S):
                self.stopped = "TIMEOUT"
                return
            if now - moved > spec.get("stall_s", STALL_S):
                self.stopped = "HUNG"
                return
            if now >= due:
                self.state.write(steps=steps)
                self.keep_log(child)
                due = max(due + BEAT_S, now)

    def judged(self, child: Child, *, oom: bool) -> Ending:
        """The end of the run from that of its child."""
        error = read_table("%s/%s" % (self.folder, ERROR))
        status = child.status or 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else (error or {}).get("signal")
        if self.stopped:
            return self.stopped, {}
        if number:
            return ("OOM" if oom and number == signal.SIGKILL else "SIGNALED"), {"signal": number}
        code = os.WEXITSTATUS(status)
        if code == EXIT_DISK:
            return "DISK_FULL", {"message": "the result could not be written"}
        if code == 0 and Path(self.folder, MANIFEST).exists():
            return "DONE", {}
        return "EXITED", {"exit_status": code, "error": error}

    def end(self, state: str, known: Dict[str, Any]) -> None:
        """Write the last state, on a full disk from the space that was kept for it; tell it where even that fails."""
        last = dict(known, state=state, steps=counted())
        try:
            self.state.write(**last)
        except OSError:
            give_up_reserve(self.folder)
            try:
                self.state.write(**last)
            except OSError:
                self.tell(dict(self.state.table, **last))
        give_up_reserve(self.folder)

    def end_all(self, child: Child) -> None:
        """End the child and whatever it started, wherever that went."""

        def in_session() -> List[int]:
            ended = child.reap()
            return processes.members(self.state.table["session"]) or ([] if ended else [child.pid])

        processes.end(in_session)
        child.reap()
        if not child.left_alone():
            processes.end(lambda: processes.of_run(self.run, LOCK))

    def keep_log(self, child: Child) -> None:
        """Errors: OSError on a full disk."""
        if child.said.changed:
            replace_file("%s/%s" % (self.folder, LOG), child.said.kept())

    def cancelled(self) -> bool:
        """Whether the run is to end for a reason of ours."""
        if self.stopped is None and Path(self.folder, CANCEL).exists():
            self.stopped = "CANCELLED"
        return self.stopped is not None

    def _stop(self, _number: int, _frame: Any) -> None:
        self.stopped = self.stopped or "CANCELLED"


def supervise(run: str, tell: Tell) -> None:
    """Take `run` to its end. A bug of ours ends it as EXITED, with the traceback as its log."""
    supervisor = Supervisor(run, tell)
    try:
        supervisor.work()
    except BaseException as error:  # noqa: BLE001  nobody is there to catch it; the state says it
        with contextlib.suppress(OSError):
            replace_file("%s/%s" % (supervisor.folder, LOG), traceback.format_exc().encode())
        supervisor.end("EXITED", {"exit_status": None, "message": "a bug of the agent: %s" % first_line(error)})
