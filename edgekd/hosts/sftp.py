"""Files of a board by SFTP: nothing is read beyond a bound, no name comes from the board, nothing waits for ever."""

from __future__ import annotations

import contextlib
import math
import stat
import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

from edgekd.errors import HostError, HostTimeout, LinkLost, Stalled
from edgekd.hosts.link import BROKEN, paramiko
from edgekd.hosts.watch import STALL_S, Watch
from edgekd.text import printable
from edgekd.units import text_from_s

_OPEN_S = 20.0
_CHUNK_BYTES = 32768  # the largest that every SFTP server answers in one packet
# What is written at once fits into one packet of the channel, its head and that of SSH included: one byte more would
# need a second packet, and twice the work for each.
_WRITE_BYTES = 32640
# How many are on their way at once. The most are together the 2 MiB that OpenSSH takes before it says that it has read.
_FIRST_WRITES, _MOST_WRITES = 2.0, 64.0
_QUICK_S, _SLOW_S = 0.2, 1.0

# A server may answer what is no SFTP, or text that is no UTF-8, which paramiko passes on as errors of Python.
_ODD = (*BROKEN, paramiko.SFTPError, struct.error, ValueError)


class Sftp:
    """The file service at the other end of `transport`; paths there start from `folder`."""

    def __init__(self, name: str, transport: paramiko.Transport, folder: str, *, stall_s: float = STALL_S) -> None:
        self._name = name
        self._folder = folder
        self._transport = transport
        self._stall_s = stall_s
        self._client: paramiko.SFTPClient | None = None

    def offered(self) -> bool:
        """Whether the board offers SFTP at all. Errors: HostTimeout, LinkLost, HostError."""
        if self._client is not None:
            return True
        try:
            channel = self._transport.open_session(timeout=_OPEN_S)
        except paramiko.ChannelException as error:
            raise HostError(f"{self._name}: the board opens no further session ({_said(error)})") from None
        except BROKEN as error:
            raise LinkLost(f"{self._name}: the link broke ({_said(error)})") from None
        with Watch(channel.close, timeout_s=_OPEN_S) as watch:
            try:
                channel.invoke_subsystem("sftp")
                self._client = paramiko.SFTPClient(channel)
            except _ODD as error:
                channel.close()
                if watch.ran_out:
                    raise HostTimeout(f"{self._name}: SFTP did not answer within {text_from_s(_OPEN_S)}") from None
                if not self._transport.is_active():
                    raise LinkLost(f"{self._name}: the link broke ({_said(error)})") from None
                return False
        return True

    def send(self, stream: BinaryIO, place: str, start: int, *, timeout_s: float) -> None:
        """Write what `stream` gives behind the first `start` bytes of `place`, cutting off what is there.

        Errors: HostTimeout after `timeout_s`; Stalled when the board takes nothing for long; LinkLost; HostError.
        """
        with (
            self._watched(f"sending {place}", timeout_s) as (client, watch),
            client.open(self._at(place), "r+b" if start else "wb") as target,
        ):
            if start:
                target.truncate(start)
            _pour(client, target, stream, start, watch)

    def read(self, place: str, *, max_bytes: int, timeout_s: float) -> bytes:
        """The first `max_bytes` of `place` and, if there are more, one byte more; whatever size the board claims.

        Errors: HostError when it is missing or no regular file; HostTimeout, Stalled, LinkLost.
        """
        data = bytearray()
        with self._watched(f"reading {place}", timeout_s) as (client, _):
            # Opening a pipe or a device could wait for ever, and leave a process behind that does.
            regular = stat.S_ISREG(client.stat(self._at(place)).st_mode or 0)
        if not regular:
            raise HostError(f"{self._name}: {place} is no regular file, so it is not read")
        with (
            self._watched(f"reading {place}", timeout_s) as (client, watch),
            client.open(self._at(place), "rb") as source,
        ):
            while len(data) <= max_bytes:
                part = source.read(min(_CHUNK_BYTES, max_bytes + 1 - len(data)))
                if not part:
                    break
                data += part
                watch.moved()
        return bytes(data[: max_bytes + 1])

    def close(self) -> None:
        """Give up the channel; the next use opens another one."""
        if self._client is not None:
            with contextlib.suppress(*BROKEN):
                self._client.close()
            self._client = None

    def _at(self, place: str) -> str:
        return f"{self._folder}/{place}"

    @contextlib.contextmanager
    def _watched(self, what: str, timeout_s: float) -> Iterator[tuple[paramiko.SFTPClient, Watch]]:
        """The client, cut off after `timeout_s` or when nothing moves, whatever it does meanwhile."""
        client = self._client if self.offered() else None
        channel = client.get_channel() if client is not None else None
        if client is None or channel is None:
            raise HostError(f"{self._name}: offers no SFTP")
        watch = Watch(channel.close, timeout_s=timeout_s, stall_s=self._stall_s)
        try:
            with watch:
                yield client, watch
        except _ODD as error:
            broken = channel.closed or not self._transport.is_active() or not isinstance(error, OSError)
            if broken:
                self.close()
            if watch.ran_out:
                raise HostTimeout(f"{self._name}: {what} did not end within {text_from_s(timeout_s)}") from None
            if watch.stalled:
                raise Stalled(f"{self._name}: {what} has not moved for {text_from_s(self._stall_s)}") from None
            if broken:
                raise LinkLost(f"{self._name}: {what}: the link broke ({_said(error)})") from None
            raise HostError(f"{self._name}: {what} failed ({_said(error)})") from None


