import numpy as np
import pytest
import torch

from edgekd.distill.collate import Collator, model_inputs
from edgekd.errors import InputError


def test_token_sequences_are_padded_to_the_longest_of_the_batch() -> None:
    rows = [
        {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "token_type_ids": [0, 0, 1], "labels": 2},
        {"input_ids": [8], "attention_mask": [1], "token_type_ids": [0], "labels": 0},
    ]
    batch = Collator(pad_token_id=9)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert batch["labels"].dtype == torch.int64


def test_images_and_teacher_logits_are_stacked_as_float32() -> None:
    rows = [{"pixel_values": np.zeros((1, 2, 2)), "teacher_logits": [0.5, 1.0], "labels": 1, "row": 3}] * 2
    batch = Collator()(rows)
    assert batch["pixel_values"].shape == (2, 1, 2, 2)
    assert batch["pixel_values"].dtype == batch["teacher_logits"].dtype == torch.float32
    assert set(model_inputs(batch)) == {"pixel_values"}


def test_ragged_sequences_without_a_pad_token_are_refused() -> None:
    with pytest.raises(InputError, match="pad_token_id"):
        Collator()([{"input_ids": [1, 2]}, {"input_ids": [1]}])


def test_images_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="pixel_values"):
        Collator(0)([{"pixel_values": np.zeros((1, 2, 2))}, {"pixel_values": np.zeros((1, 2, 3))}])
