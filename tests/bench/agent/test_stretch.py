"""A model alone under the eyes of the rails: the looks are those of its time, and the side process always ends."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path

import pytest
from rails_board import CHIP, jetson
from staged_boards import stage

from edgekd.bench.agent import stretch
from edgekd.vitals import Stretch


def _busy() -> None:
    time.sleep(0.004)


def _ended(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_the_looks_are_those_of_the_stretch_and_follow_what_the_board_says(tmp_path: Path) -> None:
    with jetson(tmp_path, [4.0, 8.0]), stretch.at_hand(f"{tmp_path}/", 1.0) as meter:
        assert meter is not None
        time.sleep(0.3)  # nobody looks yet
        table = stretch.stretch(_busy, meter, 1.0, 1)
    found = Stretch.model_validate(table)
    assert 1.0 <= found.lasted_s < 4.1
    assert found.thread_s is not None
    assert found.thread_s < 0.5 * found.lasted_s  # it slept
    assert 0.3 * found.lasted_s < 0.004 * found.inferences <= found.lasted_s
    assert stretch.LEAST_LOOKS <= len(found.looks) <= 1 + 10 * found.lasted_s
    assert {look.rails_w["VDD_IN"] for look in found.looks} == {4.0, 8.0}
    assert set(found.looks[0].rails_w) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
    assert _ended(meter.pid)


def test_where_nothing_is_wanted_or_no_rail_is_measured_there_is_no_side_process(tmp_path: Path) -> None:
    with stretch.at_hand(f"{tmp_path}/", 1.0) as none:
        assert none is None
    with jetson(tmp_path / "jetson", [4.0]), stretch.at_hand(f"{tmp_path / 'jetson'}/", 0.0) as unwanted:
        assert unwanted is None


@pytest.mark.parametrize(("update_ms", "period_s"), [(0, 0.1), (40, 0.1), (400, 0.4), (1001, None)])
def test_rails_that_are_slow_are_looked_at_as_often_as_they_have_news(
    update_ms: int, period_s: float | None, tmp_path: Path
) -> None:
    chip = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 900}
    root = stage(tmp_path, {f"{CHIP}/{name}": value for name, value in {**chip, "update_interval": update_ms}.items()})
    with stretch.at_hand(root, 1.0) as meter:
        assert (meter and meter.period_s) == period_s
        assert meter is None or meter.settle_s == pytest.approx(0.2 + update_ms / 1e3)


def test_it_ends_with_a_block_that_fails_and_that_never_began_it(tmp_path: Path) -> None:
    with jetson(tmp_path, [4.0]):
        with pytest.raises(ZeroDivisionError), stretch.at_hand(f"{tmp_path}/", 1.0) as meter:
            raise ZeroDivisionError
        assert meter is not None
        assert _ended(meter.pid)
        assert meter.end() == []


def test_a_side_process_that_died_tells_nothing(tmp_path: Path) -> None:
    with jetson(tmp_path, [4.0]), stretch.at_hand(f"{tmp_path}/", 1.0) as meter:
        assert meter is not None
        os.kill(meter.pid, signal.SIGKILL)
        assert stretch.stretch(_busy, meter, 0.1, 2) is None


def test_it_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    with jetson(tmp_path, [4.0]):
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            meter = stretch.ready(f"{tmp_path}/")
            assert meter is not None
            os.write(tell, json.dumps(meter.pid).encode())
            time.sleep(60)
            os._exit(0)
        pid = int(os.read(told, 20))
        handle = os.pidfd_open(pid)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert select.select([handle], [], [], 10)[0], "the side process outlived its starter"
        for end in (handle, told, tell):
            os.close(end)


def test_a_board_with_no_room_for_one_more_process_is_measured_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with jetson(tmp_path, [4.0]):
        monkeypatch.setattr(os, "fork", full)
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert stretch.ready(f"{tmp_path}/") is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        monkeypatch.undo()
