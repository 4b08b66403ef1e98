from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from every import everyone

from edgekd.device import DeviceProfile
from edgekd.errors import MeasureError, SpecError
from edgekd.recipe import Search
from edgekd.sizing.forecast import Measurement
from edgekd.sizing.limits import tail_factor
from edgekd.sizing.search import Sizing, size
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import Candidate, StudentSpec

SPACE = Space(layers=[1, 2, 3, 4, 5, 6], hidden=[64, 128, 192, 256, 320, 384], ffn_ratio=[1.0, 2.0, 4.0])


def sized(teacher: StudentSpec, profile: DeviceProfile, measure: Any, **changes: Any) -> Sizing:
    sla = changes.pop("sla", {"latency": {"p95": "5 ms"}})
    settings = {"precisions": ["fp32"], "batch": 1, "sequence": 64, "threads": 1, **changes}
    space, search = settings.pop("space", SPACE), settings.pop("search", Search())
    return size(teacher, space, Sla.model_validate(sla), profile, search, measure=measure, **settings)


def truly_fitting(found: Sizing, board: Any, limit_s: float, precision: str = "fp32") -> list[str]:
    factor = tail_factor(0.95, 0.03)
    return [s.name for s in everyone(found.students) if board.true_s(Candidate(s.spec, precision)) * factor <= limit_s]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit_ms", [1.0, 3.0, 8.0])
def test_chosen_student_truly_fits_and_is_nearly_the_best_that_does(
    teacher: StudentSpec,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
    seed: int,
    limit_ms: float,
) -> None:
    board = make_board(noise=0.01, seed=seed)
    found = sized(teacher, make_profile(), board, sla={"latency": {"p95": f"{limit_ms} ms"}})
    assert found.chosen is not None
    fitting = truly_fitting(found, board, limit_ms * 1e-3 * 1.02)
    assert found.chosen.name in fitting
    best = max(student.capacity for student in everyone(found.students) if student.name in fitting)
    assert found.chosen.capacity >= 0.7 * best
    assert found.obstacle is None


