from typing import Any

import pytest
import torch

from edgekd.distill.losses.rows import (
    check_labels,
    check_logits,
    check_mask,
    check_temperature,
    divided,
    exact,
    labelled,
    picked,
)
from edgekd.errors import InputError


def test_rows_that_do_not_count_are_left_out_whatever_stands_there() -> None:
    values = torch.tensor([[[1.0, 2.0], [torch.nan, torch.inf]], [[3.0, 4.0], [5.0, 6.0]]], dtype=torch.float16)
    mask = torch.tensor([[1, 0], [1, 1]])
    found = picked(values, mask)
    assert found.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.dtype == torch.float32
    assert picked(values[1:], None).shape == (2, 2)


@pytest.mark.parametrize(("counted", "normaliser", "expected"), [(4, None, 2), (4, 2.0, 4), (0, None, 8), (4, 0, 8)])
def test_a_sum_is_divided_by_the_normaliser_or_by_what_counts(counted: Any, normaliser: Any, expected: float) -> None:
    assert divided(torch.tensor(8.0), counted, normaliser) == expected
    as_tensor = None if normaliser is None else torch.tensor(normaliser)
    assert divided(torch.tensor(8.0), torch.tensor(counted), as_tensor) == expected


def test_products_are_not_rounded_by_an_autocast_around_them() -> None:
    table = torch.full((2, 2), 1 + 2.0**-12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (table @ table).dtype == torch.bfloat16
        with exact(table):
            assert (table @ table)[0, 0] > 2


def test_rows_without_a_label_are_known() -> None:
    labels = torch.tensor([[1, -100], [0, 2]])
    assert labelled(labels, None).tolist() == [[True, False], [True, True]]
    assert labelled(labels, torch.tensor([[1, 1], [0, 1]])).tolist() == [[True, False], [False, True]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"found student logits \(4, 3\) and teacher logits \(4, 2\), expected the same"
    ):
        check_logits(torch.zeros(4, 3), torch.zeros(4, 2), None)
    with pytest.raises(InputError, match=r"found a mask \(4, 1\)"):
        check_logits(torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4, 1))
    with pytest.raises(InputError, match=r"expected one value for each row, \(2, 4\)"):
        check_mask(torch.zeros(2, 4, 3), torch.ones(4))
    with pytest.raises(InputError, match=r"labels \(3,\)"):
        check_labels(torch.zeros(4, 2), torch.zeros(3))
    check_logits(torch.zeros(2, 4, 3), torch.zeros(2, 4, 3), torch.ones(2, 4))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        check_temperature(temperature)
