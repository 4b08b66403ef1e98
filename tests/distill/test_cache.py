import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit

from edgekd.distill import cache
from edgekd.distill.cache import cached_logits
from edgekd.distill.evaluate import predict_logits
from edgekd.errors import DataError, RecordError


class CountingForward:
    """Counts the rows a model is asked about."""

    def __init__(self, model: Any) -> None:
        self.rows = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module: Any, _args: Any, kwargs: Any) -> None:
        self.rows += len(next(iter(kwargs.values())))


def logits_of(rows: Any) -> Any:
    return np.asarray(rows.with_format("numpy")["teacher_logits"][:])


def test_cached_logits_are_the_teachers_and_everything_else_stays(tmp_path: Path) -> None:
    model, rows = tiny_bert(), digit_sequences(0, 50)
    cached = cached_logits(model, rows, tmp_path, batch_size=16, pad_token_id=PAD, shard_rows=20)
    np.testing.assert_allclose(logits_of(cached), predict_logits(model, rows, 50, PAD), atol=1e-5)
    assert cached.remove_columns("teacher_logits").to_dict() == rows.to_dict()
    assert len(list(tmp_path.glob("*/shard-*.arrow"))) == 3


def test_a_second_call_asks_the_teacher_about_the_probes_only(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 50)
    first = cached_logits(model, rows, tmp_path, batch_size=16)
    counter = CountingForward(model)
    second = cached_logits(model, rows, tmp_path, batch_size=16)
    assert counter.rows == cache.PROBES
    np.testing.assert_array_equal(logits_of(first), logits_of(second))


def test_logits_follow_their_rows_when_the_order_changes(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 50)
    straight = logits_of(cached_logits(model, rows, tmp_path, key="digits", batch_size=16))
    order = np.random.default_rng(0).permutation(50)
    counter = CountingForward(model)
    mixed = cached_logits(model, rows.select(order), tmp_path, key="digits", batch_size=16)
    assert counter.rows == cache.PROBES
    np.testing.assert_array_equal(logits_of(mixed), straight[order])


def test_another_teacher_and_other_rows_have_caches_of_their_own(tmp_path: Path) -> None:
    rows = digit_images(0, 20)
    for teacher, part in ((tiny_vit(1), rows), (tiny_vit(2), rows), (tiny_vit(1), rows.select(range(10)))):
        cached = cached_logits(teacher, part, tmp_path, key="digits", batch_size=16)
        np.testing.assert_allclose(logits_of(cached), predict_logits(teacher, part, 16), atol=1e-5)
    assert len(list(tmp_path.glob("*/cache.json"))) == 3


def test_a_killed_computation_goes_on_after_the_last_whole_shard(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 50)

    def kill(done: Any, _total: Any) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_logits(model, rows, tmp_path, batch_size=16, shard_rows=10, on_rows=kill)
    assert not list(tmp_path.glob("*/cache.json"))
    counter = CountingForward(model)
    cached = cached_logits(model, rows, tmp_path, batch_size=16, shard_rows=10)
    assert counter.rows == 30 + cache.PROBES
    np.testing.assert_allclose(logits_of(cached), predict_logits(model, rows, 50), atol=1e-5)


def test_a_changed_byte_in_a_shard_is_found(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 30)
    cached_logits(model, rows, tmp_path, batch_size=16)
    shard = next(tmp_path.glob("*/shard-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(RecordError, match="has changed since it was written"):
        cached_logits(model, rows, tmp_path, batch_size=16)


def test_a_missing_shard_is_found(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 30)
    cached_logits(model, rows, tmp_path, batch_size=16, shard_rows=10)
    sorted(tmp_path.glob("*/shard-*.arrow"))[1].unlink()
    with pytest.raises(RecordError, match="is missing"):
        cached_logits(model, rows, tmp_path, batch_size=16)


def test_an_index_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 30)
    cached_logits(model, rows, tmp_path, batch_size=16)
    index = next(tmp_path.glob("*/cache.json"))
    content = json.loads(index.read_text())
    content["shards"] = {"../outside.arrow": next(iter(content["shards"].values()))}
    index.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="outside"):
        cached_logits(model, rows, tmp_path, batch_size=16)


def test_data_changed_behind_the_same_key_is_found_by_the_probes(tmp_path: Path) -> None:
    model, rows = tiny_vit(), digit_images(0, 30)
    cached_logits(model, rows, tmp_path, key="digits", batch_size=16)
    inverted = rows.map(lambda row: {"pixel_values": (-3 * np.asarray(row["pixel_values"])).tolist()})
    with pytest.raises(RecordError, match="computed again differ"):
        cached_logits(model, inverted, tmp_path, key="digits", batch_size=16)


def test_infinite_cached_logits_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_vit(), digit_images(0, 30)
    monkeypatch.setattr(cache, "predict_logits", lambda *_: np.full((30, 10), np.inf, dtype=np.float32))
    with pytest.raises(RecordError, match="NaN or infinite"):
        cached_logits(model, rows, tmp_path, batch_size=16)


def test_rows_without_numbers_or_with_a_number_twice_are_refused(tmp_path: Path) -> None:
    rows = digit_images(0, 4)
    with pytest.raises(DataError, match="no column 'row'"):
        cached_logits(tiny_vit(), rows.remove_columns("row"), tmp_path, batch_size=4)
    with pytest.raises(DataError, match="twice"):
        cached_logits(tiny_vit(), rows.select([0, 1, 1]), tmp_path, batch_size=4)


def test_the_teacher_is_asked_in_evaluation_mode_and_keeps_no_gradient(tmp_path: Path) -> None:
    model = tiny_vit(dropout=0.5).train()
    cached_logits(model, digit_images(0, 20), tmp_path, batch_size=8)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.is_grad_enabled()


def test_progress_bars_are_as_they_were_after_the_call(tmp_path: Path) -> None:
    bars = datasets.utils.are_progress_bars_disabled()
    cached_logits(tiny_vit(), digit_images(0, 4), tmp_path, batch_size=4)
    assert datasets.utils.are_progress_bars_disabled() == bars
