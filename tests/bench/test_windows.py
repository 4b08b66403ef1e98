"""Windows at another level, and visits that disagree: found where they are, and nowhere else."""

import random
from statistics import median

import pytest

from edgekd.bench.windows import (
    MOST_SENSITIVE,
    SLOWER_BY,
    USUAL_SENSITIVITY,
    Level,
    Visit,
    curve_of,
    findings,
    sensitivities,
    sensitivity_at,
    sensitivity_of,
)


def visits_of(students: int, rounds: int, seed: int, noise: float = 0.02) -> list[Visit]:
    draw = random.Random(seed)
    ratios = {f"s{index}": 2.0**index for index in range(students)}
    found = []
    for _ in range(rounds):
        order = list(ratios)
        draw.shuffle(order)
        found += [
            Visit(name, 1e-3 * ratios[name] * draw.lognormvariate(0, noise), 1e-3 * draw.lognormvariate(0, noise), 0.01)
            for name in order
        ]
    return found


def slowed(visits: list[Visit], first: int, last: int, by: float) -> list[Visit]:
    return [
        Visit(visit.name, visit.model_s, visit.level_s * (by if first <= index <= last else 1), visit.error)
        for index, visit in enumerate(visits)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_board_has_no_windows_and_hardly_a_torn_visit(seed: int) -> None:
    found = findings(visits_of(20, 3, seed))
    assert found.windows == ()
    assert len(found.torn) <= 2
    assert found.curve.level_s(1.0) == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize(("first", "last"), [(25, 37), (0, 9), (50, 59), (30, 30)])
@pytest.mark.parametrize("by", [1.5, 10.0])
def test_a_board_that_throttles_in_the_middle_is_found_where_it_did(first: int, last: int, by: float) -> None:
    found = findings(slowed(visits_of(20, 3, seed=4), first, last, by))
    (window,) = found.windows
    assert (window.first, window.last) == (first, last)
    assert window.slower == pytest.approx(by, rel=0.1)
    assert set(range(first, last + 1)) <= found.doubtful


def test_two_throttled_windows_are_two_and_a_gap_of_one_visit_is_none() -> None:
    visits = slowed(slowed(visits_of(20, 3, seed=4), 10, 14, 2.0), 30, 33, 2.0)
    assert [(window.first, window.last) for window in findings(visits).windows] == [(10, 14), (30, 33)]
    joined = slowed(slowed(visits_of(20, 3, seed=4), 10, 14, 2.0), 16, 19, 2.0)
    assert [(window.first, window.last) for window in findings(joined).windows] == [(10, 19)]


def test_a_board_that_is_slow_in_most_visits_still_knows_its_quiet_level() -> None:
    found = findings(slowed(visits_of(20, 3, seed=4), 0, 39, 2.0))
    assert [(window.first, window.last) for window in found.windows] == [(0, 39)]


def test_a_visit_that_disagrees_with_the_others_of_its_student_is_torn() -> None:
    visits = visits_of(10, 3, seed=9)
    wrong = Visit(visits[17].name, visits[17].model_s * 1.4, visits[17].level_s, 0.01)
    assert findings([*visits[:17], wrong, *visits[18:]]).torn == (17,)
    # Two visits that differ do not tell which is wrong.
    two = [Visit("a", 1.0, 1e-3, 0.01), Visit("a", 1.5, 1e-3, 0.01)]
    assert findings(two).torn == ()


def test_the_threshold_is_above_what_pairs_on_a_busy_machine_show() -> None:
    assert findings(slowed(visits_of(20, 3, seed=4, noise=0.05), 20, 30, 1.0)).windows == ()
    assert SLOWER_BY > 1.2


@pytest.mark.parametrize("true", [0.0, 0.3, 0.5, 1.0])
def test_the_sensitivity_is_learned_from_repeated_visits(true: float) -> None:
    draw, visits = random.Random(5), []
    for _ in range(3):
        for number in range(20):
            level = draw.lognormvariate(0, 0.1)
            visits.append(Visit(f"s{number}", 2.0**number * level**true * draw.lognormvariate(0, 0.01), level, 0.01))
    found = findings(visits)
    assert found.sensitivity == pytest.approx(true, abs=0.06)
    own = [found.undisturbed_s(visits, index) for index, visit in enumerate(visits) if visit.name == "s3"]
    assert max(own) / min(own) < 1.06


def test_without_repetition_or_difference_the_sensitivity_is_the_usual_one() -> None:
    once, other = Visit("a", 1.0, 1.0, 0.01), Visit("b", 9.0, 2.0, 0.01)
    assert sensitivity_of([], []) == USUAL_SENSITIVITY
    assert sensitivity_of([once, other], [1.0, 2.0]) == USUAL_SENSITIVITY
    assert sensitivity_of([once, Visit("a", 1.3, 1.0, 0.01)], [1.0, 1.0]) == USUAL_SENSITIVITY


def test_few_students_have_one_level_for_all() -> None:
    curve = curve_of([Visit(f"s{index}", 1.0 + index, 1e-3 * (1 + index), 0.01) for index in range(8)])
    assert curve.level_s(1.0) == curve.level_s(100.0) == pytest.approx(3e-3)


@pytest.mark.parametrize("disturbed", [0.0, 0.3, 0.6])
def test_a_sentinel_that_large_students_slow_is_no_disturbance(disturbed: float) -> None:
    draw, visits = random.Random(3), []
    for _ in range(3):
        for number in range(20):
            model_s = 1e-3 * 1.4**number
            quiet_s = 3e-4 * (1 + 0.4 * model_s / (model_s + 4e-3))
            slower = draw.uniform(1.05, 1.2) if draw.random() < disturbed else 1.0
            visits.append(Visit(f"s{number}", model_s * slower**0.5, quiet_s * slower, 0.01))
    found = findings(visits)
    assert found.windows == ()
    true_s = [1e-3 * 1.4 ** int(visit.name[1:]) for visit in visits]
    errors = [abs(found.undisturbed_s(visits, index) / time_s - 1) for index, time_s in enumerate(true_s)]
    assert max(errors) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_a_sentinel_that_stays_warm_for_long_is_known_though_neighbours_disturb_most_visits(seed: int) -> None:
    # Half-way up after 60 quiet times of the sentinel; a neighbour slows two visits of three by 1.45.
    draw, visits, true_s = random.Random(seed), list[Visit](), dict[str, float]()
    for _ in range(4):
        for number in range(20):
            model_s = 1e-4 * 1.45**number
            quiet_s = 2e-4 * (1 + model_s / (model_s + 1.2e-2))
            slower = 1.45 if draw.random() < 0.67 else 1.0
            true_s[f"s{number}"] = quiet_s
            visits.append(Visit(f"s{number}", model_s * slower, quiet_s * slower * draw.lognormvariate(0, 0.02), 0.01))
    curve = curve_of(visits)
    off = [curve.level_s(1e-4 * 1.45**number) / true_s[f"s{number}"] for number in range(20)]
    assert all(0.9 < one < 1.12 for one in off)


@pytest.mark.parametrize("quiet", [3, 15])
def test_a_known_level_counts_though_neighbours_slow_nearly_all_visits(quiet: int) -> None:
    steady = visits_of(20, 3, seed=4)
    level = Level(findings(steady).curve, 1.0)
    busy = slowed(steady, quiet, 59, 1.45)
    found = findings(busy, level)
    assert found.curve == level.curve
    assert [(window.first, window.last) for window in found.windows] == [(quiet, 59)]
    assert findings(slowed(steady, 0, 59, 1.45), level).curve != level.curve


def test_a_known_level_puts_a_campaign_that_was_never_quiet_on_the_same_scale() -> None:
    quiet = findings(visits_of(20, 3, seed=4))
    level = Level(quiet.curve, sensitivity=1.0)
    draw, busy, true_s = random.Random(2), list[Visit](), list[float]()
    for visit in visits_of(20, 3, seed=5, noise=0.005):
        slower = draw.uniform(1.1, 1.2)
        busy.append(Visit(visit.name, visit.model_s * slower, visit.level_s * slower, visit.error))
        true_s.append(visit.model_s)

    def bias(known: Level | None) -> float:
        found = findings(busy, known)
        return max(
            abs(median(found.undisturbed_s(busy, index) / true_s[index] for index in range(start, start + 20)) - 1)
            for start in (0, 20, 40)
        )

    assert bias(level) < 0.03
    assert bias(None) > 0.08


def test_a_level_of_another_board_is_not_taken() -> None:
    visits = visits_of(20, 3, seed=4)
    foreign = Level(findings(slowed(visits, 0, 59, 2.0)).curve, 0.5)
    assert findings(visits, foreign) == findings(visits)


@pytest.mark.parametrize(("first", "last"), [(25, 37), (44, 59)])
@pytest.mark.parametrize("by", [0.85, 1.15])
def test_a_stretch_that_only_the_students_felt_is_found_by_repetition(first: int, last: int, by: float) -> None:
    visits = [
        Visit(visit.name, visit.model_s * (by if first <= index <= last else 1), visit.level_s, visit.error)
        for index, visit in enumerate(visits_of(20, 3, seed=4))
    ]
    found = findings(visits)
    (window,) = found.windows
    assert abs(window.first - first) <= 2
    assert abs(window.last - last) <= 2
    assert window.slower == pytest.approx(by, rel=0.05)


@pytest.mark.parametrize("seed", range(10))
def test_repetition_alone_makes_no_window(seed: int) -> None:
    assert findings(visits_of(20, 4, seed, noise=0.03)).windows == ()


def of_two_kinds(seed: int) -> tuple[list[Visit], dict[str, float]]:
    """Small students that feel a disturbance by its power 0.3 and large ones by its power 1.3, with their true times."""
    draw, visits = random.Random(seed), []
    true_s = {f"s{number}": 5e-4 * 1.35**number for number in range(20)}
    for _ in range(5):
        for name, time_s in true_s.items():
            level, power = draw.choice([1.0, 1.1, 1.5]), 0.3 if time_s < 5e-3 else 1.3
            noise = draw.lognormvariate(0, 0.01)
            visits.append(Visit(name, time_s * level**power * noise, 3e-4 * level * draw.lognormvariate(0, 0.01), 0.01))
    return visits, true_s


@pytest.mark.parametrize("seed", range(5))
def test_students_of_a_size_have_a_sensitivity_of_their_own(seed: int) -> None:
    visits, true_s = of_two_kinds(seed)
    found = findings(visits)
    small, large = (sensitivity_at(found.by_size, time_s, 0.5) for time_s in (1e-3, 5e-2))
    assert small == pytest.approx(0.3, abs=0.06)
    assert large == pytest.approx(1.3, abs=0.06)
    ends = [index for index, visit in enumerate(visits) if not 2e-3 < true_s[visit.name] < 1.5e-2]
    errors = [abs(found.undisturbed_s(visits, index) / true_s[visits[index].name] - 1) for index in ends]
    assert max(errors) < 0.09
    one_for_all = [
        abs(visits[index].model_s * found.disturbances[index] ** -found.sensitivity / true_s[visits[index].name] - 1)
        for index in ends
    ]
    assert max(one_for_all) > 2 * max(errors)


def test_a_known_level_brings_its_sensitivities_with_it() -> None:
    visits, _ = of_two_kinds(seed=7)
    first = findings(visits)
    again = findings(visits[:20], Level(first.curve, first.sensitivity, first.by_size))
    assert again.by_size == first.by_size
    assert again.shares == pytest.approx(first.shares[:20], abs=0.1)  # least times of one visit, not of five
    plain = findings(visits[:20], Level(first.curve, 0.4))
    assert plain.by_size == ()
    assert set(plain.shares) == {0.4}


def test_a_sensitivity_is_interpolated_by_size_and_bounded() -> None:
    assert sensitivity_at((), 1.0, 0.7) == 0.7
    sizes = ((0.0, 0.2), (1.0, 0.6), (2.0, 0.4))
    found = [sensitivity_at(sizes, time_s, 0.5) for time_s in (0.1, 1.0, 2.718281828**0.5, 2.718281828**1.5, 99.0)]
    assert found == pytest.approx([0.2, 0.2, 0.4, 0.5, 0.4])
    wild = [Visit("a", level**5, level, 0.01) for level in (1.0, 1.5, 2.0)]
    least_s = {"a": 1.0}
    assert sensitivities(wild, [1.0, 1.5, 2.0], least_s, 0.5) == ((0.0, MOST_SENSITIVE),)
    assert sensitivities(wild, [1.0, 1.0, 1.0], least_s, 0.5) == ((0.0, pytest.approx(0.5)),)


def test_a_visit_counts_the_less_the_more_it_was_disturbed_and_not_at_all_unexplained() -> None:
    visits = visits_of(10, 3, seed=9, noise=0.0)
    wrong = Visit(visits[17].name, visits[17].model_s * 1.4, visits[17].level_s, 0.01)
    levels = {3: 1.2, 5: 2.0}
    changed = [
        Visit(visit.name, visit.model_s, visit.level_s * levels.get(index, 1.0), visit.error)
        for index, visit in enumerate([*visits[:17], wrong, *visits[18:]])
    ]
    found = findings(changed)
    weights = [found.weight(index) for index in range(len(changed))]
    assert (weights[0], weights[17]) == (1.0, 0.0)
    assert 0 < weights[5] < 0.1 < weights[3] < 1
