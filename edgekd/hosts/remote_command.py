"""One command on a board over SSH: sent quoted, drained without deadlock, ended by the clock."""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Sequence
from typing import BinaryIO

from edgekd.errors import HostError, HostTimeout, LinkLost, Stalled
from edgekd.hosts.board_scripts import STOP
from edgekd.hosts.by_shell import Ended
from edgekd.hosts.link import BROKEN, paramiko
from edgekd.hosts.output import FramedTail
from edgekd.text import printable
from edgekd.units import text_from_s

_CHUNK_BYTES = 65536
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05
_SILENCE_S = 0.3
_STOP_TIMEOUT_S = 12.0
# A server tells what a command took in steps of many packets, which need their time on a slow line.
_FEED_STALL_S = 120.0
_READ_OTHERWISE = re.compile(rb"""[^\x20-\x7e]|[!"$%'\\`]""")


class Feed:
    """What a command gets as its input, at the pace at which it takes it."""

    def __init__(self, stream: BinaryIO, stall_s: float = _FEED_STALL_S) -> None:
        self.whole = False
        self._stream = stream
        self._stall_s = stall_s
        self._waiting = b""
        self._last = time.monotonic()

    def give(self, channel: paramiko.Channel) -> bool:
        """Send what `channel` takes now; whether it took anything. Errors: Stalled when it takes nothing for long."""
        if self.whole:
            return False
        if not channel.send_ready():
            if time.monotonic() - self._last > self._stall_s:
                raise Stalled
            return False
        self._waiting = self._waiting or self._stream.read(_CHUNK_BYTES)
        self._last = time.monotonic()
        if not self._waiting:
            self.whole = True
            channel.shutdown_write()
            return True
        self._waiting = self._waiting[channel.send(self._waiting) :]
        return True


def run_command(
    transport: paramiko.Transport,
    argv: Sequence[str],
    *,
    name: str,
    folder: str,
    timeout_s: float,
    max_output_bytes: int,
    feed: Feed | None = None,
) -> Ended:
    """Run `argv` in `folder` on the board, its input being `feed` or empty.

    Errors: HostTimeout with the command stopped; Stalled when it takes no input; LinkLost; HostError.
    """
    mark = f"edgekd-{secrets.token_hex(12)}"
    out, err = FramedTail(mark, max_output_bytes), FramedTail(mark, max_output_bytes)
    deadline = time.monotonic() + timeout_s
    said = printable(argv[0], 200)
    channel: paramiko.Channel | None = None
    ended = False
    try:
        channel = transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        channel.exec_command(_command_line(argv, mark, folder, fed=feed is not None))
        if feed is None:
            channel.shutdown_write()
        _pump(channel, out, err, deadline, feed)
        ended = True
        status = channel.recv_exit_status()
        channel.close()
    except Stalled:
        raise Stalled(f"{name}: {said} there has taken no data for a long time, and was stopped") from None
    except TimeoutError:
        raise HostTimeout(f"{name}: {said} did not end within {text_from_s(timeout_s)} and was stopped") from None
    except BROKEN as error:
        raise LinkLost(f"{name}: the link broke while a command ran ({_said(error)})") from None
    finally:
        if not ended and channel is not None and transport.is_active():
            _stop(transport, channel, out, err)
    if status == -1:
        _require_link(transport, name)
    if out.number is None:
        noise = printable((out.text() + err.text()).strip(), 300) or "nothing"
        # The home is there wherever a login succeeds; another folder may have vanished, as the shell says then.
        hint = ". Does one of its start-up files, such as ~/.bashrc, end it, replace it or lose the PATH to sh?"
        raise HostError(
            f"{name}: the login shell there did not start a command in {folder}; it said: {noise}"
            f"{hint if folder == '.' else ''}"
        )
    return Ended(status if status >= 0 else None, out.data(), err.data())


def _command_line(argv: Sequence[str], mark: str, folder: str, *, fed: bool) -> str:
    """A line for any login shell, in which every word of `argv` is quoted and nothing is left to interpret."""
    script = (
        f"cd -- {shlex.quote(folder)} || exit 1; printf '{mark} %s\\n' $$; printf '{mark} %s\\n' $$ >&2; "
        f"exec {shlex.join(argv)}{'' if fed else ' </dev/null'}"
    )
    return line_for_any_shell(script)


def line_for_any_shell(script: str, *words: str) -> str:
    """A line that makes any login shell run `script` by sh, with plain `words` of ours as its arguments.

    Single quotes are not enough: csh looks for '!' and for the end of the line in them, fish for some backslashes. So
    what any of them, or printf in sh, might read otherwise is written as its octal number.
    """
    inert = _READ_OTHERWISE.sub(lambda found: b"\\%03o" % found[0][0], script.encode()).decode("ascii")
    return " ".join(["exec sh -c", f"""'eval "$(printf "{inert}")"'""", "sh", *words])


def _pump(
    channel: paramiko.Channel, out: FramedTail, err: FramedTail, deadline: float, feed: Feed | None = None
) -> None:
    """Drain both streams until the command has ended, and feed it. Errors: TimeoutError at the deadline; Stalled."""
    pause_s, last_word = _SHORTEST_PAUSE_S, time.monotonic()
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError
        # Asked before draining, so that what came before the end is not lost.
        ended, whole = channel.exit_status_ready(), channel.eof_received or channel.closed
        fed = feed is not None and not ended and feed.give(channel)
        if _drained(channel, out, err):
            last_word = time.monotonic()
            fed = True
        if fed:
            pause_s = _SHORTEST_PAUSE_S
            continue
        # A process left in the background may hold the streams open for ever.
        if ended and (whole or time.monotonic() - last_word > _SILENCE_S):
            return
        if ended:
            time.sleep(pause_s)
        # What the command says is looked for in steps; its end ends the waiting at once.
        elif channel.status_event.wait(pause_s):
            pause_s = _SHORTEST_PAUSE_S
            continue
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
            channel.exec_command(line_for_any_shell(STOP, str(out.number)))
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
        raise LinkLost(f"{name}: the link broke while a command ran ({_said(error)})") from None


def _said(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200)
