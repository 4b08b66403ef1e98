"""One run on a board that outlives the link: begin it, wait for it, bring it home, or say why there is nothing.

The agent on the board runs detached and needs nobody. Here it is asked over short channels, each of which ends when the
run does or after a few seconds; a link that breaks meanwhile is opened again, and the run does not notice. Whatever is
asked twice is the same as asked once: to begin a run that was begun tells how it stands.

Only fixed names are fetched, each within a bound. The run's folder on the board is removed when its end is known here.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekd.bench.journal import Kept
from edgekd.bench.payload import MAX_MANIFEST_BYTES, manifest_for
from edgekd.bench.reopen import lasting
from edgekd.bench.results import agent_error
from edgekd.bench.states import MAX_STATE_BYTES, Answer, answer_from_output, conclusion, failure
from edgekd.errors import ConnectError, Corrupt, DiskFull, EdgekdError, HostError, HostTimeout, LinkLost, RunError
from edgekd.files import json_text
from edgekd.hosts.base import Completed, Host
from edgekd.text import printable
from edgekd.units import text_from_s

MAX_LOG_BYTES = 4 << 20
_EXIT_NOT_FOUND = 127
_NO_ANSWER = "NO_ANSWER"  # never leaves this module: it ends as UNREACHABLE
_PAUSES_S = (1.0, 5.0)
_LONGEST_REPLY_S = 60.0
_OVER_S = 60.0  # what the agent may take beyond its own limit before it is taken to be stuck


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what: seconds.

    `wait_s` for the end of a run in one question, `reply_s` beyond that for the answer at first; `grace_s` after Ctrl-C
    for a second one, before the run is cancelled, and `cancel_s` for its end then.
    """

    wait_s: float = 8.0
    reply_s: float = 12.0
    grace_s: float = 1.0
    cancel_s: float = 10.0


class Interrupted(KeyboardInterrupt):
    """The user interrupted a run on a board; `goes_on` when it was left there to be found again."""

    def __init__(self, message: str, *, goes_on: bool) -> None:
        self.goes_on = goes_on
        super().__init__(message)


@dataclass
class Presses:
    """How often Ctrl-C was pressed."""

    number: int = 0


@contextlib.contextmanager
def _counted() -> Iterator[Presses]:
    """Count Ctrl-C while the block runs, each of them a KeyboardInterrupt as ever.

    A second one may come while the first still ends a question on the board, and would else be taken for the first.
    """
    presses, usual = Presses(), signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield presses
        return

    def press(_number: int, _frame: object) -> None:
        presses.number += 1
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, usual)


