from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_lessons import by_hand, rows, teacher, tokenizer

from edgekd.distill.cache import cached_answers
from edgekd.distill.top_k import COLUMNS, TEACHER_IDS, TEACHER_LOG_PROBABILITIES, TEACHER_LOG_TAIL, top_k_question
from edgekd.errors import InputError, RecordError


def column(cached: Any, name: str) -> Any:
    return np.asarray(cached.with_format("numpy")[name][:])


def test_the_most_probable_tokens_are_kept_with_the_mass_of_all_others(tmp_path: Path) -> None:
    model, dataset = teacher(), rows(50, 2)
    cached = cached_answers(model, dataset, tmp_path, top_k_question(5), batch_size=4)
    ids, known, tail = (column(cached, n) for n in (TEACHER_IDS, TEACHER_LOG_PROBABILITIES, TEACHER_LOG_TAIL))
    assert [cached.features[name].feature.dtype for name in COLUMNS] == ["int32", "float16", "float32"]
    count, places = len(dataset), len(dataset[0]["input_ids"]) - 1
    assert (ids.shape, tail.shape) == ((count, places * 5), (count, places))
    asked = np.array(dataset["labels"][:])[:, 1:] != -100
    whole, _ = by_hand(model, dataset)
    best = whole.topk(5, dim=-1)
    kept = known.reshape(count, places, 5)[asked]
    np.testing.assert_allclose(kept, best.values, rtol=2e-3, atol=2e-3)
    rest = 1 - best.values.exp().sum(dim=-1)
    np.testing.assert_allclose(np.exp(tail[asked]), rest, rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(
        whole.gather(-1, torch.tensor(ids.reshape(count, places, 5)[asked]).long()), kept, atol=2e-2
    )


def test_a_small_vocabulary_is_kept_whole_with_a_tail_of_nothing(tmp_path: Path) -> None:
    dataset = rows(50, 1)
    cached = cached_answers(teacher(), dataset, tmp_path, top_k_question(10_000), batch_size=4)
    size, places = len(tokenizer()), len(dataset[0]["input_ids"]) - 1
    ids = column(cached, TEACHER_IDS).reshape(len(dataset), places, size)
    assert (np.sort(ids, axis=-1) == np.arange(size)).all()
    np.testing.assert_allclose(column(cached, TEACHER_LOG_TAIL), np.log(1e-6), rtol=1e-6)


def test_other_k_have_other_caches_and_the_same_is_read_again(tmp_path: Path) -> None:
    model, dataset = teacher(), rows(50, 2)
    first = cached_answers(model, dataset, tmp_path, top_k_question(5), batch_size=4)
    second = cached_answers(model, dataset, tmp_path, top_k_question(5), batch_size=1)
    cached_answers(model, dataset, tmp_path, top_k_question(6), batch_size=4)
    assert first.to_dict() == second.to_dict()
    assert len(list(tmp_path.glob("*/cache.json"))) == 2


def test_other_text_behind_the_same_key_is_found_by_the_probes(tmp_path: Path) -> None:
    cached_answers(teacher(), rows(50, 2), tmp_path, top_k_question(5), key="stories", batch_size=4)
    count = len(rows(50, 2))
    with pytest.raises(RecordError, match="computed again differ"):
        cached_answers(
            teacher(), rows(70, 4).select(range(count)), tmp_path, top_k_question(5), key="stories", batch_size=4
        )


def test_answers_go_on_after_a_kill(tmp_path: Path) -> None:
    model, dataset = teacher(), rows(50, 4)

    def kill(done: int, _total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"batch_size": 4, "shard_rows": 4}
    with pytest.raises(KeyboardInterrupt):
        cached_answers(model, dataset, tmp_path / "killed", top_k_question(5), on_rows=kill, **options)
    assert len(list((tmp_path / "killed").glob("*/shard-*"))) == 2
    whole = cached_answers(model, dataset, tmp_path / "whole", top_k_question(5), **options)
    assert (
        cached_answers(model, dataset, tmp_path / "killed", top_k_question(5), **options).to_dict() == whole.to_dict()
    )


def test_no_tokens_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="top_k is 0"):
        top_k_question(0)
