"""Several threads: what slowed a time's own sentinels is taken off it, as far as visits say that it slowed the time."""

import math
import random

import pytest

from edgekd.bench.several import by_the_wall, freed, least_s, steadiest
from edgekd.record import PairedRecord, PairedRun, Runtime

LEVEL_S = 1e-3
DISTURBED = (1.0, 1.3, 1.7, 2.0)


def run(model_s: list[float], sentinel_s: list[float]) -> PairedRun:
    model_ns, sentinel_ns = ([round(time_s * 1e9) for time_s in times] for times in (model_s, sentinel_s))
    return PairedRun(model_ns=model_ns, sentinel_ns=sentinel_ns, load_ns=1)


def visit(student_s: float, slower: float, shared: float, noise: random.Random | None = None) -> PairedRun:
    """Forty pairs on a board that is `slower`, of which the student takes the power `shared`."""

    def jitter() -> float:
        return 1 + (noise.random() * 0.02 if noise else 0.0)

    models = [student_s * slower**shared * jitter() for _ in range(40)]
    return run(models, [LEVEL_S * slower * jitter() for _ in range(41)])


def test_a_time_is_freed_of_what_the_faster_of_its_own_sentinels_was_slower() -> None:
    pairs = run([4e-3, 4e-3, 4e-3], [1e-3, 2e-3, 4e-3, 4e-3])
    assert [math.exp(value) for value in freed(pairs, LEVEL_S, 1.0)] == pytest.approx([4e-3, 2e-3, 1e-3])
    assert [math.exp(value) for value in freed(pairs, LEVEL_S, 0.5)] == pytest.approx([4e-3, 4e-3 / 2**0.5, 2e-3])
    assert [math.exp(value) for value in freed(pairs, LEVEL_S, 0.0)] == pytest.approx([4e-3] * 3)


@pytest.mark.parametrize("shared", [0.0, 0.35, 0.8, 1.0])
def test_how_much_of_the_disturbance_students_share_is_learnt_from_their_visits(shared: float) -> None:
    noise = random.Random(1)
    students = {"small": 2e-3, "large": 3e-2}
    runs = {name: [visit(time_s, slower, shared, noise) for slower in DISTURBED] for name, time_s in students.items()}
    found = steadiest(runs, dict.fromkeys(students, LEVEL_S), 0.5)
    assert found == pytest.approx(shared, abs=0.051)
    for name, time_s in students.items():
        assert least_s(runs[name], LEVEL_S, found)[0] == pytest.approx(time_s, rel=0.04)


def test_where_nothing_tells_the_usual_sensitivity_stays() -> None:
    once = {"a": [visit(2e-3, 1.7, 1.0)], "b": [visit(3e-3, 1.0, 1.0)]}
    assert steadiest(once, {"a": LEVEL_S, "b": LEVEL_S}, 0.4) == 0.4
    calm = {"a": [visit(2e-3, 1.0, 1.0)] * 3}
    assert steadiest(calm, {"a": LEVEL_S}, 0.4) == 0.4


def test_no_single_disturbed_sentinel_makes_a_time_too_small() -> None:
    sentinels = [LEVEL_S] * 41
    sentinels[10] = sentinels[20] = sentinels[30] = 5 * LEVEL_S
    assert least_s([run([6e-3] * 40, sentinels)], LEVEL_S, 1.0) == (pytest.approx(6e-3), 0.01)


def test_a_time_is_nearly_the_least_and_visits_that_differ_make_it_less_sure() -> None:
    alike = least_s([visit(5e-3, 1.0, 0.0)] * 4, LEVEL_S, 0.0)
    assert alike == (pytest.approx(5e-3), 0.01)
    # A core is taken in three of four visits, and no sentinel tells.
    time_s, error = least_s([visit(5e-3 * slower, 1.0, 0.0) for slower in (1.4, 1.0, 1.3, 1.35)], LEVEL_S, 0.0)
    assert time_s == pytest.approx(5e-3)
    assert error > 0.1


@pytest.mark.parametrize(("threads", "own", "expected"), [(2, False, True), (2, True, False), (1, False, False)])
def test_only_several_threads_without_times_of_their_own_are_told_by_the_wall(
    threads: int, own: bool, expected: bool
) -> None:
    times = {"model_ns": [4], "sentinel_ns": [1, 1], "load_ns": 1}
    own_times = {"model_thread_ns": [3], "sentinel_thread_ns": [1, 1]} if own else {}
    runtime = Runtime(name="onnxruntime", version="1", providers=["CPUExecutionProvider"], threads=threads)
    record = PairedRecord.model_construct(runtime=runtime, run=PairedRun(**times, **own_times))
    assert by_the_wall(record) is expected
