"""The losses that are compared are those that a recipe may name, and a lead is told with its interval."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from edgekd.recipe import load_recipe
from edgekd.teaching import SoftLoss

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from losses import HERE, LOSSES, USUAL, against


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_one_that_a_recipe_may_ask_for(name: str) -> None:
    recipe = load_recipe(str(HERE / "digits.yaml"), LOSSES[name])
    assert (recipe.distill.alpha == 0) == (name == "labels alone")


def test_no_loss_is_left_out() -> None:
    recipes = [load_recipe(str(HERE / "digits.yaml"), given).distill for given in LOSSES.values()]
    assert {distill.loss for distill in recipes} == set(get_args(SoftLoss))
    assert any(distill.hidden for distill in recipes)
    assert any(distill.relations for distill in recipes)
    assert LOSSES[USUAL] == []


def test_a_lead_is_that_of_pairs_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    usual = (rng.random((5, 1000)) < 0.8).astype(float)
    better = np.maximum(usual, rng.random((5, 1000)) < 0.25)
    lead, low, high = against(better, usual)
    assert low < lead < high
    assert lead == pytest.approx((better - usual).mean())
    assert low > 0
    assert against(usual, usual) == (0, 0, 0)
