"""A link on which nothing comes any more ends, though the kernel's acknowledgements go on; one that is idle stays."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ConnectError, HostError, LinkLost
from edgekd.hosts import hops, link, upload
from edgekd.hosts.base import Host
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.open import open_host
from tests.lab.chaos import ChaosProxy, Faults

SILENCE_S = 1.5


@pytest.fixture
def proxy(board: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChaosProxy]:
    monkeypatch.setattr(hops, "KEEPALIVE_S", 0.2)
    monkeypatch.setattr(hops, "SILENCE_S", SILENCE_S)
    with ChaosProxy(board.port) as opened:
        yield opened


def _opened(board: Any, proxy: ChaosProxy, folder: Path) -> Host:
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{proxy.port} {board.public_host_key}\n")
    url = f"ssh://{board.user}@127.0.0.1:{proxy.port}"
    return open_host(url, key=board.key, known_hosts=known, workspace=str(folder / "work"))


def test_a_command_that_says_nothing_is_not_taken_for_a_dead_link(
    board: Any, proxy: ChaosProxy, tmp_path: Path
) -> None:
    with _opened(board, proxy, tmp_path) as host:
        assert host.run(["sleep", str(2 * SILENCE_S)], timeout_s=60).exit_status == 0
    assert proxy.connections == 1


def test_a_link_that_swallows_everything_ends_long_before_the_commands_deadline(
    board: Any, proxy: ChaosProxy, tmp_path: Path
) -> None:
    with _opened(board, proxy, tmp_path) as host:
        proxy.strike("blackhole")
        begun = time.monotonic()
        with pytest.raises(LinkLost, match="the link broke"):
            host.run(["true"], timeout_s=600)
        assert time.monotonic() - begun < 60
        assert host.run(["true"], timeout_s=60).exit_status == 0


def test_an_upload_into_a_black_hole_goes_on_over_another_link(board: Any, proxy: ChaosProxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(2**21))
    proxy.faults = Faults(kind="blackhole", after_bytes=1_000_000, times=1)
    with _opened(board, proxy, tmp_path) as host:
        assert host.put(tmp_path / "file", "there")
    assert [event.kind for event in proxy.events] == ["blackhole"]
    assert (tmp_path / "work" / "there").read_bytes() == (tmp_path / "file").read_bytes()


def test_an_upload_into_black_holes_alone_ends_after_the_second(
    board: Any, proxy: ChaosProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_RETRY_S", 1.0)
    (tmp_path / "file").write_bytes(bytes(100_000))
    proxy.faults = Faults(kind="blackhole", after_bytes=20_000)
    begun = time.monotonic()
    with _opened(board, proxy, tmp_path) as host, pytest.raises(HostError):
        host.put(tmp_path / "file", "there", timeout_s=600)
    assert time.monotonic() - begun < 60
    assert len(proxy.events) == 2


def test_a_packet_that_claims_a_gigabyte_is_not_waited_for_nor_kept(tmp_path: Path) -> None:
    """Before any key is agreed on, so whoever answers in the board's place can send it."""
    sent = []

    def serve(server: socket.socket) -> None:
        wire, _ = server.accept()
        with wire, contextlib.suppress(OSError):
            wire.sendall(b"SSH-2.0-board\r\n" + struct.pack(">IB", 2**30 - 4, 4))
            while True:
                sent.append(wire.send(bytes(65536)))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(ConnectError, match=r"a packet of \d+ bytes, expected at most"):
            link.negotiated(SshAddress("127.0.0.1", server.getsockname()[1]), [])
        assert time.monotonic() - begun < link.CONNECT_TIMEOUT_S
        thread.join(timeout=30)
    assert sum(sent) < 2**24


@pytest.mark.parametrize("after_bytes", [4000, 4001, 4002, 4003, 4010, 4100])
def test_a_turned_bit_anywhere_in_a_sealed_packet_breaks_the_link_at_once(
    board: Any, proxy: ChaosProxy, tmp_path: Path, after_bytes: int
) -> None:
    with _opened(board, proxy, tmp_path) as host:
        transport = host._link.transport  # type: ignore[attr-defined]
        assert transport.remote_cipher == "aes128-gcm@openssh.com"
        proxy.faults = Faults(kind="flip", after_bytes=after_bytes, direction="down", times=1)
        transport.close()
        begun = time.monotonic()
        with contextlib.suppress(HostError):
            host.run(["sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"], timeout_s=60)
        assert [event.kind for event in proxy.events] == ["flip"]
        assert host.run(["true"], timeout_s=60).exit_status == 0
        assert time.monotonic() - begun < 30
