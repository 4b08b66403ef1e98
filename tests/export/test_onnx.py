from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch

from edgekd.errors import ExportError
from edgekd.export.check import describe
from edgekd.export.onnx import OPSET, export_onnx, input_names
from edgekd.export.parity import onnx_logits
from edgekd.export.reference import torch_logits
from edgekd.networks.convolutional import efficientnet, mobilenet_v2
from edgekd.networks.mixer import MixerSpec
from edgekd.networks.spec import Spec
from edgekd.student import StudentSpec
from edgekd.students.build import build

Maker = Callable[..., Any]
Ragged = Callable[..., list[dict[str, np.ndarray[Any, Any]]]]
NAMES = ("bert", "roberta", "vit", "gpt2_lm", "gpt2", "llama_lm", "llama")


def kind_of(name: str) -> Literal["text", "image"]:
    return "image" if name == "vit" else "text"


@pytest.mark.parametrize("name", NAMES)
def test_exported_model_answers_as_pytorch_at_every_batch_and_length(
    name: str, lively: Maker, ragged: Ragged, tmp_path: Path
) -> None:
    model = lively(name)
    export_onnx(model, tmp_path / "model.onnx", kind=kind_of(name))
    batches = ragged(name)
    expected = torch_logits(model, batches)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(onnx_logits(tmp_path / "model.onnx", batches), expected, atol=1e-4)


IMAGE_NETWORKS: dict[str, Spec] = {
    "mobilenet": mobilenet_v2(0.1, image_size=33, labels=5),
    "mobilenet of ours": replace(mobilenet_v2(0.1, image_size=33, labels=5), depths=(1,) * 7, squeeze=0.25),
    "efficientnet": efficientnet(0.25, image_size=36, labels=5),
    "mixer": MixerSpec(
        layers=2, hidden=12, token_ffn=9, channel_ffn=24, image_size=16, patch_size=4, channels=3, labels=5
    ),
}


