import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from tiny_digits import PAD, digit_sequences
from torch.utils.data import SequentialSampler

from edgekd.distill.collate import Collator
from edgekd.distill.shares import ShareLoader, Shares, is_filler, share_loader


def loader(rank: int, count: int, part_rows: int = 8, rows: int = 41) -> ShareLoader:
    return share_loader(
        digit_sequences(0, rows).with_format("numpy"), None, Collator(PAD), part_rows=part_rows, seed=3, rank=rank,
        count=count, pin_memory=False,
    )  # fmt: skip


def epoch(rank: int, count: int, number: int = 0) -> list[list[int]]:
    """The row numbers of each batch, none for a filler."""
    found = loader(rank, count)
    found.set_epoch(number)
    return [[] if is_filler(batch["labels"]) else batch["row"].tolist() for batch in found]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_shares_of_a_part_are_the_part(count: int) -> None:
    alone = epoch(0, 1)
    shares = [epoch(rank, count) for rank in range(count)]
    assert sorted(number for part in alone for number in part) == list(range(41))
    assert {len(share) for share in shares} == {len(alone)} == {6}
    for part, *divided in zip(alone, *shares, strict=True):
        assert sorted(number for share in divided for number in share) == sorted(part)
        assert max(map(len, divided)) - min(map(len, divided)) <= 1


def test_the_order_is_that_of_one_process_with_that_seed_and_another_in_each_epoch() -> None:
    sampler = SeedableRandomSampler(range(41), data_seed=3)
    sampler.set_epoch(4)
    assert [number for part in epoch(0, 1, 4) for number in part] == list(sampler)
    assert epoch(0, 2, 4) != epoch(0, 2, 5)
    assert epoch(0, 2, 4) == epoch(0, 2, 4)


def test_a_process_without_a_row_gets_one_that_has_no_label() -> None:
    last = list(loader(1, 2))[-1]
    assert last["labels"].tolist() == [-100]
    assert last["input_ids"].shape[0] == 1
    assert is_filler(last["labels"])
    assert not is_filler(torch.tensor([[-100, 3]]))
    assert not is_filler(list(loader(0, 2))[-1]["labels"])


def test_an_order_that_is_given_is_kept() -> None:
    shares = Shares(SequentialSampler(range(10)), 4, 1, 2)
    shares.set_epoch(7)
    assert list(shares) == [[1, 3], [5, 7], [9]]
    assert len(shares) == 3


def test_rows_come_as_the_data_set_has_them() -> None:
    (batch, *_) = loader(0, 2)
    rows = digit_sequences(0, 41)
    for number, ids, label in zip(batch["row"], batch["input_ids"], batch["labels"], strict=True):
        expected = rows[int(number)]
        assert label == expected["labels"]
        np.testing.assert_array_equal(ids[: len(expected["input_ids"])], expected["input_ids"])
