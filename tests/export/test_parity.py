from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.errors import DataError, ExportError, InputError, RecordError, SecurityError
from edgekd.export.manifest import ParityResult
from edgekd.export.onnx import export_onnx
from edgekd.export.parity import accuracy_record, check_parity, onnx_logits, require
from edgekd.export.reference import torch_logits
from edgekd.files import sha256_of_file
from edgekd.recipe import Parity
from edgekd.record import Artifact, read_record, write_record

Array = np.ndarray[Any, Any]
Batches = list[dict[str, Array]]
Maker = Callable[..., Any]
Ragged = Callable[..., Batches]
Change = Callable[[str, Callable[[Array], Array]], Path]


@pytest.fixture(scope="module")
def batches(ragged: Ragged) -> Batches:
    return ragged("bert", ((1, 5), (4, 9), (3, 40), (2, 16), (16, 12)))


@pytest.fixture(scope="module")
def reference(bert: Any, batches: Batches) -> Array:
    return torch_logits(bert, batches)


@pytest.fixture
def changed(bert_file: Path, tmp_path: Path) -> Change:
    """Writes the exported BERT with one weight replaced by what `change` makes of it."""

    def write(name: str, change: Callable[[Any], Any]) -> Path:
        proto = onnx.load(bert_file)
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
        onnx.save(proto, tmp_path / "changed.onnx")
        return tmp_path / "changed.onnx"

    return write


def artifact_of(path: Path) -> Artifact:
    return Artifact(name="bert", sha256=sha256_of_file(path), size_bytes=path.stat().st_size, precision="fp32")


def test_exported_model_agrees_with_the_trained_one(reference: Array, bert_file: Path, batches: Batches) -> None:
    result = check_parity(reference, bert_file, batches, Parity())
    assert result.examples == 26
    assert result.agreement == 1.0
    assert result.absolute < 1e-4
    assert result.relative == pytest.approx(result.absolute / np.abs(reference).max())
    require(result, "fp32", Parity())


def test_planted_wrong_weight_fails_parity(reference: Array, changed: Change, batches: Batches) -> None:
    def wrong(weight: Array) -> Array:
        weight[0] += 3.0
        return weight

    path = changed("model.bert.encoder.layer.1.output.dense.bias", wrong)
    result = check_parity(reference, path, batches, Parity())
    with pytest.raises(ExportError, match=r"a logit differs by .* on 26 examples, the limit is parity\.fp32_absolute"):
        require(result, "fp32", Parity())


def test_swapped_classes_fail_by_agreement_alone(reference: Array, changed: Change, batches: Batches) -> None:
    path = changed("model.classifier.weight", lambda weight: weight[::-1].copy())
    result = check_parity(reference, path, batches, Parity())
    assert result.agreement < 0.8
    with pytest.raises(
        ExportError, match=r"only .* of the answers .* parity\.int8_agreement = 90\.0 %.*lower the limit"
    ):
        require(result, "int8", Parity())
    with pytest.raises(ExportError, match=r"parity\.fp32_agreement = 100\.0 %"):
        require(result, "fp32", Parity(fp32_absolute=1e6))


def test_nan_and_infinity_fail(reference: Array, changed: Change, batches: Batches) -> None:
    for value in (np.nan, np.inf):
        path = changed("model.classifier.bias", partial(np.full_like, fill_value=value))
        with pytest.raises(ExportError, match="gives NaN or infinity"):
            check_parity(reference, path, batches, Parity())


def test_nan_in_the_trained_model_is_its_own_fault(reference: Array, bert_file: Path, batches: Batches) -> None:
    broken = reference.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ExportError, match="the trained model itself gives NaN"):
        check_parity(broken, bert_file, batches, Parity())


def test_only_as_many_examples_as_the_limit_are_run(reference: Array, bert_file: Path, batches: Batches) -> None:
    def until_enough() -> Iterator[dict[str, Array]]:
        yield from batches[:2]
        raise AssertionError("a batch too many was asked for")

    assert check_parity(reference, bert_file, until_enough(), Parity(examples=4)).examples == 4


def test_too_few_or_no_examples_are_refused(reference: Array, bert_file: Path, batches: Batches) -> None:
    with pytest.raises(ExportError, match="the batches hold 5 examples, the reference 26"):
        check_parity(reference, bert_file, batches[:2], Parity())
    with pytest.raises(ExportError, match="found no reference logits"):
        check_parity(reference[:0], bert_file, batches, Parity())
    with pytest.raises(InputError, match="no batch"):
        onnx_logits(bert_file, [])


