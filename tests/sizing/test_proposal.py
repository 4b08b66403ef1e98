"""What the next student should take, after misses and after room; who wins; what all of it teaches."""

from __future__ import annotations

import pytest
from tried import attempt_of, truth_of

from edgekd.sizing.attempts import Aim, Attempt
from edgekd.sizing.proposal import aim_after, learned_from, likely_s, no_more_text, step_text, told, winner


def aim_of(*attempts: Attempt) -> Aim:
    found = aim_after(attempts)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ratio", "least", "most"),
    [(1.05, 0.84, 0.945), (1.2, 0.8 / 0.9, 1.0), (3.0, 0.8 / 0.9, 1.0)],
    ids=["a tenth less", "within the limit", "as far as the truth demands"],
)
def test_after_a_miss_the_next_one_takes_a_tenth_to_a_fifth_less(ratio: float, least: float, most: float) -> None:
    aim = aim_of(attempt_of(1, fp32=ratio))
    assert (aim.direction, aim.above, aim.low) == ("smaller", None, 0.0)
    assert (aim.least, aim.most, aim.high) == (pytest.approx(least), pytest.approx(most), pytest.approx(most))


def test_memory_and_size_hardly_scatter_so_any_student_that_keeps_them_may_follow() -> None:
    over = truth_of(1.01, metric="memory", unit="B", outcome="inconclusive", reason="TOO_CLOSE")
    attempt = attempt_of(1, truths={"fp32": [truth_of(0.5), over]}, selected="fp32", outcome="inconclusive")
    aim = aim_of(attempt)
    assert (aim.exact, aim.high) == (True, 1.0)
    assert (aim.least, aim.most) == (pytest.approx(0.808), pytest.approx(0.909))
    assert not aim_of(attempt_of(1, fp32=1.01)).exact


def test_after_room_the_next_one_takes_a_tenth_to_a_fifth_more_and_never_more_than_the_limit() -> None:
    aim = aim_of(attempt_of(1, fp32=0.5))
    assert (aim.direction, aim.above, aim.high) == ("larger", attempt_of(1, fp32=0.5).name, 1.0)
    assert (aim.least, aim.most) == (pytest.approx(0.55), pytest.approx(0.6))
    assert aim_of(attempt_of(1, fp32=0.88)).most == 1.0
    assert aim_after([attempt_of(1, fp32=0.92)]) is None
    assert "takes 92 % of latency.p50" in no_more_text([attempt_of(1, fp32=0.92)])


def test_between_a_kept_limit_and_a_miss_the_next_one_lies_between_both() -> None:
    kept, missed = attempt_of(2, layers=2, fp32=0.6), attempt_of(3, layers=4, fp32=1.1)
    aim = aim_of(kept, missed)
    assert (aim.direction, aim.above) == ("smaller", kept.name)
    assert (aim.low, aim.high) == (pytest.approx(0.66), pytest.approx(0.99))
    near = attempt_of(2, layers=2, fp32=0.86)
    assert aim_after([attempt_of(1, layers=4, fp32=1.02), near]) is None
    assert "no student lies between" in no_more_text([attempt_of(1, layers=4, fp32=1.02), near])


def test_a_missed_accuracy_asks_for_a_larger_student_where_there_is_room() -> None:
    accuracy = truth_of(1.0, metric="accuracy", unit="share", outcome="fail", reason="MISSED", expected=None)
    poor = attempt_of(1, truths={"fp32": [truth_of(0.7), accuracy]}, selected="fp32", outcome="fail")
    assert aim_of(poor).direction == "larger"
    full = attempt_of(1, truths={"fp32": [truth_of(0.95), accuracy]}, selected="fp32", outcome="fail")
    assert aim_after([full]) is None


def test_a_measurement_that_decides_nothing_asks_for_no_student() -> None:
    open_ = [truth_of(1.2, outcome="inconclusive", reason="THROTTLED")]
    attempt = attempt_of(1, truths={"fp32": open_}, selected="fp32", outcome="inconclusive")
    assert aim_after([attempt]) is None
    assert "--again bench" in no_more_text([attempt])


def test_without_limits_on_costs_the_first_one_is_the_last() -> None:
    accuracy = truth_of(1.0, metric="accuracy", unit="share", expected=None)
    attempt = attempt_of(1, truths={"fp32": [accuracy]}, selected="fp32", outcome="pass")
    assert aim_after([attempt]) is None
    assert "neither latency" in no_more_text([attempt])


def test_the_winner_passes_is_most_often_right_and_of_equals_the_larger() -> None:
    small, large = attempt_of(1, layers=2, fp32=0.5, accuracy=0.95), attempt_of(2, layers=3, fp32=0.6, accuracy=0.95)
    better, late = attempt_of(3, layers=1, fp32=0.4, accuracy=0.96), attempt_of(4, layers=4, fp32=1.1, accuracy=0.99)
    assert winner([small, large]) == large
    assert winner([small, large, better, late]) == better
    assert winner([attempt_of(1, fp32=1.2), late]) == late


def test_the_median_of_what_attempts_took_corrects_what_is_expected() -> None:
    attempts = [attempt_of(number, layers=number, fp32=ratio) for number, ratio in ((1, 1.2), (2, 1.5), (3, 0.7))]
    learned = learned_from(attempts[1:], attempts[:1])
    assert learned.factors == {"fp32": {"latency.p50": pytest.approx(1.2)}}
    assert learned.truths[f"{attempts[0].name}-fp32"] == {"latency.p50": pytest.approx(1.2e-3)}
    assert [tried.student for tried in learned.tried] == [attempt.student for attempt in attempts[1:]]
    assert learned_from([], attempts).aim is None
    later = attempt_of(4, fp32=0.9, learned=learned)
    assert told(later, "fp32", later.truths["fp32"][0]) == pytest.approx(1.2e-3)


def test_a_training_takes_as_long_as_the_parameters_say() -> None:
    assert likely_s([attempt_of(1, layers=2, fp32=1.1)], 5000) == pytest.approx(20.0 * 5000 / 2500)


def test_the_reason_names_the_attempt_before_and_no_number() -> None:
    assert step_text(None) == ""
    assert step_text(aim_of(attempt_of(1, fp32=1.2))).endswith("missed a limit once it was trained")
    assert "up from" in step_text(aim_of(attempt_of(1, fp32=0.5)))
