from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.errors import DataError
from edgekd.export.reference import torch_logits

Maker = Callable[..., Any]
Ragged = Callable[..., list[dict[str, np.ndarray[Any, Any]]]]


def test_reference_is_what_the_model_says_in_evaluation_mode(lively: Maker, ragged: Ragged) -> None:
    model = lively("bert").train()
    model.bert.embeddings.eval()
    batches = ragged("bert")
    found = torch_logits(model, batches)
    assert model.training
    assert not model.bert.embeddings.training
    model.eval()
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(value) for name, value in batches[1].items()}).logits.numpy()
    np.testing.assert_array_equal(found[1:5], expected)


def test_names_the_model_does_not_take_are_left_alone(bert: Any, ragged: Ragged) -> None:
    batches = ragged("bert")
    spare = [{**batch, "example": np.arange(len(batch["input_ids"]))} for batch in batches]
    np.testing.assert_array_equal(torch_logits(bert, spare), torch_logits(bert, batches))


def test_labels_are_not_shown_to_the_model(bert: Any, ragged: Ragged) -> None:
    batches = ragged("bert")
    beyond = [{**batch, "labels": np.full(len(batch["input_ids"]), 10**6)} for batch in batches]
    np.testing.assert_array_equal(torch_logits(bert, beyond), torch_logits(bert, batches))


def test_no_batch_is_an_error(bert: Any) -> None:
    with pytest.raises(DataError, match="found no batch"):
        torch_logits(bert, [])