class DetachedRun:
    """The run named `run` on `host`, by the agent that lies at `agent` there; `where` begins every message."""

    def __init__(
        self, host: Host, agent: str, run: str, where: str, *, patience: Patience | None = None,
        now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.host, self.agent, self.run, self.where = host, agent, run, where
        self._patience = patience or Patience()
        self._now, self._sleep, self._reply_s = now, sleep, self._patience.reply_s
        self._beat, self._moved_s = -1, now()

    def result(self, orders: dict[str, Any], *, max_bytes: int, limit_s: float) -> Kept:
        """What the run measured by `orders`, begun now or before; its folder on the board is not yet removed.

        Errors: RunError by the state it ended in, after which nothing is left of it there, unless it is UNREACHABLE;
        Corrupt for a result that is not whole; InputError, HostError and MeasureError for what the agent found wrong.
        Interrupted after Ctrl-C.
        """
        with _counted() as presses:
            try:
                return self._home(orders, max_bytes, limit_s)
            except KeyboardInterrupt:
                raise self._interrupted(presses) from None

    def _home(self, orders: dict[str, Any], max_bytes: int, limit_s: float) -> Kept:
        """As result, but for Ctrl-C."""
        try:
            state, answer = self._ended(orders, limit_s)
            if state == "DONE":
                return self._collected(answer, max_bytes)
            error = self._failed(state, answer)
        except (Corrupt, DiskFull):
            self.remove()
            raise
        except HostError as lost:
            if isinstance(lost, RunError) and lost.state not in {"UNREACHABLE", _NO_ANSWER}:
                self.remove()
                raise
            said = str(lost).removeprefix(f"{self.where}: ")
            hint = f"Run {self.run} goes on there, and the same command finds it again"
            raise RunError(f"{self.where}: {said}. {hint}", state="UNREACHABLE") from None
        self.remove()
        raise error

    def remove(self) -> None:
        """Remove the run's folder from the board; one that cannot be reached keeps it."""
        for _ in range(2):  # the agent may just be clearing up there itself
            try:
                self.host.remove(f"runs/{self.run}")
            except RunError:
                return  # it was tried for long enough
            except HostError:
                continue
            return

    def _ended(self, orders: dict[str, Any], limit_s: float) -> tuple[str, Answer]:
        """The state that the run ended in, and the answer that says so."""
        data = json_text(orders).encode()
        lasting(self.host, lambda host: host.write(self._at("spec.json"), data))
        answer, begun_s = self._ask("launch", self._patience.wait_s), self._now()
        while (state := conclusion(answer, quiet_s=self._quiet_s(answer), where=self.where)) is None:
            if self._now() - begun_s > limit_s + _OVER_S:
                return "HUNG", answer
            answer = self._ask("state", self._patience.wait_s)
        return state, answer

    def _failed(self, state: str, answer: Answer) -> EdgekdError:
        """The error for the end in `state`, after what may be left of the run was ended."""
        if state in {"ORPHAN", "HUNG", "CORRUPT"}:
            self._ask("reap", 0.0)
        if state == "CORRUPT":
            return Corrupt(f"{self.where}: the run's state on the board is damaged ({answer.damaged}). Run again")
        if state == "EXITED" and answer.state is not None and answer.state.error is not None:
            return agent_error(answer.state.error, self.where)
        return failure(state, answer, where=self.where, log=self._log())

    def _quiet_s(self, answer: Answer) -> float:
        """For how long the run's beat has not changed, as far as answers tell."""
        beat = answer.state.beat if answer.state is not None else -1
        if beat != self._beat:
            self._beat, self._moved_s = beat, self._now()
        return self._now() - self._moved_s

    def _ask(self, command: str, wait_s: float) -> Answer:
        """The agent's answer to `command`, over as many links as it takes.

        A board that is short of memory may fail to start Python for a question, while its run goes on.
        """
        for pause_s in _PAUSES_S if command != "launch" else ():
            try:
                return lasting(self.host, lambda host: self._asked(host, command, wait_s))
            except RunError as error:
                if error.state != _NO_ANSWER:
                    raise
            self._sleep(pause_s)
        return lasting(self.host, lambda host: self._asked(host, command, wait_s))

    def _asked(self, host: Host, command: str, wait_s: float) -> Answer:
        nonce = secrets.token_hex(8)
        argv = [host.python, self.agent, command, self.run, nonce, f"{wait_s:g}"]
        try:
            done = host.run(argv, timeout_s=wait_s + self._reply_s, max_output_bytes=2 * MAX_STATE_BYTES)
        except HostTimeout:
            # A silent link looks like a board that is slow to start Python: the next time there is more time for that.
            self._reply_s = min(2 * self._reply_s, _LONGEST_REPLY_S)
            raise
        if done.exit_status:
            raise self._crash(done, "EXITED" if command == "launch" else _NO_ANSWER)
        return answer_from_output(done.stdout, nonce=nonce, run=self.run, where=self.where)

    def _crash(self, done: Completed, state: str) -> RunError:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        last = printable(said[-1], 300) if said else "nothing"
        if done.exit_status == _EXIT_NOT_FOUND:
            what = f"{done.argv[0]} cannot be started there ({last}). Name its Python: --python PATH"
        else:
            what = f"the agent failed with status {done.exit_status}; the last it said: {last}"
        return RunError(f"{self.where}: {what}", state=state)

    def _collected(self, answer: Answer, max_bytes: int) -> Kept:
        """The result, when it is whole. Errors: Corrupt; HostError when it is the link that broke, by whatever sign."""
        try:
            manifest = self.host.read(self._at("manifest.json"), max_bytes=MAX_MANIFEST_BYTES)
            result = self.host.read(self._at("result.json"), max_bytes=max_bytes)
        except (RunError, LinkLost, HostTimeout, ConnectError):
            raise
        except HostError as error:
            self._ask("state", 0.0)
            raise Corrupt(f"{self.where}: the process ended without a usable result ({error})") from None
        boot_id = answer.state.boot_id if answer.state is not None else None
        found = manifest_for(result, manifest, run=self.run, boot_id=boot_id, where=self.where)
        return Kept(result, found.samples)

    def _log(self) -> str:
        """The last that the run said; empty when it said nothing, or nothing can be fetched."""
        with contextlib.suppress(HostError):
            return self.host.read(self._at("agent.log"), max_bytes=MAX_LOG_BYTES).decode(errors="backslashreplace")
        return ""

    def _interrupted(self, presses: Presses) -> Interrupted:
        """After the first Ctrl-C: a second one leaves the run to itself, else it is cancelled."""
        left, asked = f"{self.where}: detached; run {self.run} goes on there. The same command finds it again", False
        late = self._now() + self._patience.grace_s + self._patience.cancel_s
        try:
            if presses.number < 2:
                self._sleep(self._patience.grace_s)
            if presses.number > 1:
                return Interrupted(left, goes_on=True)
            asked = True
            answer = self._asked(self.host, "cancel", self._patience.cancel_s)
            while answer.alive and self._now() < late:
                answer = self._asked(self.host, "state", max(0.0, late - self._now()))
        except KeyboardInterrupt:
            said = f"{self.where}: detached; run {self.run} was asked to end, and was not waited for"
            return Interrupted(said if asked else left, goes_on=not asked)
        except HostError as error:
            return Interrupted(f"{left}. It could not be cancelled ({error})", goes_on=True)
        if answer.alive:
            said = f"{self.where}: run {self.run} was asked to end and has not after "
            return Interrupted(f"{said}{text_from_s(self._patience.cancel_s)}", goes_on=False)
        self.remove()
        return Interrupted(
            f"{self.where}: interrupted, and the run on the board was cancelled; the same "
            "command goes on where this one stopped",
            goes_on=False,
        )

    def _at(self, name: str) -> str:
        return f"runs/{self.run}/{name}"
