"""A TCP forwarder of the tests: it counts what passes, and cuts or stalls the way to the board at a chosen byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

CHUNK_BYTES = 16384


class Wire:
    """Forwards connections from `port` to `target` on loopback.

    `sent` and `received` count bytes to and from the board. Each of `cuts` holds for one connection, in order: it is
    reset after so many bytes to the board. `stall_after` stops taking bytes to the board for good, with the link up;
    `refuse` takes no connection after the present ones.
    """

    def __init__(self, target: int, *, cuts: tuple[int, ...] = (), stall_after: int | None = None) -> None:
        self.sent = 0
        self.received = 0
        self.connections = 0
        self.stall_after = stall_after
        self.refuse = False
        self._target = target
        self._cuts = list(cuts)
        self._open: list[socket.socket] = []
        self._closing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for one in (self._server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            cut = self._cuts.pop(0) if self._cuts else None
            threading.Thread(target=self._outward, args=(near, far, cut), daemon=True).start()
            threading.Thread(target=self._homeward, args=(near, far), daemon=True).start()

    def _outward(self, near: socket.socket, far: socket.socket, cut: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := near.recv(CHUNK_BYTES):
                if cut is not None and passed + len(data) > cut:
                    far.sendall(data[: cut - passed])
                    if self.refuse:
                        self._server.shutdown(socket.SHUT_RDWR)
                        self._server.close()
                    _reset(near)
                    break
                passed += len(data)
                self.sent += len(data)
                if self.stall_after is not None and self.sent > self.stall_after:
                    self._closing.wait()
                    return
                far.sendall(data)
        far.close()

    def _homeward(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(CHUNK_BYTES):
                self.received += len(data)
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)


def _reset(one: socket.socket) -> None:
    """Close with a reset, as a router does that lost its mind."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
