"""How a run on a board stands: what its agent answers, and what follows from that.

    PREPARED -> RUNNING -> DONE                              the agent says so, and only DONE may become a record
                        -> EXITED, SIGNALED, OOM             the measuring process ended without a result
                        -> TIMEOUT, HUNG, CANCELLED          the agent ended it
                -> BUSY, DISK_FULL                           it could not begin, or could not write
    LOST, ORPHAN, REBOOTED, UNREACHABLE                      concluded here, when the agent cannot say anything any more

A process that is gone is told from one that lives by its number together with its start time and the board's boot: a
number alone is used again. An answer is believed only when it is framed by the question's own nonce and its own hash,
for a login shell may say anything before and after.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd.errors import HostError, RecordError, RunError
from edgekd.files import json_from_bytes, sha256_of_bytes
from edgekd.text import printable
from edgekd.units import text_from_s

GOING = ("PREPARED", "RUNNING")
FAILED = (
    "EXITED", "SIGNALED", "OOM", "TIMEOUT", "HUNG", "BUSY", "DISK_FULL", "CANCELLED",
    "LOST", "ORPHAN", "REBOOTED", "UNREACHABLE",
)  # fmt: skip
SAID = ("DONE", *FAILED[:8])
UNKNOWN = "UNKNOWN"
MAX_STATE_BYTES = 64 * 1024
QUIET_S = 30.0  # thirty beats: a board that is short of time for so long measures nothing worth keeping
_FRAME = re.compile(r"^EDGEKD1 ([0-9a-f]{16}) ([0-9]{1,7}) ([0-9a-f]{64})$", re.MULTILINE)

_Text = Annotated[str, Field(max_length=4000)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_WHAT = {
    "SIGNALED": "the measuring process was ended by signal {signal}",
    "OOM": "the board ran out of memory, and its kernel ended the measuring process",
    "TIMEOUT": "the run did not end within its time and was stopped",
    "HUNG": "no inference ended any more, and the run was stopped",
    "BUSY": "another measurement runs there",
    "DISK_FULL": "the board's disk is full",
    "CANCELLED": "the run was cancelled on the board",
    "LOST": "the run's processes are gone, and none of them could say why",
    "ORPHAN": "the process that watched the run is gone; what was left of it was ended, and the board is free",
    "REBOOTED": "the board was started anew while it measured",
    "UNREACHABLE": "the board does not answer",
}
_MEND = {
    "EXITED": "Read what it said, and run again",
    "SIGNALED": "Run again; signal 9 is most often for want of memory",
    "OOM": "End what else runs there, or measure a smaller model or batch",
    "TIMEOUT": "Measure for less time or fewer samples, or look whether the board is overloaded",
    "HUNG": "Look at the board: is it overloaded, or frozen? Then run again",
    "BUSY": "Run again when it has ended",
    "DISK_FULL": "Free some space there and run again",
    "CANCELLED": "Run again",
    "LOST": "Was it killed on the board, or for want of memory? Run again",
    "ORPHAN": "Was it killed on the board, or for want of memory? Run again",
    "REBOOTED": "Is its power supply strong enough? Run again",
    "UNREACHABLE": "Check the board and the network; the run goes on there, and the same command finds it again",
}  # fmt: skip


class Stated(BaseModel):
    """state.json as the agent wrote it: `beat` counts the writings, `steps` the inferences."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    run: _Text
    state: Annotated[str, Field(max_length=40)]
    beat: _Count
    boot_id: _Text | None
    pid: _Count
    session: _Count
    starttime: _Count | None
    steps: _Count = 0
    exit_status: int | None = None
    signal: Annotated[int, Field(ge=1, le=128)] | None = None
    message: _Text = ""
    error: dict[str, Any] | None = None
    holder: dict[str, Any] | None = None


class Answer(BaseModel):
    """What the agent says of a run now: facts, from which `conclusion` concludes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    run: _Text
    boot_id: _Text | None
    now_ns: _Count
    state: Stated | None
    damaged: _Text | None
    alive: bool
    left: _Count
    lock_free: bool | None


def answer_from_output(said: str, *, nonce: str, run: str, where: str) -> Answer:
    """The answer that stands framed in `said`. Errors: HostError when there is none, or it is not whole or not ours."""
    for frame in _FRAME.finditer(said):
        data = said[frame.end() + 1 :].encode()[: int(frame[2])]
        if frame[1] == nonce and sha256_of_bytes(data) == frame[3]:
            return _answer(data, run, where)
    noise = printable(said.strip()[-200:], 200) or "nothing"
    raise HostError(f"{where}: the agent's answer did not arrive; the board said: {noise}")


def _answer(data: bytes, run: str, where: str) -> Answer:
    try:
        answer = Answer.model_validate(json_from_bytes(data, where=where))
    except RecordError as error:
        raise RunError(f"{error}; the agent's answer is damaged", state=UNKNOWN) from None
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        found = printable(repr(first["input"]), 60)
        raise RunError(
            f"{where}: the agent's answer is not of this version: {place}: {first['msg']} (found {found})",
            state=UNKNOWN,
        ) from None
    if answer.run != run or (answer.state is not None and answer.state.run != run):
        raise RunError(f"{where}: the agent answered of another run than {run}", state=UNKNOWN)
    return answer


def conclusion(answer: Answer, *, quiet_s: float, where: str) -> str | None:
    """How the run ended, or None while it goes on; `quiet_s` is for how long its beat has not changed.

    Errors: RunError for a state that this version does not know: that is no success.
    """
    stated = answer.state
    if answer.damaged is not None:
        return "CORRUPT"
    if stated is None:
        return "LOST"
    if stated.state in SAID:
        return stated.state
    if stated.state not in GOING:
        raise RunError(f"{where}: the run is {printable(stated.state, 40)}, a state unknown here", state=UNKNOWN)
    if stated.boot_id != answer.boot_id:
        return "REBOOTED"
    if answer.alive:
        return "HUNG" if quiet_s > QUIET_S else None
    return "ORPHAN" if answer.left else "LOST"


def failure(state: str, answer: Answer | None, *, where: str, log: str = "") -> RunError:
    """The error for a run that ended in `state`; `log` is the last that it said."""
    stated = answer.state if answer is not None else None
    last = [line for line in log.splitlines() if line.strip()]
    said = f"; the last it said: {printable(last[-1], 300)}" if last else ""
    if stated is not None and stated.message:
        said += f" ({printable(stated.message, 300)})"
    if state == "EXITED":
        status = None if stated is None else stated.exit_status
        what = f"the agent failed with status {status}"
    else:
        what = _WHAT[state].format(signal=None if stated is None else stated.signal)
    if state == "SIGNALED" and stated is not None and stated.signal == 9:
        what += ", possibly out of memory"
    if state == "BUSY" and stated is not None:
        what += _held_by(stated.holder)
    return RunError(f"{where}: {what}{said}. {_MEND[state]}", state=state)


def _held_by(holder: dict[str, Any] | None) -> str:
    """Who has the board, in words; the board says it, so nothing of it is believed to be of any form."""
    if holder is None:
        return ""
    user, host, run = (printable(str(holder.get(name, "?")), 60) for name in ("user", "host", "run"))
    age = holder.get("age_s")
    since = f" for {text_from_s(age)}" if isinstance(age, int | float) and 0 < age < 1e9 else ""
    return f", of {user} on {host}{since} (run {run})"