def batches_and_model(spec: Spec) -> tuple[list[dict[str, np.ndarray[Any, Any]]], Any]:
    """Images for a network whose every number has been moved, batch statistics too, as in a trained one."""
    assert not isinstance(spec, StudentSpec)
    model, generator = build(spec, seed=0), torch.Generator().manual_seed(12)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    side, rng = spec.image_size, np.random.default_rng(13)
    sizes = [(count, spec.channels, side, side) for count in (1, 4)]
    batches = [{"pixel_values": rng.normal(size=size).astype(np.float32)} for size in sizes]
    with torch.no_grad():
        model.classifier.weight.mul_(1 / float(np.ptp(torch_logits(model, batches))))
    return batches, model


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in IMAGE_NETWORKS.items()])
def test_networks_of_images_answer_as_pytorch_does(spec: Spec, tmp_path: Path) -> None:
    batches, model = batches_and_model(spec)
    told = export_onnx(model, tmp_path / "model.onnx", kind="image")
    assert told.outputs[0].dims == ["batch", 5]
    expected = torch_logits(model, batches)
    assert 0.5 < np.ptp(expected) < 2
    np.testing.assert_allclose(onnx_logits(tmp_path / "model.onnx", batches), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet", "efficientnet", "mobilenet of ours"])
def test_a_folded_batch_norm_leaves_each_convolution_a_bias_of_its_own_before_and_after_training(
    name: str, tmp_path: Path
) -> None:
    untrained, (_, moved) = build(IMAGE_NETWORKS[name], seed=0), batches_and_model(IMAGE_NETWORKS[name])
    sizes = []
    for model in (untrained, moved):
        export_onnx(model, tmp_path / "model.onnx", kind="image")
        graph = onnx.load(tmp_path / "model.onnx").graph
        biases = [node.input[2] for node in graph.node if node.op_type == "Conv"]
        assert len(set(biases)) == len(biases)
        assert not {"BatchNormalization", "Identity"} & {node.op_type for node in graph.node}
        sizes.append(sorted(list(tensor.dims) for tensor in graph.initializer))
    assert sizes[0] == sizes[1]


def test_text_inputs_and_logits_are_described_with_free_batch_and_sequence(bert_file: Path) -> None:
    told = describe(bert_file)
    assert [(t.name, t.dtype, t.dims) for t in told.inputs] == [
        (name, "int64", ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert [(t.name, t.dtype, t.dims) for t in told.outputs] == [("logits", "float32", ["batch", 3])]
    assert told.opset == OPSET
    assert told.producer.startswith("pytorch 2")


def test_image_and_language_models_are_described_too(untrained: Maker, tmp_path: Path) -> None:
    image = export_onnx(untrained("vit"), tmp_path / "vit.onnx", kind="image")
    assert [(t.name, t.dtype, t.dims) for t in image.inputs] == [("pixel_values", "float32", ["batch", 3, 16, 16])]
    assert image.outputs[0].dims == ["batch", 5]
    words = export_onnx(untrained("llama_lm"), tmp_path / "llama.onnx", kind="text")
    assert [t.name for t in words.inputs] == ["input_ids", "attention_mask"]
    assert words.outputs[0].dims == ["batch", "sequence", 97]


def test_token_types_are_an_input_only_of_models_that_use_them(untrained: Maker) -> None:
    assert input_names(untrained("bert"), "text")[-1] == "token_type_ids"
    assert input_names(untrained("bert", type_vocab_size=1), "text") == ("input_ids", "attention_mask")
    assert input_names(untrained("roberta"), "text") == ("input_ids", "attention_mask")
    assert input_names(untrained("gpt2"), "text") == ("input_ids", "attention_mask")


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_same_weights_give_the_same_bytes(name: str, lively: Maker, tmp_path: Path) -> None:
    export_onnx(lively(name), tmp_path / "one.onnx", kind="text")
    torch.rand(3)  # somebody else uses the random numbers in between
    export_onnx(lively(name), tmp_path / "folder" / "two.onnx", kind="text")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "folder" / "two.onnx").read_bytes()


def test_another_process_gives_the_same_bytes(bert_file: Path, bert: Any, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, torch, transformers, warnings; warnings.simplefilter('ignore')\n"
        "from edgekd.export.onnx import export_onnx\n"
        "model = transformers.BertForSequenceClassification.from_pretrained(sys.argv[1])\n"
        "export_onnx(model, pathlib.Path(sys.argv[2]), kind='text')\n"
    )
    bert.save_pretrained(tmp_path / "checkpoint")
    target = tmp_path / "again.onnx"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "checkpoint"), str(target)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == bert_file.read_bytes()


def test_file_tells_nothing_of_this_machine(bert_file: Path) -> None:
    data = bert_file.read_bytes()
    for word in (str(Path.home()), str(Path(__file__).parents[2]), sys.prefix, "site-packages", ".py"):
        assert word.encode() not in data
    proto = onnx.load(bert_file)
    assert not proto.doc_string
    assert not any(node.doc_string for node in proto.graph.node)
    onnx.checker.check_model(proto, full_check=True)


def test_untrained_model_is_built_as_the_trained_one(untrained: Maker, bert_file: Path, tmp_path: Path) -> None:
    export_onnx(untrained("bert"), tmp_path / "untrained.onnx", kind="text")
    fresh, trained = onnx.load(tmp_path / "untrained.onnx"), onnx.load(bert_file)
    assert [node.op_type for node in fresh.graph.node] == [node.op_type for node in trained.graph.node]
    assert sorted(t.name for t in fresh.graph.initializer) == sorted(t.name for t in trained.graph.initializer)
    difference = (tmp_path / "untrained.onnx").stat().st_size - bert_file.stat().st_size
    assert abs(difference) < 50  # a digit more in a generated name


def test_model_is_as_before_after_the_export(lively: Maker, tmp_path: Path) -> None:
    model = lively("bert").train()
    model.classifier.eval()
    model.set_attn_implementation("sdpa")
    seed = torch.get_rng_state()
    export_onnx(model, tmp_path / "model.onnx", kind="text")
    assert model.training
    assert not model.classifier.training
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(seed, torch.get_rng_state())


def test_export_leaves_one_file_and_replaces_an_older_one(
    untrained: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    target.write_bytes(b"older")
    export_onnx(untrained("vit"), target, kind="image")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/model.onnx"]
    describe(target)


def test_weights_beyond_two_gigabytes_are_refused_before_any_work(untrained: Maker, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = untrained("bert", vocab_size=17_000_000)
    with pytest.raises(ExportError, match=r"the weights take 2\.18 GB, an ONNX file holds at most 2 GiB"):
        export_onnx(model, tmp_path / "large.onnx", kind="text")
    assert not (tmp_path / "large.onnx").exists()


def test_half_precision_weights_are_refused_with_the_remedy(untrained: Maker, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch\.bfloat16, expected torch\.float32.*model\.float\(\)"):
        export_onnx(untrained("bert").to(torch.bfloat16), tmp_path / "model.onnx", kind="text")


def test_decoder_without_padding_token_is_refused_and_named(untrained: Maker, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"LlamaForSequenceClassification cannot be exported.*padding token"):
        export_onnx(untrained("llama", pad_token_id=None), tmp_path / "model.onnx", kind="text")


def test_model_that_is_not_of_transformers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Linear has no config, expected a model of transformers"):
        export_onnx(torch.nn.Linear(2, 2), tmp_path / "model.onnx", kind="text")


def test_branch_on_values_is_reported_and_not_baked_in_silently(untrained: Maker, tmp_path: Path) -> None:
    class Deciding(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config = inner, inner.config

        def set_attn_implementation(self, name: str) -> None:
            self.inner.set_attn_implementation(name)

        def forward(self, input_ids: Any, attention_mask: Any, return_dict: bool = True) -> Any:
            answer = self.inner(input_ids=input_ids, attention_mask=attention_mask)
            if answer.logits.sum() > 0:
                answer.logits = -answer.logits
            return answer

    with pytest.warns(Warning, match="to a Python boolean might cause the trace to be incorrect"):
        export_onnx(
            Deciding(untrained("bert")), tmp_path / "model.onnx", kind="text", inputs=("input_ids", "attention_mask")
        )


def test_candidate_of_real_width_is_exported_in_seconds(untrained: Maker, tmp_path: Path) -> None:
    model = untrained("bert", hidden_size=256, num_hidden_layers=4, intermediate_size=1024, vocab_size=8000)
    began = time.perf_counter()
    export_onnx(model, tmp_path / "model.onnx", kind="text")
    assert time.perf_counter() - began < 10  # 1 s on a quiet machine; the other exporter needs more than this
