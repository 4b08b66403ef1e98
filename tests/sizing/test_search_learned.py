"""A search that knows what trained students took: a step down after a miss, a step up where there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_search import sized

from edgekd.device import DeviceProfile
from edgekd.sizing import supply
from edgekd.sizing.attempts import NOTHING, Attempt, Truth
from edgekd.sizing.limits import tail_factor
from edgekd.sizing.proposal import learned_from
from edgekd.sizing.search import Sizing
from edgekd.space import Space
from edgekd.student import StudentSpec


def trained(found: Sizing, board: Any, slower: float, limit_s: float) -> Attempt:
    """The chosen student of `found` after a training that made it `slower`, judged at p95."""
    student = found.chosen
    assert student is not None
    candidate = student.candidates[0]
    expected = found.standing.costs(found.standing.table.row_of(student) or 0, "fp32").at(found.limits[0])
    high = board.true_s(candidate) * tail_factor(0.95, 0.05) * slower
    truth = Truth.model_validate(
        {
            "metric": "latency.p95", "unit": "s", "limit": limit_s, "expected": expected, "estimate": high, "low": high,
            "high": high, "outcome": "pass" if high <= limit_s else "fail",
            "reason": "KEPT" if high <= limit_s else "MISSED",
        }
    )  # fmt: skip
    return Attempt(
        number=1, name=student.name, spec=student.spec.to_dict(), sequence=student.sequence, seconds=1.0,
        parameters=student.parameters, capacity=student.capacity, learned=NOTHING, truths={"fp32": [truth]},
        selected="fp32", outcome=truth.outcome, validation_accuracy=0.9,
    )  # fmt: skip


@pytest.mark.parametrize("searched", [False, True], ids=["listed", "searched"])
@pytest.mark.parametrize("slower", [1.08, 1.3, 2.5])
def test_after_a_miss_the_truth_leads_to_the_most_capable_one_that_keeps_the_limit(
    teacher: StudentSpec,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    slower: float,
    searched: bool,
) -> None:
    if searched:
        monkeypatch.setattr(supply, "MOST_COMBINATIONS", 0)
        monkeypatch.setattr(supply, "SAMPLED", 40)
    board, limit_s = make_board(noise=0.002), 5e-3
    space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=list(range(32, 385, 32)), ffn_ratio=[1.0, 2.0, 3.0, 4.0])
    first = trained(sized(teacher, make_profile(), board, space=space), board, slower, limit_s)
    assert first.missed
    found = sized(teacher, make_profile(), board, space=space, learned=learned_from([first]))
    assert found.chosen is not None
    taken = board.true_s(found.chosen.candidates[0]) * tail_factor(0.95, 0.05) * slower / limit_s
    assert taken <= 1.02
    assert 0.78 <= taken / min(first.ratio, 1.0 / 0.9) <= 0.92
    assert "within a step down from" in found.reason


@pytest.mark.parametrize("searched", [False, True], ids=["listed", "searched"])
def test_with_room_the_next_one_is_larger_by_a_step_and_more_capable(
    teacher: StudentSpec,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    searched: bool,
) -> None:
    if searched:
        monkeypatch.setattr(supply, "MOST_COMBINATIONS", 0)
        monkeypatch.setattr(supply, "SAMPLED", 40)
    board, limit_s = make_board(noise=0.002), 5e-3
    space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=list(range(32, 385, 32)), ffn_ratio=[1.0, 2.0, 3.0, 4.0])
    first = trained(sized(teacher, make_profile(), board, space=space), board, 0.6, limit_s)
    found = sized(teacher, make_profile(), board, space=space, learned=learned_from([first]))
    assert found.chosen is not None
    taken = board.true_s(found.chosen.candidates[0]) * tail_factor(0.95, 0.05) * 0.6 / limit_s
    assert 1.08 <= taken / first.ratio <= 1.22
    assert found.chosen.capacity > first.capacity


def test_what_was_learned_under_other_limits_corrects_a_first_choice_that_aims_nowhere(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.002)
    first = trained(sized(teacher, make_profile(), board), board, 1.5, 5e-3)
    found = sized(teacher, make_profile(), board, learned=learned_from([], [first]), sla={"latency": {"p95": "4 ms"}})
    assert found.chosen is not None
    assert board.true_s(found.chosen.candidates[0]) * tail_factor(0.95, 0.05) * 1.5 <= 4.1e-3
    assert "step" not in found.reason


def test_where_no_student_stands_where_the_next_one_should_none_is_chosen(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.002)
    space = Space(layers=[2, 3], hidden=[128, 192])
    first = trained(sized(teacher, make_profile(), board, space=space), board, 50.0, 5e-3)
    asked = len(board.measured)
    found = sized(teacher, make_profile(), board, space=space, learned=learned_from([first]))
    assert found.chosen is None
    assert len(board.measured) <= 2 * asked
