"""SSH servers that no sshd would be: ones that ask, ones that know only what is broken."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import paramiko

PROMPT = "\x1b[2J\x1b]0;owned\x07Give me your password: "


class Asking(paramiko.ServerInterface):
    """Allows `methods` of logging in; counts what was tried."""

    def __init__(self, methods: str, *, key_is_enough: bool = False, password: str | None = None) -> None:
        self.methods = methods
        self._password = password
        self.tried: list[str] = []
        self._key_is_enough = key_is_enough

    def get_allowed_auths(self, username: str) -> str:
        return self.methods

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.tried.append("publickey")
        if "publickey" not in self.methods:
            return paramiko.AUTH_FAILED
        return paramiko.AUTH_SUCCESSFUL if self._key_is_enough else paramiko.AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        self.tried.append("password")
        return paramiko.AUTH_SUCCESSFUL if password == self._password else paramiko.AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        self.tried.append("keyboard-interactive")
        return paramiko.InteractiveQuery("title", PROMPT, (PROMPT, False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self.tried.append(f"answered {responses}")
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self.tried.append(f"channel {kind}")
        return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


@contextlib.contextmanager
def stub_server(interface: Asking, **algorithms: tuple[str, ...]) -> Iterator[tuple[int, paramiko.PKey]]:
    """A server on loopback that takes connections until the end; `algorithms` are of paramiko's security options."""
    key = paramiko.ECDSAKey.generate(bits=256)
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    wire, _ = server.accept()
                except OSError:
                    return
                transport = paramiko.Transport(wire)
                transports.append(transport)
                transport.add_server_key(key)
                for name, values in algorithms.items():
                    setattr(transport.get_security_options(), name, values)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(server=interface)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], key
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(timeout=5)
            for transport in transports:
                transport.close()
                transport.join(5)
