"""The two graphs of an encoder-decoder write what PyTorch writes, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edgekd.errors import ExportError
from edgekd.export.encoder_decoder import cache_names, export_encoder_decoder
from edgekd.student import StudentSpec
from edgekd.students.build import build

SPECS = {
    "t5": StudentSpec(
        architecture="t5",
        layers=2,
        decoder_layers=3,
        hidden=16,
        heads=2,
        head_dim=6,
        ffn=24,
        vocabulary=50,
        positions=8,
    ),
    "t5 gated": StudentSpec(
        architecture="t5", layers=1, decoder_layers=1, hidden=8, heads=2, ffn=24, vocabulary=50, positions=8, gated=True
    ),
    "bart": StudentSpec(
        architecture="bart", layers=3, decoder_layers=2, hidden=16, heads=4, ffn=24, vocabulary=50, positions=40
    ),
}


def lively(spec: StudentSpec) -> Any:
    """A model whose biases, norms and attention matter as in a trained one."""
    model, generator = build(spec, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


class Written:
    """The two files, and what they write."""

    def __init__(self, spec: StudentSpec, model: Any, folder: Path) -> None:
        self.spec = spec
        self.encoder_told, self.decoder_told = export_encoder_decoder(model, folder / "e.onnx", folder / "d.onnx")
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
            for name in ("e.onnx", "d.onnx")
        )

    def logits(self, ids: Any, mask: Any, chunks: list[Any]) -> Any:
        """The decoder is given one chunk of its tokens after the other, and its own cache again each time."""
        encoded = dict(
            zip(
                self.names(self.encoder),
                self.encoder.run(None, {"input_ids": ids, "attention_mask": mask}),
                strict=True,
            )
        )
        empty = np.zeros((len(ids), self.spec.heads, 0, self.spec.head_dim), np.float32)
        cache = dict.fromkeys(cache_names("past_key_values", "decoder", self.spec.decoder_layers), empty)
        found = []
        for chunk in chunks:
            given = {"input_ids": chunk, "attention_mask": mask, **encoded, **cache}
            answer = dict(zip(self.names(self.decoder), self.decoder.run(None, given), strict=True))
            found.append(answer.pop("logits"))
            cache = {name.replace("present", "past_key_values"): tensor for name, tensor in answer.items()}
        return np.concatenate(found, axis=1)

    @staticmethod
    def names(session: onnxruntime.InferenceSession) -> list[str]:
        return [output.name for output in session.get_outputs()]


@pytest.mark.parametrize("name", list(SPECS))
def test_prefill_and_steps_answer_as_pytorch_at_every_batch_and_length(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    model = lively(spec)
    written, rng = Written(spec, model, tmp_path), np.random.default_rng(2)
    for batch, source, first in ((1, 7, 1), (3, 11, 6), (2, 1, 2)):
        ids = rng.integers(3, 50, (batch, source))
        mask = (np.arange(source) < rng.integers(1, source + 1, (batch, 1))).astype(np.int64)
        tokens = rng.integers(3, 50, (batch, first + 3))
        with torch.no_grad():
            expected = model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(mask),
                decoder_input_ids=torch.from_numpy(tokens),
            ).logits.numpy()
        chunks = [tokens[:, :first], tokens[:, first : first + 1], tokens[:, first + 1 :]]
        assert np.ptp(expected) > 0.5
        np.testing.assert_allclose(written.logits(ids, mask, chunks), expected, atol=1e-4)


def test_the_files_say_what_they_take_and_give(tmp_path: Path) -> None:
    written = Written(SPECS["bart"], lively(SPECS["bart"]), tmp_path)
    encoder, decoder = written.encoder_told, written.decoder_told
    assert [(tensor.name, tensor.dims) for tensor in encoder.inputs] == [
        ("input_ids", ["batch", "source"]), ("attention_mask", ["batch", "source"]),
    ]  # fmt: skip
    assert [tensor.name for tensor in encoder.outputs] == cache_names("past_key_values", "encoder", 2)
    assert encoder.outputs[0].dims == ["batch", 4, "source", 4]
    assert {tensor.name: tensor.dims for tensor in decoder.inputs if "0" in tensor.name} == {
        "past_key_values.0.encoder.key": ["batch", 4, "source", 4],
        "past_key_values.0.encoder.value": ["batch", 4, "source", 4],
        "past_key_values.0.decoder.key": ["batch", 4, "past", 4],
        "past_key_values.0.decoder.value": ["batch", 4, "past", 4],
    }
    assert [tensor.name for tensor in decoder.outputs] == ["logits", *cache_names("present", "decoder", 2)]
    assert decoder.outputs[0].dims == ["batch", "target", 50]
    assert decoder.outputs[1].dims == ["batch", 4, "present", 4]


def test_equal_weights_give_equal_files_and_leave_the_model_as_it_was(tmp_path: Path) -> None:
    model = lively(SPECS["t5"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    for run in ("one", "two"):
        export_encoder_decoder(model, tmp_path / f"{run}.e.onnx", tmp_path / f"{run}.d.onnx")
    for half in ("e", "d"):
        assert (tmp_path / f"one.{half}.onnx").read_bytes() == (tmp_path / f"two.{half}.onnx").read_bytes()
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    gpt2 = StudentSpec(architecture="gpt2", layers=1, hidden=8, heads=2, ffn=8, vocabulary=20, positions=8)
    with pytest.raises(ExportError, match="found a gpt2, expected one of t5, bart"):
        export_encoder_decoder(build(gpt2, seed=0), tmp_path / "e.onnx", tmp_path / "d.onnx")
    assert list(tmp_path.iterdir()) == []
