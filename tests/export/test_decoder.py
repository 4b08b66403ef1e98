from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edgekd.errors import ExportError
from edgekd.export.check import describe
from edgekd.export.decoder import export_decode, export_prefill
from edgekd.export.quantize import quantize_dynamic

Maker = Callable[..., Any]
Files = tuple[Any, Path, Path]


@pytest.fixture(scope="module", params=["gpt2_lm", "llama_lm"])
def files(request: pytest.FixtureRequest, lively: Maker, tmp_path_factory: pytest.TempPathFactory) -> Files:
    model, folder = lively(request.param).eval(), tmp_path_factory.mktemp(request.param)
    model.set_attn_implementation("sdpa")
    export_prefill(model, folder / "prefill.onnx")
    export_decode(model, folder / "decode.onnx")
    return model, folder / "prefill.onnx", folder / "decode.onnx"


def session_of(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def fed(session: Any, ids: np.ndarray[Any, Any], past: list[Any]) -> list[Any]:
    names = [value.name for value in session.get_inputs()]
    answers: list[Any] = session.run(None, dict(zip(names, [ids, *past], strict=True)))
    return answers


@pytest.mark.parametrize(("batch", "prompt"), [(1, 1), (3, 11), (2, 30)])
def test_prompt_and_then_token_by_token_gives_the_logits_of_the_whole_sequence(
    files: Files, batch: int, prompt: int
) -> None:
    model, prefill, decode = files
    ids = np.random.default_rng(batch).integers(0, 97, size=(batch, prompt + 4))
    with torch.no_grad():
        expected = model(input_ids=torch.from_numpy(ids)).logits.numpy()
    assert np.abs(expected).max() > 1
    logits, *present = fed(session_of(prefill), ids[:, :prompt], [])
    assert logits.shape == (batch, 1, 97)
    np.testing.assert_allclose(logits[:, 0], expected[:, prompt - 1], atol=1e-4)
    step = session_of(decode)
    for at in range(prompt, prompt + 4):
        logits, *present = fed(step, ids[:, at : at + 1], present)
        np.testing.assert_allclose(logits[:, 0], expected[:, at], atol=1e-4)
        assert {tensor.shape[2] for tensor in present} == {at + 1}


def test_keys_and_values_are_those_of_the_model(files: Files) -> None:
    model, prefill, _ = files
    ids = np.random.default_rng(5).integers(0, 97, size=(2, 9))
    _, *present = fed(session_of(prefill), ids, [])
    with torch.no_grad():
        cache = model(input_ids=torch.from_numpy(ids), use_cache=True).past_key_values
    for index, layer in enumerate(cache.layers):
        np.testing.assert_allclose(present[2 * index], layer.keys.numpy(), atol=1e-5)
        np.testing.assert_allclose(present[2 * index + 1], layer.values.numpy(), atol=1e-5)


def test_inputs_and_outputs_say_which_sizes_are_free(files: Files) -> None:
    model, prefill, decode = files
    heads = 2 if model.config.model_type == "llama" else 4
    names = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    told = describe(prefill)
    assert [(value.name, value.dims) for value in told.inputs] == [("input_ids", ["batch", "sequence"])]
    assert [(value.name, value.dims) for value in told.outputs] == [
        ("logits", ["batch", 1, 97]),
        *((f"present.{name}", ["batch", heads, "sequence", 8]) for name in names),
    ]
    told = describe(decode)
    assert [(value.name, value.dims) for value in told.inputs] == [
        ("input_ids", ["batch", 1]),
        *((f"past_key_values.{name}", ["batch", heads, "past", 8]) for name in names),
    ]
    assert [(value.name, value.dims) for value in told.outputs] == [
        ("logits", ["batch", 1, 97]),
        *((f"present.{name}", ["batch", heads, "past and one", 8]) for name in names),
    ]


def test_model_is_left_as_it_was(files: Files) -> None:
    model, _, _ = files
    assert model.config._attn_implementation == "sdpa"


def test_both_graphs_can_be_quantised(files: Files, tmp_path: Path) -> None:
    _, prefill, decode = files
    ids = np.random.default_rng(6).integers(0, 97, size=(1, 8))
    answers = []
    for precision in ("fp32", "int8"):
        steps = []
        for source in (prefill, decode):
            target = source
            if precision == "int8":
                target = tmp_path / source.name
                quantize_dynamic(source, target)
            steps.append(session_of(target))
        _, *present = fed(steps[0], ids[:, :7], [])
        answers.append(fed(steps[1], ids[:, 7:], present)[0])
    plain, small = answers
    assert 0 < np.sqrt(((plain - small) ** 2).mean()) < 0.3 * plain.std()


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_classifier_is_refused(name: str, untrained: Maker, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="expected a causal language model"):
        export_prefill(untrained(name), tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="expected a causal language model"):
        export_decode(untrained(name), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_model_with_a_sliding_cache_is_refused(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        vocab_size=97, max_position_embeddings=40, sliding_window=8,
    )  # fmt: skip
    with pytest.raises(ExportError, match="no plain cache of all positions"):
        export_prefill(MistralForCausalLM(config), tmp_path / "model.onnx")
