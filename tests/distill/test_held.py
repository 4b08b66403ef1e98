from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tiny_digits import PAD, digit_images, digit_sequences

from edgekd.distill import held as module
from edgekd.distill.collate import Collator
from edgekd.distill.held import Held, held


def with_answers(dataset: datasets.Dataset) -> datasets.Dataset:
    answers = np.random.default_rng(0).normal(size=(len(dataset), 10)).astype(np.float32)
    return dataset.add_column("teacher_logits", list(answers))  # type: ignore[call-arg]


def batches_of(dataset: Any, picked: list[int]) -> dict[str, torch.Tensor]:
    return Collator(PAD)(dataset.__getitems__(picked))


@pytest.mark.parametrize("make", [digit_images, digit_sequences])
@pytest.mark.parametrize("change", ["plain", "with answers", "shuffled", "part", "joined"])
def test_a_batch_is_that_of_the_data_set(make: Any, change: str) -> None:
    dataset = with_answers(make(0, 60)) if change != "plain" else make(0, 60)
    if change == "shuffled":
        dataset = dataset.shuffle(seed=3)
    if change == "part":
        dataset = dataset.select(range(7, 50, 3))
    if change == "joined":
        dataset = datasets.concatenate_datasets([dataset, with_answers(make(90, 110))])
    kept = held(dataset)
    assert isinstance(kept, Held)
    assert len(kept) == len(dataset)
    picked = [3, 0, 11, 3, len(dataset) - 1]
    found, expected = batches_of(kept, picked), batches_of(dataset.with_format("numpy"), picked)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    for row in (0, 5, -1):
        one = kept[row]
        for name, value in dataset.with_format("numpy")[row].items():
            assert np.array_equal(one[name], value), name


def test_a_batch_is_no_view_of_what_is_held() -> None:
    kept = held(digit_images(0, 20))
    batches_of(kept, [0, 1])["pixel_values"].zero_()
    assert batches_of(kept, [0, 1])["pixel_values"].abs().sum() > 0


def test_what_is_too_large_is_read_from_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    for dataset in (digit_images(0, 20), digit_sequences(0, 60)):
        kept = held(dataset)
        assert isinstance(kept, datasets.Dataset)
        assert kept.format["type"] == "numpy"


def test_what_is_no_number_is_read_from_where_it_lies() -> None:
    dataset = digit_sequences(0, 20).add_column("text", ["a"] * 20)  # type: ignore[call-arg]
    assert isinstance(held(dataset), datasets.Dataset)


def test_a_data_loader_takes_it() -> None:
    kept = held(digit_sequences(0, 33))
    loader: Any = torch.utils.data.DataLoader(kept, batch_size=8, collate_fn=Collator(PAD))
    rows = torch.cat([batch["row"] for batch in loader])
    assert rows.tolist() == list(range(33))
