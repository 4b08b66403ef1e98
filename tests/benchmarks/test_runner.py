"""The benchmarks of the runner: their arithmetic, that their faults repeat, and that their witness tells the truth."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "runner"))

import chaos
import overhead
import untrained
import upload
from loopback import Loopback, loopback

from edgekd.hosts.by_shell import ByShell
from tests.lab import sshd
from tests.lab.chaos import ChaosProxy


@pytest.fixture(scope="module")
def place() -> Iterator[Loopback]:
    if sshd.SSHD is None:
        pytest.skip("no sshd on this machine: install openssh-server to run the tests over SSH")
    with loopback() as opened:
        yield opened


def plan(**changed: float) -> Any:
    usual = {"processes": 1, "warmup_s": 0.0, "min_duration_s": 0.0, "min_samples": 5}
    return chaos.ShortPlan(**{**usual, **changed}, dims={"batch": 1, "sequence": 16})


def test_pairs_are_compared_pair_by_pair() -> None:
    pairs = overhead.Pairs([2.0, 12.0, 4.0], [1.0, 10.0, 3.5], [30.0, 50.0, 11.0], [20.0, 50.0, 10.0])
    found = pairs.numbers()
    assert (found["overhead_s"], found["overhead_low_s"], found["overhead_high_s"]) == (1.0, 0.5, 2.0)
    assert (found["latency_ratio"], found["latency_low"], found["latency_high"]) == (pytest.approx(1.1), 1.0, 1.5)


def test_rates_are_compared_pair_by_pair() -> None:
    found = upload.Upload(10, [2.0, 30.0, 4.0], [1.0, 10.0, 8.0], 1000, 20).numbers()
    assert (found["ratio"], found["low"], found["high"]) == (2.0, 0.5, 3.0)


def test_uploads_of_untrained_students_are_compared_pair_by_pair() -> None:
    slow, quick = [untrained.Sent(1000, s) for s in (8.0, 10.0, 30.0)], [untrained.Sent(10, s) for s in (4.0, 1.0, 1.0)]
    found = untrained.Turns("student", 990, slow, quick).numbers()
    assert (found["faster"], found["low"], found["high"]) == (10.0, 2.0, 30.0)
    assert (found["whole_bytes"], found["packed_bytes"]) == (1000, 10)


def test_a_file_is_sent_whole_and_compressed_and_removed_in_between(place: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(bytes(range(251)) * 8000)
    size = path.stat().st_size
    with ChaosProxy(place.board.port) as proxy, place.open("ways", port=proxy.port) as host:
        assert isinstance(host, ByShell)
        found = untrained.in_turns(host, proxy, "student", path, 2)
    assert all(one.sent_bytes > size for one in found.whole)
    assert all(one.sent_bytes < 0.05 * size for one in found.packed)
    assert len(found.whole) == len(found.packed) == 2


def test_random_weights_do_not_shrink(tmp_path: Path) -> None:
    values = np.zeros((300, 300), np.float32)
    tensor = numpy_helper.from_array(values, "w")
    path = tmp_path / "m.onnx"
    out = helper.make_tensor_value_info("out", 1, [300, 300])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["out"])], "g", [], [out], [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert 0.8 < untrained.random_weights(path)["shrinks_to"] < 1


def test_faults_repeat_with_the_seed_and_cover_a_whole_run() -> None:
    usual = {"up": 1000, "down": 500}
    drawn = [chaos.faults_of(0, number, usual) for number in range(400)]
    assert drawn == [chaos.faults_of(0, number, usual) for number in range(400)]
    assert drawn != [chaos.faults_of(1, number, usual) for number in range(400)]
    assert {one.kind for one in drawn} == set(chaos.KINDS)
    assert [one.times for one in drawn[:10]] == [1, 1, 1, 1, None, 1, 1, 1, 1, None]
    for way, most in usual.items():
        moments = [one.after_bytes for one in drawn if one.direction == way]
        assert min(moments) < 0.05 * most
        assert most < max(moments) < chaos.MORE * most


def outcome(**changed: Any) -> Any:
    usual = {
        "number": 0, "kind": "reset", "direction": "up", "after_bytes": 3, "permanent": False, "struck": 3,
        "end": "record", "message": "", "again": "", "took_s": 1.0, "wrong": False, "lost": False, "late": False,
        "lock_held": False, "processes_left": 0, "left_behind": 0,
    }  # fmt: skip
    return chaos.Outcome(**{**usual, **changed})


def test_everything_that_went_wrong_is_counted() -> None:
    outcomes = [
        outcome(),
        outcome(wrong=True, struck=None),
        outcome(lost=True, end="HostError", kind="flip"),
        outcome(late=True, lock_held=True, left_behind=2, end="HostError", took_s=70.0),
        outcome(kind="flip", permanent=True, processes_left=1, end="HostError", again="record"),
    ]
    found = chaos.summary(outcomes)
    assert [found[name] for name in ("wrong_samples", "lost_samples", "past_deadline", "locks_held")] == [1, 1, 1, 1]
    assert (found["faults_met"], found["runs_that_left_files"], found["slowest_s"]) == (4, 1, 70.0)
    assert (found["runs_with_processes_left"], found["found_again"]) == (1, 1)
    assert found["ends"] == {"HostError": 3, "record": 2}
    text = chaos.text_of(outcomes, plan(), 40, 0)
    rows = [line.replace(" ", "") for line in text.splitlines()]
    assert "|flip|1|0|" in rows
    assert "|flip,oneveryconnection|1|0|" in rows


def test_calm_run_brings_home_what_the_witness_saw(place: Loopback) -> None:
    found = chaos.run(place, 0, chaos.NONE, plan(), 40.0)
    assert (found.end, found.wrong, found.lost, found.late, found.lock_held) == ("record", False, False, False, False)
    assert len(list((place.folder / "witness/run-0/kept").iterdir())) == 1


def test_a_fault_that_does_not_come_again_ends_in_a_record_with_the_samples(place: Loopback) -> None:
    faults = chaos.Faults(kind="reset", after_bytes=200_000, direction="up", times=1)
    found = chaos.run(place, 5, faults, plan(), 40.0)
    assert (found.struck, found.end, found.again) == (200_000, "record", "")
    assert (found.wrong, found.lost, found.lock_held, found.processes_left) == (False, False, False, 0)


def test_a_fault_on_every_connection_ends_in_time_and_the_next_call_has_the_record(place: Loopback) -> None:
    faults = chaos.Faults(kind="close", after_bytes=50_000, direction="up")
    found = chaos.run(place, 6, faults, plan(patience_s=2.0), 40.0)
    assert (found.end, found.again, found.permanent) == ("RunError", "record", True)
    assert (found.wrong, found.lost, found.late, found.lock_held, found.processes_left) == (
        False, False, False, False, 0,
    )  # fmt: skip


def test_a_process_that_works_on_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "LOCK_PATIENCE_S", 0.1)
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        assert chaos._at_work(tmp_path) == 1
        process.kill()
    assert chaos._at_work(tmp_path) == 0


def test_samples_that_no_agent_wrote_are_found(place: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "samples_in", lambda kept: [(1, 2, 3)])
    assert chaos.run(place, 1, chaos.NONE, plan(), 40.0).wrong


def test_reset_before_the_greeting_ends_as_no_connection_and_nothing_was_lost(place: Loopback) -> None:
    faults = chaos.Faults(kind="reset", after_bytes=0, direction="down", times=1)
    found = chaos.run(place, 2, faults, plan(), 40.0)
    assert (found.struck, found.end, found.lost, found.lock_held) == (0, "ConnectError", False, False)


def test_lock_that_is_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(chaos, "LOCK_PATIENCE_S", 0.1)
    assert not chaos._is_held(tmp_path / "lock")
    with (tmp_path / "lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert chaos._is_held(tmp_path / "lock")
    assert not chaos._is_held(tmp_path / "lock")


def test_by_hand_and_by_edgekd_the_same_agent_runs(place: Loopback) -> None:
    pairs = overhead.both_ways(place, 1, plan(deadline_s=300.0))
    assert set(pairs) == {"here", "over SSH"}
    for found in pairs.values():
        assert len(found.runner_s) == len(found.hand_s) == 1
        assert min(*found.runner_ns, *found.hand_ns) > 0
    by_hand = place.workspace("ssh") / "by-hand"
    assert len(json.loads((by_hand / "result.json").read_text())["runs"]) == 1


def test_second_upload_sends_next_to_nothing(place: Loopback) -> None:
    found = upload.uploaded(place, upload.NONE, 2_000_000, 2)
    assert len(found.ours) == len(found.scp) == 2
    assert found.first_bytes > 2_000_000
    assert found.again_bytes < 5_000
    sent = {path.name: path.stat().st_size for path in place.workspace("upload").iterdir()}
    assert sent == dict.fromkeys(("file-0", "file-1", "once", "by-scp"), 2000000)


def test_board_is_gone_after_the_benchmark() -> None:
    with loopback() as place:
        port, folder = place.board.port, place.folder
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
