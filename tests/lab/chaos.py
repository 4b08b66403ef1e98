"""A TCP proxy on loopback that does to a connection what bad links do: slow, cut, silent, damaged.

It runs in this process and needs no root, so it works in any CI. With the same seed the same bytes meet the same fault;
how they are cut into packets is the kernel's matter. One thing it cannot do: this machine's kernel goes on to
acknowledge what was sent into a black hole, so a timeout on unacknowledged data does not see one. A network name space
that drops packets would.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_args

from edgekd.errors import InputError

Kind = Literal["reset", "close", "half-close", "blackhole", "flip"]
Direction = Literal["up", "down"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_CHUNK_BYTES, _QUEUED = 16384, 64
_END_S = 5.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Faults:
    """What a connection meets. `up` is from the client to the server.

    The first `refuse` connections are reset at once. After exactly `after_bytes` in `direction` comes the fault `kind`,
    on as many connections as `times` says (None: on all). reset and close end both ways, half-close one; after
    blackhole nothing passes and nothing is closed; flip turns one bit of the next byte.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    refuse: int = 0
    kind: Kind | None = None
    after_bytes: int = 0
    direction: Direction = "up"
    times: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_s <= self.delay_s:
            raise InputError(
                f"faults: the jitter is {self.jitter_s:g} s, expected at most the delay, {self.delay_s:g} s"
            )
        if self.after_bytes < 0 or self.refuse < 0 or (self.bytes_per_s is not None and self.bytes_per_s <= 0):
            raise InputError("faults: found a negative count or a rate of nothing, expected positive numbers")


NONE = Faults()


@dataclass(frozen=True)
class Event:
    """A fault that happened, on the connection `number` from 0, after `passed` bytes in its direction."""

    number: int
    kind: str
    passed: int


class ChaosProxy:
    """A listener whose connections go to `target` on loopback and meet `faults`; a context manager that ends all.

    `faults` may be replaced meanwhile, for connections to come; `strike` hits those that are open. `events` holds what
    happened, `passed` the bytes of all connections by direction, `connections` how many there were.
    """

    def __init__(self, target: int, faults: Faults = NONE, *, seed: int = 0) -> None:
        self.faults = faults
        self.events: list[Event] = []
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.connections = 0
        self.port = 0
        self._target = target
        self._seed = seed
        self._struck = 0
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def strike(self, kind: Kind, direction: Direction = "up") -> None:
        """Let every open connection meet the fault now, or, for flip, with its next byte in `direction`."""

        async def at_once() -> None:
            for link in list(self._links):
                link.strike(kind, direction)

        self._do(at_once())

    def cut(self) -> None:
        """Reset every connection, and at once those to come, until `mend`."""
        self._all_meet(Faults(refuse=sys.maxsize), "reset")

    def silence(self) -> None:
        """Let nothing arrive any more, over these connections and those to come, until `mend`."""
        self._all_meet(Faults(kind="blackhole"), "blackhole")

    def mend(self) -> None:
        """Connections to come meet no faults; those that there are end."""
        self._all_meet(NONE, "reset")

    def stop_listening(self) -> None:
        """Refuse connections to come for good, as a machine does where nothing listens; those that there are go on."""

        async def at_once() -> None:
            self._server.close()

        self._do(at_once())

    def _all_meet(self, faults: Faults, kind: Kind) -> None:
        self.faults = faults
        self.strike(kind)

    def _do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _end(self) -> None:
        self._server.close()
        for link in list(self._links):
            link.reset()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=_END_S)
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, faults = self.connections, self.faults
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if number < faults.refuse:
            _reset(writer)
            self.events.append(Event(number, "refuse", 0))
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, number, faults, {"up": writer, "down": back_writer})
        self._links.add(link)
        try:
            await link.run({"up": reader, "down": back_reader})
        finally:
            self._links.discard(link)

    def may_strike(self, faults: Faults) -> bool:
        """Whether one more connection is to meet the fault; asking counts."""
        if faults.kind is None or (faults.times is not None and self._struck >= faults.times):
            return False
        self._struck += 1
        return True

    def generator(self, number: int, direction: Direction) -> random.Random:
        """Chance of its own for each way of each connection, so that none depends on the others' traffic."""
        return random.Random(f"{self._seed}-{number}-{direction}")


