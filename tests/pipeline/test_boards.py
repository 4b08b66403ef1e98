"""Several boards at once: real agents on this machine, each in a workspace of its own."""

from __future__ import annotations

import os
import platform
import queue
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import (
    EXIT_BUG,
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASS,
    EXIT_SECURITY,
    HostError,
    InputError,
    SecurityError,
)
from edgekd.hosts.target import Target
from edgekd.pipeline import boards as module
from edgekd.pipeline.boards import Result, bench_boards, exit_code_of, failure_lines, result_lines
from edgekd.pipeline.measure import BenchRequest, boards_of
from edgekd.record import LatencyRecord, read_record


class Heard:
    """A display that remembers."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, str, float | None]] = []
        self.ends: dict[str, tuple[str, bool]] = {}

    def update(self, name: str, text: str, share: float | None) -> None:
        self.updates.append((name, text, share))

    def end(self, name: str, text: str, *, well: bool) -> None:
        self.ends[name] = (text, well)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture
def request_for(model: Path, board: Any, bare_board: Any, tmp_path: Path) -> BenchRequest:
    """A local machine, two boards over SSH, and one that is off."""
    known = tmp_path / "known"
    lines = [f"[127.0.0.1]:{one.port} {one.public_host_key}\n" for one in (board, bare_board)]
    known.write_text("".join(lines))
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(f"""
hosts:
  one: {{url: "{board.url}", key: {board.key}, known_hosts: known, python: {sys.executable}, workspace: {tmp_path}/w1}}
  two: {{url: "{bare_board.url}", key: {bare_board.key}, known_hosts: known, python: {sys.executable}, workspace: {tmp_path}/w2}}
  dark: {{url: "ssh://u@127.0.0.1:1", key: {board.key}}}
  stranger: {{url: "{board.url}", key: {board.key}, known_hosts: nobody}}
