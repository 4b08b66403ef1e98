"""A TCP forwarder whose wire can be cut, silenced and mended."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


class Wire:
    """Forwards connections to 127.0.0.1:`target`. `cut` resets all and refuses new ones; `silence` swallows every byte."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._guard = threading.RLock()
        self._open, self._silent, self._ended = True, False, False
        self.connections = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join(timeout=10)
        self.cut()
        self._server.close()
        self._selector.close()

    def cut(self) -> None:
        """Reset every connection; new ones are reset at once until `mend`."""
        with self._guard:
            self._open = False
            for end in list(self._pairs):
                self._drop(end)

    def silence(self) -> None:
        """Everything stays connected, and nothing arrives any more."""
        self._silent = True

    def mend(self) -> None:
        """New connections work again; those that were silenced are reset."""
        self.cut()
        self._open, self._silent = True, False

    def _forward(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.05):
                with self._guard, contextlib.suppress(OSError):
                    if key.fileobj is self._server:
                        self._accept()
                    else:
                        self._move(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._server.accept()
        if not self._open:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._target))
        self.connections += 1
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, end: socket.socket) -> None:
        if end not in self._pairs:
            return
        try:
            data = end.recv(65536)
            if data and not self._silent:
                self._pairs[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        for one in (end, self._pairs.pop(end, end)):
            self._pairs.pop(one, None)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one)
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
