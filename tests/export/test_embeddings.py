from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekd.errors import DataError, ExportError, RecordError
from edgekd.export.embeddings import embedding_parity, embedding_record
from edgekd.export.manifest import artifact, entry_from_file
from edgekd.export.onnx import export_onnx
from edgekd.export.parity import check_parity, onnx_logits, require
from edgekd.export.reference import torch_logits
from edgekd.export.variants import write_variant
from edgekd.pooling import Pooling, PoolingMode, embedded, set_pooling
from edgekd.recipe import Parity
from edgekd.record import AccuracyRecord
from edgekd.retrieval import agreement, neighbours
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

Ragged = Callable[..., list[dict[str, np.ndarray[Any, Any]]]]


def encoder(pooling: Pooling, *, hidden: int = 32, seed: int = 1, architecture: str = "bert") -> Any:
    spec = StudentSpec(
        architecture=architecture, layers=2, hidden=hidden, heads=4, ffn=48, vocabulary=97, positions=42,
        token_types=2, head="none",
    )  # fmt: skip
    config = config_from_spec(spec)
    set_pooling(config, pooling)
    model = build(spec, config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export_onnx(encoder(Pooling()), path, kind="text")
    return path


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("mode", ["mean", "cls", "last"])
def test_the_exported_graph_pools_as_the_model_does_whatever_the_padding(
    mode: PoolingMode, normalised: bool, architecture: str, ragged: Ragged, tmp_path: Path
) -> None:
    model = encoder(Pooling(mode, normalised), architecture=architecture)
    described = export_onnx(model, tmp_path / "encoder.onnx", kind="text")
    assert [(output.name, output.dims) for output in described.outputs] == [("embedding", ["batch", 32])]
    batches = ragged(architecture)
    found, reference = onnx_logits(tmp_path / "encoder.onnx", batches), torch_logits(model, batches)
    np.testing.assert_allclose(found, reference, atol=1e-5)
    inputs = {name: torch.from_numpy(value) for name, value in batches[1].items()}
    with torch.no_grad():
        np.testing.assert_allclose(reference[1:5], embedded(model, inputs).numpy(), atol=1e-6)
    lengths = np.linalg.norm(found, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) is normalised


def test_parity_is_that_of_vectors_and_of_what_they_find(file: Path, ragged: Ragged) -> None:
    batches = ragged("bert", ((4, 9), (3, 40), (2, 16), (5, 30)))
    result = check_parity(torch_logits(encoder(Pooling()), batches), file, batches, Parity())
    assert (result.agreement, result.examples) == (1.0, 14)
    assert result.absolute < 1e-5
    assert result.cosine == pytest.approx(1, abs=1e-6)
    require(result, "fp32", Parity())


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4", "fp32-fused", "int8-fused"])
def test_every_precision_still_pools(file: Path, ragged: Ragged, precision: str, tmp_path: Path) -> None:
    write_variant(file, tmp_path / "variant.onnx", precision)
    batches = ragged("bert", ((4, 9), (3, 40), (2, 16), (5, 30)))
    result = check_parity(torch_logits(encoder(Pooling()), batches), tmp_path / "variant.onnx", batches, Parity())
    assert result.cosine is not None
    assert result.cosine > 0.9


def test_another_encoder_is_found_out(file: Path, ragged: Ragged) -> None:
    batches = ragged("bert", ((4, 9), (3, 40), (2, 16), (5, 30)))
    other = torch_logits(encoder(Pooling(), seed=2), batches)
    result = check_parity(other, file, batches, Parity())
    assert result.agreement < 0.5
    with pytest.raises(ExportError, match="differs by"):
        require(result, "fp32", Parity())
    with pytest.raises(ExportError, match=r"only .* of the answers are the trained model's"):
        require(result, "int8", Parity())


def test_of_two_texts_nothing_can_be_said(file: Path) -> None:
    with pytest.raises(ExportError, match="found 2 texts to compare on, expected at least 3"):
        embedding_parity(np.ones((2, 4)), np.ones((2, 4)), file)


def record(path: Path, batches: Any, teacher: Any) -> AccuracyRecord:
    entry = entry_from_file(path, name="encoder", precision="fp32", role="student", parity=None)
    return embedding_record(path, artifact(entry), batches, teacher, dataset="d", split="test", dataset_sha256="0" * 64)


def test_a_record_holds_the_nearest_texts_of_file_and_teacher(file: Path, ragged: Ragged) -> None:
    batches = ragged("bert", ((4, 9), (3, 40), (2, 16), (5, 30)))
    teacher = torch_logits(encoder(Pooling(), hidden=16, seed=5), batches)
    found, vectors = record(file, batches, teacher), onnx_logits(file, batches)
    assert found.predictions == neighbours(vectors, 1)[:, 0].tolist()
    assert found.labels == neighbours(teacher, 1)[:, 0].tolist()
    expected = agreement(vectors, teacher)
    assert found.accuracy == expected.top_1
    assert (found.recall_at_10, found.spearman) == (expected.recall_at_10, pytest.approx(expected.spearman))
    again = AccuracyRecord.model_validate(found.model_dump(mode="json"))
    assert again == found


def test_another_file_or_other_texts_are_refused(file: Path, ragged: Ragged, tmp_path: Path) -> None:
    batches = ragged("bert")
    teacher = torch_logits(encoder(Pooling()), batches)
    with pytest.raises(DataError, match="found 10 texts and 9 embeddings of the teacher"):
        record(file, batches, teacher[:-1])
    export_onnx(encoder(Pooling(), seed=3), tmp_path / "other.onnx", kind="text")
    made = artifact(entry_from_file(file, name="encoder", precision="fp32", role="student", parity=None))
    with pytest.raises(RecordError, match="has SHA-256"):
        embedding_record(
            tmp_path / "other.onnx", made, batches, teacher, dataset="d", split="t", dataset_sha256="0" * 64
        )