def test_measuring_stays_within_its_allowance(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    for seed in range(5):
        board = make_board(noise=0.05, seed=seed)
        found = sized(teacher, make_profile(), board, search=Search(calibrate=6, finalists=2))
        assert len(found.calibrated) == 6
        assert len(found.finalists) <= 6
        once = set(found.calibrated) | set(found.finalists)
        assert {name.removesuffix("-fp32") for name in board.measured} == once
        assert len(found.measurements) == len(once)


def test_calibration_students_are_the_same_in_every_run(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    runs = [sized(teacher, make_profile(), make_board(noise=0.05, seed=seed)).calibrated for seed in range(3)]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_wild_calibration_measurement_is_repeated_and_does_not_mislead(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], factor: float
) -> None:
    calm = sized(teacher, make_profile(), make_board(noise=0.005), search=Search(calibrate=8))
    victim = f"{calm.calibrated[3]}-fp32"
    board = make_board(noise=0.005, wild={victim: factor})
    found = sized(teacher, make_profile(), board, search=Search(calibrate=8))
    assert victim in found.repeated
    assert board.measured.count(victim) == 3
    truth = next(board.true_s(c) for s in everyone(found.students) for c in s.candidates if c.name == victim)
    assert found.measurements[victim].latency_s == pytest.approx(truth, rel=0.05)
    assert found.chosen is not None
    assert found.chosen.name in truly_fitting(found, board, 5e-3 * 1.02)


def test_student_fits_when_one_of_its_precisions_does(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.003)
    found = sized(teacher, make_profile(), board, precisions=["fp32", "int8"])
    assert found.chosen is not None
    assert found.fitting == ["int8"]
    assert found.chosen.name in truly_fitting(found, board, 5e-3 * 1.02, "int8")
    assert found.chosen.name not in truly_fitting(found, board, 5e-3)
    assert set(found.fits) == {"fp32", "int8"}
    assert len([name for name in found.measurements if name.endswith("-int8")]) == len(found.measurements) / 2


def test_memory_limit_binds_on_measured_memory(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.003)
    found = sized(teacher, make_profile(), board, sla={"latency": {"p95": "1 s"}, "memory": "85 MB"})
    assert found.chosen is not None
    assert board.true_memory_bytes(Candidate(found.chosen.spec)) <= 85e6
    larger = [s for s in everyone(found.students) if s.capacity > 1.3 * found.chosen.capacity]
    assert all(board.true_memory_bytes(Candidate(s.spec)) > 83e6 for s in larger)


def test_device_that_is_too_small_is_a_limit_of_its_own(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    found = sized(teacher, make_profile(memory="60 MB"), make_board())
    assert found.chosen is None
    assert found.obstacle is not None
    assert found.obstacle.impossible == ["memory of test"]


def test_size_limit_binds_on_the_exported_file(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    found = sized(teacher, make_profile(), make_board(), sla={"size": "6 MB"})
    assert found.chosen is not None
    size_bytes = found.measurements[f"{found.chosen.name}-fp32"].size_bytes
    assert size_bytes is not None
    assert 4.5e6 < size_bytes <= 6e6


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_on_energy_binds_on_what_the_rails_told(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], seed: int
) -> None:
    board = make_board(noise=0.01, seed=seed, watts=4.0)
    found = sized(teacher, make_profile(), board, sla={"energy": "12 mJ"})
    assert found.chosen is not None
    measured = found.measurements[f"{found.chosen.name}-fp32"]
    assert measured.energy is not None
    assert measured.energy[2] <= 12e-3
    able = [s.capacity for s in everyone(found.students) if board.true_j(Candidate(s.spec)) <= 12e-3 * 0.97]
    assert found.chosen.capacity >= 0.9 * max(able)
    assert "keep energy within 12.0 mJ" in found.reason
    impossible = sized(teacher, make_profile(), board, sla={"energy": "100 uJ"})
    assert impossible.obstacle is not None
    assert impossible.obstacle.text.startswith("No student keeps energy")
    assert "whose energy is up to" in impossible.obstacle.text


def test_a_limit_on_energy_without_a_rail_chooses_nobody(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    found = sized(teacher, make_profile(), make_board(), sla={"latency": {"p95": "5 ms"}, "energy": "12 mJ"})
    assert found.chosen is None
    assert found.obstacle is not None
    assert found.obstacle.text.startswith("Undecided: nothing is known about energy")


def test_without_a_limit_on_size_the_most_capable_student_is_chosen(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    found = sized(teacher, make_profile(), make_board(), sla={"accuracy": 0.9})
    assert found.chosen is not None
    assert found.chosen.name == teacher.name
    assert "limits neither" in found.reason


def test_impossible_latency_is_an_obstacle_and_no_exception(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.002)
    space = Space(layers=[2, 3, 4], hidden=[64, 128])
    found = sized(teacher, make_profile(), board, space=space, sla={"latency": {"p95": "100 us"}})
    assert found.chosen is None
    obstacle = found.obstacle
    assert obstacle is not None
    assert (obstacle.limit, obstacle.limit_value) == ("latency.p95", pytest.approx(1e-4))
    assert obstacle.impossible == ["latency.p95"]
    assert obstacle.certain
    assert obstacle.measured
    assert obstacle.student == "L2-H64-A2-F1536"
    smallest = next(s for s in everyone(found.students) if s.name == obstacle.student)
    assert obstacle.value == pytest.approx(board.true_s(Candidate(smallest.spec)) * 1.082, rel=0.03)
    assert obstacle.ratio == pytest.approx(obstacle.value / 1e-4)
    assert "raise latency.p95 from 100" in obstacle.text
    assert "layers below 2" in obstacle.text
    assert "int8" in obstacle.text


def test_limits_that_exclude_each_other_are_told_apart_from_impossible_ones(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    # A board on which small files are slow, so that each limit can be kept but never both.
    def measure(candidates: Sequence[Candidate]) -> dict[str, Measurement]:
        found = {}
        for candidate in candidates:
            layers = candidate.spec.layers
            found[candidate.name] = Measurement(
                1e-2 / layers, 0.01, 0.99e-2 / layers, 1.01e-2 / layers, None, 10**6 * layers
            )
        return found

    space = Space(layers=[1, 2, 4, 6])
    found = sized(teacher, make_profile(), measure, space=space, sla={"latency": {"p50": "3 ms"}, "size": "2.5 MB"})
    assert found.obstacle is not None
    assert found.obstacle.impossible == []
    assert found.obstacle.certain
    assert "each alone" in found.obstacle.text


def test_refused_small_students_are_named_as_a_way_out(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    space = Space(layers=[1, 6], hidden=[32, 384], ffn=[64], min_share=0.1)
    found = sized(teacher, make_profile(), make_board(), space=space, sla={"latency": {"p95": "50 us"}})
    assert found.obstacle is not None
    assert "lower space.min_share, which refused" in found.obstacle.text


def test_one_student_is_measured_and_judged_without_a_fit(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board()
    found = sized(teacher, make_profile(), board, space=Space(layers=[1], hidden=[64], ffn=[64]))
    assert found.chosen is not None
    assert found.fits["fp32"].latency is None
    assert board.measured == ["L1-H64-A2-F64-fp32"]


def test_prediction_alone_chooses_by_the_upper_end_of_the_roofline(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    found = sized(teacher, make_profile(peak="10 GMAC/s"), None, sla={"latency": {"p50": "20 ms"}})
    assert found.chosen is not None
    assert found.measurements == {}
    assert "nothing was measured" in found.reason
    high_s = found.chosen.prices["fp32"].roofline.high_s
    assert high_s is not None
    assert high_s <= 0.02
    assert (found.students.capacity > found.chosen.capacity).any()


def test_without_measuring_and_without_a_peak_nothing_is_guessed(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    found = sized(teacher, make_profile(), None)
    assert found.chosen is None
    assert found.obstacle is not None
    assert not found.obstacle.certain
    assert found.obstacle.value is None
    assert "lacks peak_macs_per_s" in found.obstacle.text


def test_intervals_hold_most_of_the_true_latencies(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.02, seed=4)
    found = sized(teacher, make_profile(), board, search=Search(calibrate=12))
    inside = 0
    latency = found.standing.forecasts["fp32"].latency
    for row, student in enumerate(everyone(found.students)):
        inside += latency.low[row] <= board.true_s(Candidate(student.spec)) <= latency.high[row]
    assert inside / len(found.students) > 0.8


def test_candidate_left_out_by_the_measuring_is_an_error(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board()
    with pytest.raises(MeasureError, match="no measurement came back"):
        sized(teacher, make_profile(), lambda candidates: board(candidates[:-1]))


@pytest.mark.parametrize(
    "values",
    [
        (0.0, 0.1, 0.0, 1.0),
        (1.0, 0.1, 2.0, 3.0),
        (math.nan, 0.1, 0.5, 1.0),
        (1.0, -0.1, 0.9, 1.1),
        (1.0, 0.1, 0.9, math.inf),
    ],
)
def test_impossible_measurement_is_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(MeasureError):
        Measurement(*values)


def test_impossible_peak_memory_is_refused() -> None:
    with pytest.raises(MeasureError, match="peak_memory_bytes"):
        Measurement(1.0, 0.1, 0.9, 1.1, 0)


def test_empty_space_is_an_error(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    with pytest.raises(SpecError, match="refused"):
        sized(teacher, make_profile(), make_board(), space=Space(hidden=[50]))


def test_vit_is_sized_at_its_own_number_of_tokens(
    vit: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    space = Space(layers=[1, 2, 4, 6], hidden=[96, 192])
    found = sized(vit, make_profile(), make_board(), space=space, sequence=128, sla={"latency": {"p95": "4 ms"}})
    assert found.setting.sequence == vit.tokens
    assert found.chosen is not None


def test_input_that_the_teacher_cannot_take_is_refused_before_anything_is_measured(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board()
    with pytest.raises(SpecError, match="the sequence is 129, expected 1 to 128"):
        sized(teacher, make_profile(), board, space=Space(layers=[1, 2], sequence=[64, 129]))
    assert board.calls == []


def test_comparing_the_middle_chooses_a_student_at_least_as_capable(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    found = {
        compare: sized(teacher, make_profile(peak="10 GMAC/s"), None, search=Search(compare=compare))
        for compare in ("upper", "middle")
    }
    upper, middle = found["upper"].chosen, found["middle"].chosen
    assert upper is not None
    assert middle is not None
    assert middle.capacity > upper.capacity
    (mid_s,) = [price.roofline.mid_s for price in middle.prices.values()]
    assert mid_s is not None
    assert mid_s * tail_factor(0.95, 0.0) <= 5e-3 < (middle.prices["fp32"].roofline.high_s or 0)


def test_the_longest_input_at_which_a_student_fits_is_chosen(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.003)
    space = Space(layers=[2, 4, 6], hidden=[192, 384], sequence=[8, 32, 128])
    found = sized(teacher, make_profile(), board, space=space, sla={"latency": {"p95": "4 ms"}})
    assert found.chosen is not None
    fitting = [
        student.sequence
        for student in everyone(found.students)
        if board.true_s(student.candidates[0]) * tail_factor(0.95, 0.03) <= 3.9e-3
    ]
    assert found.chosen.sequence == max(fitting)
    assert all(f"-S{candidate.rpartition('-S')[2]}" in candidate for candidate in board.measured)