def test_other_number_of_classes_is_refused(reference: Array, bert_file: Path, batches: Batches) -> None:
    with pytest.raises(ExportError, match=re.escape("gives logits of shape (26, 3), the trained model (26, 2)")):
        check_parity(reference[:, :2], bert_file, batches, Parity())


def test_missing_input_is_named_and_a_spare_one_left_alone(bert_file: Path, batches: Batches) -> None:
    spare = [{**batch, "labels": np.zeros(len(batch["input_ids"]), np.int64)} for batch in batches]
    np.testing.assert_array_equal(onnx_logits(bert_file, spare), onnx_logits(bert_file, batches))
    with pytest.raises(ExportError, match="needs the input 'token_type_ids', found attention_mask, input_ids"):
        onnx_logits(bert_file, [{name: batches[0][name] for name in ("input_ids", "attention_mask")}])


def test_input_that_cannot_be_run_is_an_export_error(bert_file: Path, batches: Batches) -> None:
    wrong = {name: value.astype(np.float32) for name, value in batches[0].items()}
    with pytest.raises(ExportError, match="onnxruntime cannot run it"):
        onnx_logits(bert_file, [wrong])
    unknown = {**batches[0], "input_ids": np.full_like(batches[0]["input_ids"], 5000)}
    with pytest.raises(ExportError, match="onnxruntime cannot run it"):
        onnx_logits(bert_file, [unknown])


def test_padding_of_a_language_model_is_not_compared(lively: Maker, ragged: Ragged, tmp_path: Path) -> None:
    model, batches = lively("gpt2_lm"), ragged("gpt2_lm")
    export_onnx(model, tmp_path / "lm.onnx", kind="text")
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    reference = torch_logits(model, batches)
    assert reference.shape == (tokens, 97)
    result = check_parity(reference, tmp_path / "lm.onnx", batches, Parity())
    assert result.examples == min(tokens, 128)
    require(result, "fp32", Parity())


def test_number_of_threads_is_used_and_changes_little(bert_file: Path, batches: Batches) -> None:
    np.testing.assert_allclose(onnx_logits(bert_file, batches, threads=2), onnx_logits(bert_file, batches), atol=1e-5)


def test_unsafe_file_is_refused_before_it_is_loaded(bert_file: Path, batches: Batches, tmp_path: Path) -> None:
    proto = onnx.load(bert_file)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(SecurityError):
        onnx_logits(tmp_path / "m.onnx", batches)


def test_graph_that_cannot_be_loaded_is_an_export_error(bert_file: Path, batches: Batches, tmp_path: Path) -> None:
    proto = onnx.load(bert_file)
    proto.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ExportError, match="cannot load it"):
        onnx_logits(tmp_path / "m.onnx", batches)


def test_weights_in_a_safe_file_beside_the_model_are_used(bert_file: Path, batches: Batches, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(bert_file), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert (tmp_path / "m.data").stat().st_size > 50_000
    np.testing.assert_array_equal(onnx_logits(tmp_path / "m.onnx", batches), onnx_logits(bert_file, batches))


def test_precision_without_a_limit_is_refused() -> None:
    with pytest.raises(ExportError, match="no parity limit for the precision 'fp8'"):
        require(ParityResult(absolute=0, relative=0, agreement=1, examples=1), "fp8", Parity())


def test_accuracy_record_holds_every_answer_beside_the_right_one(
    bert_file: Path, batches: Batches, reference: Array, tmp_path: Path
) -> None:
    labels = [int(answer) for answer in reference.argmax(axis=1)]
    labels[0] = (labels[0] + 1) % 3
    record = accuracy_record(
        bert_file, artifact_of(bert_file), batches, labels, dataset="d", split="test", dataset_sha256="0" * 64
    )
    assert record.accuracy == pytest.approx(25 / 26)
    assert record.labels == labels
    assert record.task == "text-classification"
    assert record.runtime.name == "onnxruntime"
    assert record.runtime.providers == ["CPUExecutionProvider"]
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record


def test_accuracy_of_another_file_or_of_other_labels_is_refused(bert_file: Path, batches: Batches) -> None:
    names: dict[str, Any] = {"dataset": "d", "split": "test", "dataset_sha256": "0" * 64}
    artifact = artifact_of(bert_file)
    with pytest.raises(DataError, match="d test: found 3 labels for 26 examples"):
        accuracy_record(bert_file, artifact, batches, [0, 1, 2], **names)
    with pytest.raises(DataError, match="found the label 3, the model knows 0 to 2"):
        accuracy_record(bert_file, artifact, batches, [3] * 26, **names)
    other = artifact.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(RecordError, match="expected 000000000000… of bert"):
        accuracy_record(bert_file, other, batches, [0] * 26, **names)
