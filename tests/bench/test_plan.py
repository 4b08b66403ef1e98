from __future__ import annotations

import math
from typing import Any

import pytest

from edgekd.bench.plan import BenchPlan, shape_from_text
from edgekd.errors import InputError


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"processes": 0}, "processes"),
        ({"processes": -1}, "processes"),
        ({"min_samples": 0}, "min_samples"),
        ({"min_samples": 1.5}, "min_samples"),
        ({"id_limit": 0}, "id_limit"),
        ({"warmup_s": -0.1}, "warmup_s"),
        ({"warmup_s": math.nan}, "warmup_s"),
        ({"min_duration_s": math.inf}, "min_duration_s"),
        ({"max_duration_s": 0}, "max_duration_s"),
        ({"min_duration_s": 10, "max_duration_s": 5}, "max_duration_s is 5"),
        ({"dims": {"batch": 0}}, "dimension 'batch'"),
        ({"shapes": {"input_ids": (1, -64)}}, "shape of 'input_ids'"),
    ],
)
def test_impossible_setting_is_an_input_error_that_names_it(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        BenchPlan(**settings)


def test_given_up_only_after_all_that_was_ordered_could_have_run() -> None:
    plan = BenchPlan(warmup_s=10, max_duration_s=600)
    assert plan.timeout_s > 610


def test_shape_is_read_from_text() -> None:
    assert shape_from_text("input_ids=1x64") == ("input_ids", (1, 64))


@pytest.mark.parametrize("text", ["", "input_ids", "=1x64", "input_ids=", "input_ids=1xa", "input_ids=1x-2", "a=1,64"])
def test_unreadable_shape_is_an_input_error_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match="input_ids=1x64"):
        shape_from_text(text)
