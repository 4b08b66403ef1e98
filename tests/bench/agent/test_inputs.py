from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekd.bench.agent.failures import AgentError
from edgekd.bench.agent.inputs import filled, shape_of


class Entry:
    def __init__(self, name: str, type_: str) -> None:
        self.name, self.type = name, f"tensor({type_})"


def _filled(name: str, type_: str, id_limit: int = 2) -> Any:
    return filled(Entry(name, type_), [4, 50], id_limit, np.random.default_rng(0))


def test_inputs_are_filled_by_what_their_name_and_type_mean() -> None:
    assert (_filled("attention_mask", "int64") == 1).all()
    assert (_filled("token_type_ids", "int64") == 0).all()
    assert (_filled("position_ids", "int32") == 0).all()
    assert _filled("flags", "bool").all()
    pixels = _filled("pixel_values", "float")
    assert pixels.dtype == np.float32
    assert 0.8 < pixels.std() < 1.2
    assert (pixels == _filled("pixel_values", "float")).all()


def test_ids_stay_below_their_limit_and_their_type() -> None:
    assert set(np.unique(_filled("input_ids", "int64"))) == {0, 1}
    assert 90 < _filled("input_ids", "int64", 100).max() < 100
    assert _filled("tokens", "uint8", 10**6).dtype == np.uint8


def test_input_of_a_type_that_cannot_be_filled_is_named() -> None:
    with pytest.raises(AgentError, match=r"'text' has the type tensor\(string\)"):
        _filled("text", "string")


class Shapeless(Entry):
    shape: tuple[int, ...] = ()


def test_input_whose_rank_the_model_does_not_declare_takes_the_shape_that_is_given() -> None:
    entry = Shapeless("x", "float")
    assert shape_of(entry, {"shapes": {"x": [1, 64]}, "dims": {}}) == [1, 64]
    assert shape_of(entry, {"shapes": {}, "dims": {}}) == []
