"""One command on a board over SSH: sent quoted, drained without deadlock, ended by the clock."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.errors import HostError, HostTimeout
from edgekd.hosts.link import paramiko
from edgekd.hosts.output import FramedTail
from edgekd.text import printable
from edgekd.units import text_from_s

_CHUNK_BYTES = 65536
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05
_SILENCE_S = 0.3
_STOP_TIMEOUT_S = 12.0
BROKEN = (paramiko.SSHException, EOFError, OSError)

# sshd makes each command the leader of a session, so everything it started carries its number as the session's; only
# where that is not so is the process alone ended. /proc/PID/stat reads 'pid (name) state parent group session …'.
_STOP_SCRIPT = """
leader=$1
members() {
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null < "$stat" || continue
    set -- ${line##*) }
    [ "$4" = "$leader" ] && [ "$1" != Z ] || continue
    pid=${stat#/proc/}; echo "${pid%/stat}"
  done
}
for signal in TERM KILL; do
  found=$(members)
  kill -s "$signal" $leader $found 2>/dev/null
  for pause in 1 2 3 4 5; do
    [ -z "$(members)" ] && ! kill -0 "$leader" 2>/dev/null && exit 0
    sleep 0.2 2>/dev/null || sleep 1
  done
done
exit 1
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended (None: by a signal) and the last part of what it said."""

    exit_status: int | None
    stdout: str
    stderr: str


def run_command(
    transport: paramiko.Transport,
    argv: Sequence[str],
    *,
    name: str,
    folder: str,
    timeout_s: float,
    max_output_bytes: int,
) -> Ended:
    """Run `argv` in `folder` on the board. Errors: HostTimeout with the command stopped; HostError for the link."""
    mark = f"edgekd-{secrets.token_hex(12)}"
    out, err = FramedTail(mark, max_output_bytes), FramedTail(mark, max_output_bytes)
    deadline = time.monotonic() + timeout_s
    channel: paramiko.Channel | None = None
    ended = False
    try:
        channel = transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        channel.exec_command(_command_line(argv, mark, folder))
        channel.shutdown_write()
        _pump(channel, out, err, deadline)
        ended = True
        status = channel.recv_exit_status()
        channel.close()
    except TimeoutError:
        raise HostTimeout(
            f"{name}: {printable(argv[0], 200)} did not end within {text_from_s(timeout_s)} and was stopped"
        ) from None
    except BROKEN as error:
        raise HostError(f"{name}: the link broke while a command ran ({_said(error)})") from None
    finally:
        if not ended and channel is not None and transport.is_active():
            _stop(transport, channel, out, err)
    if status == -1:
        _require_link(transport, name)
    if out.number is None:
        said = printable((out.text() + err.text()).strip(), 300) or "nothing"
        raise HostError(f"{name}: the login shell there did not start a command in {folder}; it said: {said}")
    return Ended(status if status >= 0 else None, out.text(), err.text())


def _command_line(argv: Sequence[str], mark: str, folder: str) -> str:
    """A line for any login shell, in which every word of `argv` is quoted and nothing is left to interpret."""
    script = (
        f"cd -- {shlex.quote(folder)} || exit 1; printf '{mark} %s\\n' $$; printf '{mark} %s\\n' $$ >&2; "
        f"exec {shlex.join(argv)} </dev/null"
    )
    return f"exec sh -c {shlex.quote(script)}"


def _pump(channel: paramiko.Channel, out: FramedTail, err: FramedTail, deadline: float) -> None:
    """Drain both streams until the command has ended. Errors: TimeoutError at the deadline."""
    pause_s, last_word = _SHORTEST_PAUSE_S, time.monotonic()
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError
        # Asked before draining, so that what came before the end is not lost.
        ended, whole = channel.exit_status_ready(), channel.eof_received or channel.closed
        if _drained(channel, out, err):
            pause_s, last_word = _SHORTEST_PAUSE_S, time.monotonic()
            continue
        # A process left in the background may hold the streams open for ever.
        if ended and (whole or time.monotonic() - last_word > _SILENCE_S):
            return
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _drained(channel: paramiko.Channel, out: FramedTail, err: FramedTail) -> bool:
    moved = False
    if channel.recv_ready():
        out.add(channel.recv(_CHUNK_BYTES))
        moved = True
    if channel.recv_stderr_ready():
        err.add(channel.recv_stderr(_CHUNK_BYTES))
        moved = True
    return moved


def _stop(transport: paramiko.Transport, running: paramiko.Channel, out: FramedTail, err: FramedTail) -> None:
    """End the command's whole session over a channel of its own; a link that breaks meanwhile changes nothing."""
    patience = time.monotonic() + _STOP_TIMEOUT_S
    try:
        # A command that just began has not yet said its number.
        while out.number is None and not running.closed and time.monotonic() < patience:
            if not _drained(running, out, err):
                time.sleep(_LONGEST_PAUSE_S)
        if out.number is not None:
            channel = transport.open_session(timeout=_STOP_TIMEOUT_S)
            channel.settimeout(_STOP_TIMEOUT_S)
            channel.exec_command(f"exec sh -c {shlex.quote(_STOP_SCRIPT)} sh {out.number}")
            channel.status_event.wait(_STOP_TIMEOUT_S)
            channel.close()
        running.close()
    except BROKEN:
        return


def _require_link(transport: paramiko.Transport, name: str) -> None:
    """A status of -1 means a signal or a lost link; only a new channel tells them apart."""
    try:
        transport.open_session(timeout=_STOP_TIMEOUT_S).close()
    except BROKEN as error:
        raise HostError(f"{name}: the link broke while a command ran ({_said(error)})") from None


def _said(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200)
