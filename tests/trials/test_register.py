from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from optuna.trial import TrialState

from edgekd.sizing.quality import CurvePoint
from edgekd.trials.plan import Plan
from edgekd.trials.register import Job, Outcome, Register

JOB = Job("L2-H32-A2-F64", 24, {"layers": 2, "hidden": 32})
CURVE = (CurvePoint(12, 1.5, 0.5), CurvePoint(24, 1.25, 0.625))
DONE = Outcome("finished", 3.5, 1.25, 0.625, CURVE, np.array([1.0, 1.5]))
Make = Callable[..., Register]


def test_an_outcome_is_read_by_every_worker(make_register: Make) -> None:
    one, other = make_register("one"), make_register("other")
    taken = one.take(JOB)
    assert taken is not None
    for point in CURVE:
        taken.report(point)
    taken.finish(DONE)
    (found,) = other.outcomes().values()
    assert found.losses.tolist() == [1.0, 1.5]
    assert (found.ended, found.seconds, found.loss, found.accuracy, found.curve) == (
        "finished",
        3.5,
        1.25,
        0.625,
        CURVE,
    )
    assert list(other.outcomes()) == [JOB.key]
    assert other.take(JOB) is None
    (trial,) = other.study.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 1.25
    assert trial.params == {"layers": 2, "hidden": 32, "steps": 24}
    assert trial.intermediate_values == {12: 1.5, 24: 1.25}


def test_a_trial_that_was_pruned_or_diverged_is_one_that_is_done(make_register: Make) -> None:
    register = make_register("one")
    for student, ended in (("a", "pruned"), ("b", "diverged")):
        taken = register.take(Job(student, 8))
        assert taken is not None
        taken.finish(Outcome(ended, 1.0, None, None, (), np.zeros(0)))
    assert [found.ended for found in register.outcomes().values()] == ["pruned", "diverged"]
    assert {trial.state for trial in register.study.get_trials()} == {TrialState.PRUNED}


def test_what_one_has_in_hand_no_other_gets(make_register: Make) -> None:
    one, other = make_register("one"), make_register("other")
    assert one.take(JOB) is not None
    assert other.take(JOB) is None
    assert other.take(Job(JOB.student, 72)) is not None


def test_of_many_at_once_one_gets_it(make_register: Make) -> None:
    workers = [make_register(f"worker{number}") for number in range(6)]
    for turn in range(5):
        ready, taken = threading.Barrier(len(workers)), []

        def reach(register: Register, job: Job, ready: threading.Barrier = ready, taken: list = taken) -> None:
            ready.wait()
            if register.take(job) is not None:
                taken.append(register.worker)

        threads = [threading.Thread(target=reach, args=(one, Job(f"s{turn}", 8))) for one in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        alive = [
            t
            for t in workers[0].study.get_trials()
            if t.user_attrs["student"] == f"s{turn}" and t.state != TrialState.FAIL
        ]
        assert [trial.user_attrs["worker"] for trial in alive] == taken


def test_a_worker_that_comes_back_takes_its_own_up_at_once(make_register: Make) -> None:
    first = make_register("one").take(JOB)
    assert first is not None
    first.report(CURVE[0])
    again = make_register("one").take(JOB)
    assert again is not None
    for point in CURVE:
        again.report(point)
    again.finish(DONE)
    (trial,) = make_register("other").study.get_trials()
    assert trial.intermediate_values == {12: 1.5, 24: 1.25}


def test_the_trial_of_a_dead_worker_is_taken_again_after_the_grace_period(make_register: Make) -> None:
    dead, heir = make_register("dead"), make_register("heir", grace_s=0.3)
    late = dead.take(JOB)
    assert late is not None
    heir.bury()
    assert heir.take(JOB) is None
    time.sleep(0.4)
    heir.bury()
    taken = heir.take(JOB)
    assert taken is not None
    late.finish(Outcome("finished", 9.0, 9.0, 0.1, (), np.array([9.0])))  # not dead after all: nobody hears it
    assert heir.outcomes() == {}
    taken.finish(DONE)
    assert [found.loss for found in heir.outcomes().values()] == [1.25]


def test_a_worker_at_work_is_not_taken_for_dead(make_register: Make) -> None:
    busy, looker = make_register("busy", beat_s=0.05), make_register("looker", grace_s=0.4)
    taken = busy.take(JOB)
    assert taken is not None
    with taken.working():
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            looker.bury()
            time.sleep(0.05)
        assert looker.take(JOB) is None
    taken.finish(DONE)
    assert list(looker.outcomes()) == [JOB.key]


def test_what_is_left_is_free_for_others(make_register: Make) -> None:
    one, other = make_register("one"), make_register("other")
    taken = one.take(JOB)
    assert taken is not None
    taken.leave()
    assert other.take(JOB) is not None


def test_all_follow_the_first_plan(make_register: Make) -> None:
    one, other = make_register("one"), make_register("other")
    assert one.known_plan() is None
    plan = Plan(("a", "b"), (8, 24), 2)
    assert one.plan(plan) == plan
    assert other.known_plan() == plan
    assert other.plan(Plan(("a", "c"), (10, 30), 3)) == plan
    assert other.outcomes() == {}


@pytest.mark.parametrize("steps", [8, 24])
def test_rungs_of_one_student_are_jobs_of_their_own(make_register: Make, steps: int) -> None:
    assert Job("a", steps).key == ("a", steps)
    register = make_register("one")
    taken = register.take(Job("a", steps))
    assert taken is not None
    taken.finish(DONE)
    assert list(register.outcomes()) == [("a", steps)]
