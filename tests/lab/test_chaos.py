from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgekd.errors import InputError
from tests.lab.chaos import KINDS, ChaosProxy, Faults


class Echo:
    """A server that gives back what it gets, and keeps what it got and how each connection ended."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.got = bytearray()
        self.ends: list[str] = []
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        end = "closed"
        with wire:
            try:
                while data := wire.recv(65536):
                    self.got += data
                    wire.sendall(data)
            except ConnectionResetError:
                end = "reset"
            self.ends.append(end)
            self.ended.set()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.server.close()


def dial(proxy: ChaosProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def received(wire: socket.socket, count: int) -> bytes:
    """As much of `count` bytes as comes before the end."""
    data = bytearray()
    while len(data) < count and (part := wire.recv(count - len(data))):
        data += part
    return bytes(data)


def settled(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


BYTES = bytes(range(256)) * 400


def test_nothing_happens_to_bytes_without_a_fault(echo: Echo) -> None:
    with ChaosProxy(echo.port) as proxy, dial(proxy) as wire:
        sender = threading.Thread(target=wire.sendall, args=(BYTES,))
        sender.start()
        assert received(wire, len(BYTES)) == BYTES
        sender.join()
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(1) == b""
        assert proxy.events == []
        assert proxy.passed == {"up": len(BYTES), "down": len(BYTES)}
    assert echo.ends == ["closed"]


@pytest.mark.parametrize("kind", ["reset", "close", "half-close", "blackhole"])
@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_fault_comes_after_exactly_as_many_bytes(kind: Any, count: int, echo: Echo) -> None:
    with ChaosProxy(echo.port, Faults(kind=kind, after_bytes=count)) as proxy, dial(proxy) as wire:
        wire.sendall(BYTES)
        settled(lambda: proxy.events)
        if kind == "half-close":
            # The other way stays open, so all that arrived comes back, and then the end.
            assert received(wire, len(BYTES)) == BYTES[:count]
        if kind == "blackhole":
            settled(lambda: len(echo.got) == count)
            wire.settimeout(0.2)
            with pytest.raises(TimeoutError):
                received(wire, count + 1)
            assert not echo.ended.is_set()
        elif kind == "reset":
            with pytest.raises(ConnectionResetError):
                received(wire, len(BYTES))
        else:
            assert echo.ended.wait(10)
        assert bytes(echo.got) == BYTES[: len(echo.got)]
        assert proxy.events[0].passed == proxy.passed["up"] == count
        # What was on its way when a reset came may be lost, as on a real link.
        assert len(echo.got) <= count if kind == "reset" else len(echo.got) == count


def test_reset_reaches_the_server_as_one(echo: Echo) -> None:
    with ChaosProxy(echo.port) as proxy, dial(proxy) as wire:
        wire.sendall(b"x")
        assert received(wire, 1) == b"x"
        proxy.strike("reset")
        assert echo.ended.wait(10)
    assert echo.ends == ["reset"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_flip_turns_one_bit_of_one_byte_and_the_same_one_with_the_same_seed(direction: Any, echo: Echo) -> None:
    def answer(seed: int) -> bytes:
        faults = Faults(kind="flip", after_bytes=1000, direction=direction)
        with ChaosProxy(echo.port, faults, seed=seed) as proxy, dial(proxy) as wire:
            wire.sendall(BYTES[:5000])
            return received(wire, 5000)

    first = answer(1)
    wrong = [index for index, (sent, got) in enumerate(zip(BYTES, first, strict=False)) if sent != got]
    assert wrong == [1000]
    assert (first[1000] ^ BYTES[1000]).bit_count() == 1
    assert answer(1) == first
    assert len({answer(seed)[1000] for seed in range(12)}) > 1


def test_first_connections_are_refused_and_later_ones_served(echo: Echo) -> None:
    with ChaosProxy(echo.port, Faults(refuse=2)) as proxy:
        for _ in range(2):
            with pytest.raises(ConnectionResetError), dial(proxy) as wire:
                wire.recv(1)
        with dial(proxy) as wire:
            wire.sendall(b"hello")
            assert received(wire, 5) == b"hello"
        assert [(event.number, event.kind) for event in proxy.events] == [(0, "refuse"), (1, "refuse")]


def test_fault_meets_as_many_connections_as_asked(echo: Echo) -> None:
    with ChaosProxy(echo.port, Faults(kind="close", times=1)) as proxy:
        for expected in (b"", b"hello"):
            with dial(proxy) as wire:
                wire.sendall(b"hello")
                assert received(wire, 5) == expected
        assert len(proxy.events) == 1


def test_delay_and_rate_are_kept_in_both_directions(echo: Echo) -> None:
    with ChaosProxy(echo.port, Faults(delay_s=0.1, jitter_s=0.02)) as proxy, dial(proxy) as wire:
        for _ in range(2):
            start = time.monotonic()
            wire.sendall(b"ping")
            assert received(wire, 4) == b"ping"
            assert time.monotonic() - start > 0.16
    with ChaosProxy(echo.port, Faults(bytes_per_s=100_000)) as proxy, dial(proxy) as wire:
        start = time.monotonic()
        wire.sendall(BYTES[:30_000])
        assert received(wire, 30_000) == BYTES[:30_000]
        assert time.monotonic() - start > 0.3


def test_delay_keeps_the_order_and_costs_no_throughput(echo: Echo) -> None:
    with ChaosProxy(echo.port, Faults(delay_s=0.05, jitter_s=0.05), seed=3) as proxy, dial(proxy) as wire:
        start = time.monotonic()
        for index in range(40):
            wire.sendall(BYTES[index * 100 : index * 100 + 100])
        assert received(wire, 4000) == BYTES[:4000]
        assert time.monotonic() - start < 3  # 40 delays one after the other and back would be four seconds


def test_strike_hits_what_is_open_and_not_what_comes(echo: Echo) -> None:
    with ChaosProxy(echo.port) as proxy:
        with dial(proxy) as wire:
            wire.sendall(b"a")
            assert received(wire, 1) == b"a"
            proxy.strike("close")
            assert wire.recv(1) == b""
        with dial(proxy) as wire:
            wire.sendall(b"b")
            assert received(wire, 1) == b"b"


def test_black_hole_can_be_struck_and_the_end_of_the_proxy_ends_it(echo: Echo) -> None:
    with dial_through(echo) as (proxy, wire):
        proxy.strike("blackhole")
        wire.sendall(b"lost")
        wire.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.recv(1)
    assert echo.ended.wait(10)
    assert b"lost" not in echo.got


class dial_through:  # noqa: N801  reads as a function
    def __init__(self, echo: Echo) -> None:
        self.proxy = ChaosProxy(echo.port)

    def __enter__(self) -> tuple[ChaosProxy, socket.socket]:
        self.proxy.__enter__()
        self.wire = dial(self.proxy)
        self.wire.sendall(b"x")
        assert received(self.wire, 1) == b"x"
        return self.proxy, self.wire

    def __exit__(self, *error: object) -> None:
        self.proxy.__exit__(None, None, None)
        self.wire.close()


def test_server_that_is_gone_resets_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ChaosProxy(port) as proxy, pytest.raises(ConnectionResetError), dial(proxy) as wire:
        wire.recv(1)


def test_threads_and_sockets_are_gone_afterwards(echo: Echo) -> None:
    before = threading.active_count()
    for kind in KINDS:
        with ChaosProxy(echo.port, Faults(kind=kind)) as proxy, dial(proxy) as wire:
            wire.sendall(b"x")
            settled(lambda proxy=proxy: proxy.events)
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
    settled(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("wrong", [{"jitter_s": 1.0}, {"after_bytes": -1}, {"refuse": -1}, {"bytes_per_s": 0}])
def test_faults_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="faults: "):
        Faults(**wrong)
    assert ChaosProxy(1).faults == Faults()


def echoed(wire: socket.socket, data: bytes) -> bytes:
    wire.sendall(data)
    return wire.recv(100)


def test_a_proxy_that_is_cut_or_silenced_lets_nothing_through_until_it_is_mended(echo: Echo) -> None:
    with ChaosProxy(echo.port) as proxy:
        for harm, error in ((proxy.cut, ConnectionError), (proxy.silence, TimeoutError)):
            with dial(proxy) as before:
                assert echoed(before, b"one") == b"one"
                harm()
                with dial(proxy) as later:
                    for wire in (before, later):
                        wire.settimeout(0.3)
                        with pytest.raises(error):
                            echoed(wire, b"two")
            proxy.mend()
            with dial(proxy) as again:
                assert echoed(again, b"three") == b"three"
    assert b"two" not in echo.got


def test_a_proxy_that_listens_no_more_keeps_what_it_has(echo: Echo) -> None:
    with ChaosProxy(echo.port) as proxy, dial(proxy) as before:
        assert echoed(before, b"one") == b"one"
        proxy.stop_listening()
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
        assert echoed(before, b"two") == b"two"
