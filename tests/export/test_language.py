from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tiny_language import tiny_gpt2, tiny_llama

from edgekd.bench.artifact import artifact_from_file
from edgekd.distill.language import token_answers
from edgekd.errors import DataError, RecordError
from edgekd.export import language
from edgekd.export.language import language_record, token_batches
from edgekd.export.onnx import export_onnx

WHERE = {"dataset": "stories", "split": "test", "dataset_sha256": "0" * 64}


def rows(count: int = 5, length: int = 12, last: int = 7) -> Any:
    """Blocks of random tokens, the last one filled up after `last` of them."""
    ids = np.random.default_rng(0).integers(0, 97, (count, length))
    labels = ids.copy()
    labels[:, 0] = -100
    labels[-1, last:] = -100
    columns = {"input_ids": ids.tolist(), "labels": labels.tolist(), "row": list(range(count))}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_file_has_the_losses_and_answers_of_the_trained_model(tmp_path: Path, make: Any, batch: int) -> None:
    model, dataset, path = make(97), rows(), tmp_path / "model.onnx"
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    export_onnx(model, path, kind="text")
    record = language_record(path, artifact_from_file(path), token_batches(dataset, batch), **WHERE)
    expected = token_answers(model, dataset, 4)
    assert record.losses is not None
    assert record.losses.tokens == len(expected.losses) == 4 * 11 + 6
    assert record.losses.sum_nats == pytest.approx(expected.losses.sum(), rel=1e-5)
    assert record.labels == expected.truth.tolist()
    assert np.mean(np.array(record.predictions) == expected.answers) > 0.95


def test_of_many_tokens_some_evenly_spaced_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(tiny_llama(97), path, kind="text")
    monkeypatch.setattr(language, "MOST_ANSWERS", 20)
    record = language_record(path, artifact_from_file(path), token_batches(rows(), 2), **WHERE)
    truth = token_answers(tiny_llama(97), rows(), 4).truth
    assert record.losses is not None
    assert (len(record.labels), record.losses.tokens) == (17, 50)
    assert record.labels == truth[::3].tolist()


def test_batches_mask_what_fills_up_the_last_block_and_may_be_few() -> None:
    batches = list(token_batches(rows(), 2, 3))
    assert [len(batch["input_ids"]) for batch in batches] == [2, 1]
    last = next(iter(token_batches(rows(), 8)))
    assert last["attention_mask"].sum(axis=1).tolist() == [12, 12, 12, 12, 7]
    assert last["input_ids"].dtype == np.int64


def test_another_file_and_no_token_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    export_onnx(tiny_llama(97), path, kind="text")
    export_onnx(tiny_llama(97, seed=1), other, kind="text")
    with pytest.raises(RecordError, match="has SHA-256"):
        language_record(path, artifact_from_file(other), token_batches(rows(), 2), **WHERE)
    with pytest.raises(DataError, match="no token to predict"):
        language_record(path, artifact_from_file(path), token_batches(rows(1, last=1), 2), **WHERE)