class _Link:
    """One connection: two ways, each read by one task and written by another, so that a delay costs no throughput."""

    def __init__(
        self, proxy: ChaosProxy, number: int, faults: Faults, senders: dict[Direction, asyncio.StreamWriter]
    ) -> None:
        # The way up comes from the client's side and is written to the server's.
        self._writers: dict[Direction, asyncio.StreamWriter] = {"up": senders["down"], "down": senders["up"]}
        self._proxy, self._number, self._faults = proxy, number, faults
        self._passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._chance = {way: proxy.generator(number, way) for way in self._passed}
        self._pending: Direction | None = faults.direction if faults.kind is not None else None
        self._flips: set[Direction] = set()
        self._shut: set[Direction] = set()
        self._silent = False
        self._ended = asyncio.Event()

    async def run(self, readers: dict[Direction, asyncio.StreamReader]) -> None:
        ways: tuple[Direction, ...] = ("up", "down")
        passing = [asyncio.create_task(self._pass_on(way, readers[way])) for way in ways]
        ending = asyncio.create_task(self._ended.wait())
        left = {*passing}
        try:
            while left and not self._ended.is_set():
                done, _ = await asyncio.wait({*left, ending}, return_when=asyncio.FIRST_COMPLETED)
                left -= done
            if self._silent:
                await self._ended.wait()
        finally:
            for task in (*passing, ending):
                task.cancel()
            await asyncio.gather(*passing, ending, return_exceptions=True)
            for writer in self._writers.values():
                writer.close()

    def strike(self, kind: Kind, direction: Direction) -> None:
        """Do `kind` to the connection."""
        self._proxy.events.append(Event(self._number, kind, self._passed[direction]))
        if kind == "flip":
            self._flips.add(direction)
        elif kind == "blackhole":
            self._silent = True
        elif kind == "half-close":
            self._shut.add(direction)
            self._end_way(direction)
        elif kind == "reset":
            self.reset()
        else:
            self._ended.set()

    def reset(self) -> None:
        """End both ways by RST."""
        for writer in self._writers.values():
            _reset(writer)
        self._ended.set()

    async def _pass_on(self, way: Direction, reader: asyncio.StreamReader) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        reading = asyncio.create_task(self._read(way, reader, queue))
        clock, free = asyncio.get_running_loop().time, 0.0
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - clock()))
                if not data:
                    if not self._silent:
                        self._end_way(way)
                    return
                if self._faults.bytes_per_s is not None:
                    free = max(free, clock()) + len(data) / self._faults.bytes_per_s
                    await asyncio.sleep(free - clock())
                await self._write(way, data)
        except (ConnectionError, TimeoutError):
            self.reset()  # one side broke: the other is to know
        finally:
            reading.cancel()

    async def _read(
        self, way: Direction, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        faults, last = self._faults, 0.0
        while True:
            if self._silent:
                await self._ended.wait()
            try:
                data = await reader.read(_CHUNK_BYTES)
            except OSError:
                self.reset()
                return
            late_s = faults.delay_s + self._chance[way].uniform(-faults.jitter_s, faults.jitter_s)
            last = max(last, asyncio.get_running_loop().time() + late_s)  # a stream keeps its order
            await queue.put((last, data))
            if not data:
                return

    async def _write(self, way: Direction, data: bytes) -> None:
        """Send `data`, with the fault exactly where it is due."""
        left = self._faults.after_bytes - self._passed[way]
        if self._pending == way and left < len(data):
            self._pending = None
            if self._proxy.may_strike(self._faults) and self._faults.kind is not None:
                await self._send(way, data[:left])
                self.strike(self._faults.kind, way)
                data = data[left:]
        await self._send(way, data)

    async def _send(self, way: Direction, data: bytes) -> None:
        if not data or self._silent or way in self._shut or self._ended.is_set():
            return
        if way in self._flips:
            self._flips.remove(way)
            data = bytes([data[0] ^ 1 << self._chance[way].randrange(8)]) + data[1:]
        self._writers[way].write(data)
        await self._writers[way].drain()
        self._passed[way] += len(data)
        self._proxy.passed[way] += len(data)

    def _end_way(self, way: Direction) -> None:
        writer = self._writers[way]
        if writer.can_write_eof() and not writer.is_closing():
            try:
                writer.write_eof()
            except OSError:
                self.reset()


def _reset(writer: asyncio.StreamWriter) -> None:
    wire = writer.get_extra_info("socket")
    if wire is not None and not writer.is_closing():
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