groups: {{lab: [one, dark, two]}}
""")
    hosts.chmod(0o600)
    return BenchRequest(
        model=model, url="lab", key=None, known_hosts=None, python=None, out=tmp_path / "out", shapes=(), batch=1,
        sequence=16, inputs=None, id_limit=2, threads=1, processes=2, warmup="5 ms", duration="20 ms", samples=10,
        hosts=hosts,
    )  # fmt: skip


def test_each_board_that_is_there_gets_a_record_whatever_befalls_another(
    request_for: BenchRequest, tmp_path: Path
) -> None:
    heard = Heard()
    results = bench_boards(request_for, boards_of(request_for), heard)
    assert [result.board.name for result in results] == ["one", "dark", "two"]
    assert [result.exit_code for result in results] == [EXIT_PASS, EXIT_INFRASTRUCTURE, EXIT_PASS]
    assert exit_code_of(results) == EXIT_INFRASTRUCTURE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-one.json", "tiny-two.json"]
    for result in (results[0], results[2]):
        record = read_record(tmp_path / "out" / f"tiny-{result.board.name}.json")
        assert isinstance(record, LatencyRecord)
        assert record == result.record
        assert record.host.name == result.board.url.removeprefix("ssh://")
        assert len(record.runs) == 2
    assert {name: well for name, (_, well) in heard.ends.items()} == {"one": True, "dark": False, "two": True}
    assert ("one", "process 2 of 2", 1.0) in heard.updates
    assert [line for line in result_lines(results) if line.startswith("record ")] == [
        f"record {tmp_path / 'out' / 'tiny-one.json'}",
        f"record {tmp_path / 'out' / 'tiny-two.json'}",
    ]
    (failure,) = failure_lines(results)
    assert failure.startswith("edgekd: dark: ssh://127.0.0.1:1: nothing listens on port 1")


def test_boards_work_at_the_same_time_up_to_a_bound(request_for: BenchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    together, busy, most = threading.Barrier(2, timeout=20), [], []

    def bench_on(board: Target, *_: Any) -> Any:
        busy.append(board.name)
        most.append(len(busy))
        if board.name != "dark" and module.MOST_AT_ONCE > 1:
            together.wait()  # passes only when both are on their way at once
        busy.remove(board.name)
        raise HostError("measured enough")

    monkeypatch.setattr(module, "bench_on", bench_on)
    assert len(bench_boards(request_for, boards_of(request_for), Heard())) == 3
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    most.clear()
    assert len(bench_boards(request_for, boards_of(request_for), Heard())) == 3
    assert most == [1, 1, 1]


def test_bug_on_one_board_is_shown_whole_and_loses_no_record(
    request_for: BenchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = module.bench_on

    def bench_on(board: Target, *args: Any) -> Any:
        if board.name == "two":
            raise ZeroDivisionError("of ours")
        return measured(board, *args)

    monkeypatch.setattr(module, "bench_on", bench_on)
    results = bench_boards(request_for, boards_of(request_for), Heard())
    assert exit_code_of(results) == EXIT_BUG
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny-one.json"]
    said = failure_lines(results)
    assert "ZeroDivisionError: of ours" in said
    assert any("this is a bug in edgekd" in line for line in said)


def test_the_worst_end_speaks_for_all() -> None:
    board = Target("b", "local")

    def ended(*errors: Exception | None) -> int:
        return exit_code_of([Result(board, error=error) for error in errors])

    assert ended(None, None) == EXIT_PASS
    assert ended(None, InputError("x"), HostError("x")) == EXIT_INFRASTRUCTURE
    assert ended(HostError("x"), SecurityError("x"), InputError("x")) == EXIT_SECURITY


def test_board_that_is_not_the_device_it_is_called_is_not_measured(request_for: BenchRequest, tmp_path: Path) -> None:
    other = "generic-aarch64" if platform.machine() == "x86_64" else "generic-x86-64"
    assert request_for.hosts is not None
    text = request_for.hosts.read_text()
    request_for.hosts.write_text(text.replace("workspace:", f"device: {other}, workspace:", 1))
    asked = replace(request_for, url="one,dark")
    results = bench_boards(asked, boards_of(asked), Heard())
    assert "its processor is" in str(results[0].error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"out": Path("one.json")}, "expected a folder"),
        ({"duration": "2"}, "--duration"),
        ({"model": Path("no")}, "no"),
    ],
)
def test_wrong_request_is_refused_before_any_board_is_reached(
    request_for: BenchRequest, change: dict[str, Any], said: str
) -> None:
    heard = Heard()
    with pytest.raises(InputError, match=said):
        bench_boards(replace(request_for, **change), boards_of(request_for), heard)
    assert heard.updates == []


def test_ctrl_c_cancels_the_run_on_every_board_and_leaves_nothing_there(
    request_for: BenchRequest, tmp_path: Path
) -> None:
    works = [tmp_path / "w1", tmp_path / "w2"]

    def press_when_both_measure() -> None:
        while not pressed.wait(0.05):
            states = [path.read_text() for work in works for path in work.glob("runs/*/state.json")]
            if sum('"RUNNING"' in state for state in states) == 1 and len(states) == 2:
                pressed.set()
                os.kill(os.getpid(), signal.SIGINT)

    pressed, heard = threading.Event(), Heard()
    thread = threading.Thread(target=press_when_both_measure, daemon=True)
    thread.start()
    asked = replace(request_for, duration="60 s")
    try:
        results = bench_boards(asked, boards_of(asked), heard)
    finally:
        pressed.set()
        thread.join()
    assert [result.exit_code for result in results] == [EXIT_INTERRUPTED, EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED]
    assert exit_code_of(results) == EXIT_INTERRUPTED
    assert [name for name, text, _ in heard.updates if text == "stopping"]
    for name, line in zip(("one", "two"), (failure_lines(results)[0], failure_lines(results)[2]), strict=True):
        assert line.startswith(f"edgekd: {name}: ")
        assert "the run on the board was cancelled" in line
    assert [path for work in works for path in work.glob("runs/*")] == []
    assert list((tmp_path / "out").iterdir()) == []


def test_second_ctrl_c_leaves_the_runs_to_themselves_and_says_so() -> None:
    stop: threading.Event = threading.Event()
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for expected in (None, "goes on there, and the same command finds it"):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        if expected is None:
            assert module._next(said, stop) is None
            assert stop.is_set()
        else:
            with pytest.raises(KeyboardInterrupt, match=expected):
                module._next(said, stop)
        timer.join()