class _Writes:
    """Those that wait for their answer, whatever order answers come in; to paramiko's client it is their file.

    `most` may wait at once: more and more while answers come about as soon as the soonest one did, fewer when they come
    much later. So the line is never idle, and what is on its way when it is cut, and lost, is little.
    """

    def __init__(self) -> None:
        self.most = _FIRST_WRITES
        self.error: Exception | None = None
        self._began_s: deque[float] = deque()
        self._soonest_s = math.inf

    def __len__(self) -> int:
        return len(self._began_s)

    def begun(self) -> None:
        """One more is on its way."""
        self._began_s.append(time.monotonic())

    def _async_response(self, kind: int, message: paramiko.Message, _number: int) -> None:
        took_s = time.monotonic() - self._began_s.popleft()
        self._soonest_s = min(self._soonest_s, took_s)
        if took_s < self._soonest_s + _QUICK_S:
            self.most = min(self.most + 0.5, _MOST_WRITES)
        elif took_s > self._soonest_s + _SLOW_S:
            self.most = max(self.most - 0.5, _FIRST_WRITES)
        if kind != paramiko.sftp.CMD_STATUS:
            self.error = paramiko.SFTPError(f"an answer of kind {kind} to a write")
        elif message.get_int() != paramiko.sftp.SFTP_OK:
            self.error = self.error or OSError(message.get_text())


def _pour(client: Any, target: Any, stream: BinaryIO, start: int, watch: Watch) -> None:
    """Write what `stream` gives to `target` from its byte `start` on; each answer shows that the board takes it.

    paramiko's own pipelining stops for all answers from time to time, and knows none that come in another order than
    they were asked for. Its client has no public way to single answers, so what it uses itself is used here.
    Errors: OSError, SFTPError when an answer tells of a failure; as paramiko's for the link.
    """
    writes, at = _Writes(), start

    def take_answer() -> None:
        left = len(writes)
        client._read_response()  # noqa: SLF001
        if writes.error is not None:
            raise writes.error
        if len(writes) < left:  # an answer that nobody asked for shows nothing
            watch.moved()

    while data := stream.read(_WRITE_BYTES):
        place = paramiko.sftp.int64(at)
        writes.begun()
        client._async_request(writes, paramiko.sftp.CMD_WRITE, target.handle, place, data)  # noqa: SLF001
        at += len(data)
        while writes and (len(writes) >= writes.most or client.sock.recv_ready()):
            take_answer()
    while writes:
        take_answer()


def _said(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200)
