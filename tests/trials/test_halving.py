from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker import PLAN, STUDENTS, learn, losses_at

from edgekd.sizing.quality import CurvePoint
from edgekd.trials.halving import Halving
from edgekd.trials.register import Job, Outcome, Register
from edgekd.trials.storage import Place

BEST = sorted(STUDENTS, key=lambda name: STUDENTS[name])
Make = Callable[..., Register]


def halving(register: Register, train: Any, over: Callable[[], bool] = lambda: False) -> Halving:
    return Halving(PLAN, {}, register, train, over, look_s=0.01)


def quick(job: Job, every: int, go_on: Any) -> Outcome:
    return learn(job, every, go_on, step_s=0)


def test_the_best_third_is_trained_on_and_keeps_its_order(make_register: Make) -> None:
    run = halving(make_register("one"), quick)
    found = run.run()
    assert set(found) == set(STUDENTS)
    assert sorted(name for name, tried in found.items() if tried.steps > 80) == sorted(BEST[:3])
    assert not run.cut
    best = found[BEST[0]]
    assert (best.rung, best.steps, best.ended) == (1, 240, "finished")
    assert best.losses == pytest.approx(losses_at(BEST[0], 240), abs=1e-5)
    assert [point.step for point in best.curve] == list(range(20, 241, 20))
    for name in BEST[1:3]:
        assert found[name].ended in ("finished", "pruned")
    for name in BEST[3:]:
        assert found[name].ended in ("halved", "pruned")
        assert found[name].rung == (0 if found[name].ended == "halved" else None)


def test_a_curve_that_cannot_reach_the_others_is_ended_early(make_register: Make) -> None:
    found = halving(make_register("one"), quick).run()
    early = {name for name, tried in found.items() if tried.ended == "pruned" and tried.rung is None}
    assert early
    assert not early & set(BEST[:3])
    assert all(found[name].steps < 80 for name in early)
    late = {name for name, tried in found.items() if tried.ended == "pruned"} - early
    assert BEST[0] not in late
    assert all(80 < found[name].steps < 240 for name in late)
    assert all(found[name].losses == pytest.approx(losses_at(name, 80), abs=1e-5) for name in late)


def test_what_was_done_before_is_not_done_again(make_register: Make) -> None:
    first = halving(make_register("one"), quick).run()

    def refuse(job: Job, every: int, go_on: Any) -> Outcome:
        raise AssertionError(job)

    again = halving(make_register("two"), refuse).run()
    assert {n: (t.rung, t.ended, t.loss) for n, t in again.items()} == {
        n: (t.rung, t.ended, t.loss) for n, t in first.items()
    }


def test_when_time_is_up_the_last_whole_rung_counts(make_register: Make) -> None:
    calls: list[Job] = []

    def train(job: Job, every: int, go_on: Any) -> Outcome | None:
        calls.append(job)
        if len(calls) == 11:  # the second one of the second rung
            go_on([CurvePoint(20, 1.0, 0.5)], losses_at(job.student, 20))
            return None
        return quick(job, every, lambda *_: True)

    run = halving(make_register("one"), train, over=lambda: len(calls) >= 11)
    found = run.run()
    assert run.cut
    assert {tried.rung for tried in found.values()} == {0}
    assert sorted(name for name, tried in found.items() if tried.ended == "cut") == sorted(BEST[:3])
    assert found[BEST[0]].losses == pytest.approx(losses_at(BEST[0], 80), abs=1e-5)


def test_a_first_rung_that_is_not_whole_compares_those_that_were_tried(make_register: Make) -> None:
    calls: list[Job] = []

    def train(job: Job, every: int, go_on: Any) -> Outcome:
        calls.append(job)
        return quick(job, every, lambda *_: True)

    found = halving(make_register("one"), train, over=lambda: len(calls) >= 4).run()
    assert list(found) == list(STUDENTS)[:4]
    assert {tried.rung for tried in found.values()} == {0}


def test_a_training_that_diverges_is_out(make_register: Make) -> None:
    def train(job: Job, every: int, go_on: Any) -> Outcome:
        if job.student == BEST[0]:
            return Outcome("diverged", 0.0, None, None, (), np.zeros(0))
        return quick(job, every, go_on)

    found = halving(make_register("one"), train).run()
    assert found[BEST[0]].ended == "diverged"
    assert found[BEST[0]].rung is None
    assert sorted(name for name, tried in found.items() if tried.steps > 80) == sorted(BEST[1:4])


def test_an_error_of_the_training_is_told_and_the_trial_taken_up_again(make_register: Make) -> None:
    def fail(job: Job, every: int, go_on: Any) -> Outcome:
        raise MemoryError

    with pytest.raises(MemoryError):
        halving(make_register("one"), fail).run()
    assert len(halving(make_register("one"), quick).run()) == len(STUDENTS)


class Workers:
    """Processes that share a study."""

    def __init__(self, folder: Path, place: Place, study: str) -> None:
        self.log, self._where, self._study = folder / "log", str(place.journal or place.url), study

    def start(self, name: str, grace_s: float = 30) -> subprocess.Popen[str]:
        driver = Path(__file__).with_name("worker.py")
        argv = [sys.executable, driver, self._where, self._study, name, self.log, str(grace_s)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def made(self) -> list[tuple[str, str, int]]:
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def workers(tmp_path: Path, place: Place) -> Workers:
    return Workers(tmp_path, place, tmp_path.name)


def decided(process: subprocess.Popen[str]) -> dict[str, list[Any]]:
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    table: dict[str, list[Any]] = json.loads(told)
    return table


def test_two_processes_share_the_work_and_decide_the_same(workers: Workers) -> None:
    one, other = [decided(process) for process in [workers.start("one"), workers.start("other")]]
    assert one == other
    assert one[BEST[0]] == [1, "finished"]
    made = Counter((student, steps) for _, student, steps in workers.made())
    assert set(made.values()) == {1}, "an outcome was made twice"
    assert len(made) == 12
    assert len({name for name, _, _ in workers.made()}) == 2


def test_a_worker_killed_is_replaced_by_another_and_by_itself(workers: Workers) -> None:
    """Only what the worker made last, and had perhaps not recorded when it was killed, may be made a second time."""
    first = workers.start("first", grace_s=2)
    while len(workers.made()) < 2:
        time.sleep(0.005)
    time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _, *unsure = workers.made()[-1]
    heir = workers.start("heir", grace_s=2)
    while len(workers.made()) < 5:
        time.sleep(0.005)
    again = workers.start("first", grace_s=2)
    assert decided(heir) == decided(again)
    made = Counter((student, steps) for _, student, steps in workers.made())
    assert len(made) == 12
    assert made.total() <= len(made) + 1
    assert {step for step, times in made.items() if times > 1} <= {tuple(unsure)}
    assert {name for name, _, _ in workers.made()} == {"first", "heir"}
