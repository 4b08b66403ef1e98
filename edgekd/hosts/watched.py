"""A connection that ends when the other side has said nothing for a while, though it was asked.

The kernel ends a connection whose data stay unacknowledged. Where something on the way acknowledges what never arrives,
or the server's process is frozen, only the server's own word tells; paramiko asks for it and counts no answers. What
comes in counts as life, whatever it is: on a slow line an answer waits behind what was sent before.

Source: RFC 4254, section 4: a request that nobody knows is answered, too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import paramiko
from cryptography.exceptions import InvalidTag
from paramiko.packet import Packetizer

SILENCE_S = 30.0  # as long as a transfer may stand still; six questions
# Seven times what anybody has to bear (RFC 4253, section 6.1: 35000 bytes); of data we let a server send 32 KiB in one.
MOST_PACKET_BYTES = 1 << 18
# These seal what they hide, which costs about a third less of our time than a MAC beside the cipher.
_SEALING = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_REQUEST = "keepalive@openssh.com"
_STEP_S = 1.0
_JOIN_S = 5.0


class Heard:
    """The socket or channel `wire`, and `at`, when anything last came from it, s of time.monotonic()."""

    def __init__(self, wire: socket.socket | paramiko.Channel) -> None:
        self.at = time.monotonic()
        self._wire = wire

    def recv(self, count: int) -> bytes:
        """As of a socket."""
        data = self._wire.recv(count)
        if data:
            self.at = time.monotonic()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)


class Bounded(Packetizer):
    """As paramiko's, but for a packet whose length cannot be true, and one whose seal is broken.

    The length of a packet is read before anything vouches for it, and paramiko would wait for, and keep, up to 4 GiB.
    """

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """The next `n` bytes. Errors: SSHException when a packet cannot be so long."""
        if n > MOST_PACKET_BYTES:
            raise paramiko.SSHException(f"a packet of {n} bytes, expected at most {MOST_PACKET_BYTES}")
        return super().read_all(n, check_rekey)

    def read_message(self) -> tuple[int, paramiko.Message]:
        """The next packet. Errors: SSHException for one that was changed on the way."""
        try:
            return super().read_message()
        except InvalidTag:
            raise paramiko.SSHException("Mismatched tag") from None


class Watched(paramiko.Transport):
    """As paramiko's; from `watch` on it closes itself after `silence_s` in which nothing came."""

    def __init__(self, wire: socket.socket | paramiko.Channel, *, disabled_algorithms: dict[str, list[str]]) -> None:
        self._heard = Heard(wire)
        self._watching: list[threading.Thread] = []
        self._over = threading.Event()
        # All that paramiko wants of a socket is there.
        super().__init__(self._heard, disabled_algorithms=disabled_algorithms, packetizer_class=Bounded)  # type: ignore[arg-type]
        options = self.get_security_options()
        options.ciphers = (*_SEALING, *(name for name in options.ciphers if name not in _SEALING))

    def watch(self, *, ask_s: float, silence_s: float) -> None:
        """Ask every `ask_s`, and close the connection after `silence_s` without a word."""
        for work, seconds in ((self._ask, ask_s), (self._look, silence_s)):
            thread = threading.Thread(target=work, args=(seconds,), name="edgekd-link", daemon=True)
            self._watching.append(thread)
            thread.start()

    def close(self) -> None:
        """As paramiko's, and nobody watches any more."""
        self._over.set()
        super().close()
        for thread in self._watching:
            if thread is not threading.current_thread():
                thread.join(timeout=_JOIN_S)

    def _ask(self, ask_s: float) -> None:
        # Sending may wait as long as nothing is taken, so somebody else looks.
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            while not self._over.wait(ask_s) and self.is_active():
                self.global_request(_REQUEST)

    def _look(self, silence_s: float) -> None:
        self._heard.at = time.monotonic()
        while self.is_active() and not self._over.wait(min(_STEP_S, silence_s)):
            if time.monotonic() - self._heard.at > silence_s:
                self.close()
                return
