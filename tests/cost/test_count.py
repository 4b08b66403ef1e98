from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.utils.flop_counter import FlopCounterMode
from transformers.pytorch_utils import Conv1D

from edgekd.cost.count import (
    activation_bytes,
    cache_bytes,
    count,
    count_each,
    macs,
    parameters,
    peak_activation_bytes,
    weight_bytes,
)
from edgekd.cost.operators import operators
from edgekd.errors import ExportError, SpecError
from edgekd.export.onnx import export_onnx
from edgekd.export.variants import write_variant
from edgekd.pooling import Pooling, embedded, set_pooling
from edgekd.student import PRECISIONS, StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

torch.set_num_threads(1)

KINDS = [
    ("bert", False),
    ("roberta", False),
    ("vit", False),
    ("gpt2", False),
    ("gpt2", True),
    ("llama", False),
    ("llama", True),
]
PER_KIND = 5


def random_spec(architecture: str, *, language_model: bool, seed: int) -> StudentSpec:
    draw = random.Random(f"{architecture} {language_model} {seed}")
    heads, dim = draw.choice([1, 2, 3, 4]), draw.choice([4, 8, 12])
    sizes: dict[str, Any] = {"layers": draw.randint(1, 4), "hidden": heads * dim, "heads": heads}
    sizes |= {"ffn": draw.randint(8, 64), "labels": 0 if language_model else draw.randint(1, 7)}
    if architecture == "vit":
        patch = draw.choice([2, 3])
        sizes |= {"patch_size": patch, "image_size": patch * draw.randint(2, 4), "channels": draw.choice([1, 3])}
    else:
        sizes |= {"vocabulary": draw.randint(20, 90), "positions": draw.randint(24, 40)}
    if architecture in ("bert", "roberta"):
        sizes["token_types"] = draw.randint(1, 3)
    if architecture == "llama":
        sizes["kv_heads"] = draw.choice([n for n in range(1, heads + 1) if heads % n == 0])
        sizes["head_dim"] = draw.choice([4, 6, 10])
    if language_model:
        sizes["tied"] = draw.random() < 0.5
    return StudentSpec(architecture=architecture, **sizes)


def cases() -> list[Any]:
    return [
        pytest.param(random_spec(name, language_model=lm, seed=seed), seed, id=f"{name}{'-lm' * lm}-{seed}")
        for name, lm in KINDS
        for seed in range(PER_KIND)
    ]


def batch_and_sequence(spec: StudentSpec, seed: int) -> tuple[int, int]:
    draw = random.Random(seed)
    return draw.randint(1, 3), spec.tokens or draw.randint(1, 20)


def model_and_inputs(spec: StudentSpec, batch: int, sequence: int) -> tuple[Any, dict[str, torch.Tensor]]:
    model = build(spec, seed=0)
    model.set_attn_implementation("eager")
    if spec.family == "vit":
        side = spec.image_size
        return model, {"pixel_values": torch.zeros(batch, spec.channels, side, side)}
    return model, {"input_ids": torch.full((batch, sequence), 5)}


@pytest.mark.parametrize(("spec", "seed"), cases())
def test_parameters_are_those_of_the_real_model(spec: StudentSpec, seed: int) -> None:
    assert parameters(spec) == sum(parameter.numel() for parameter in build(spec, seed=0).parameters())


@pytest.mark.parametrize(("spec", "seed"), cases())
def test_macs_are_half_the_flops_that_torch_counts_in_a_forward_pass(spec: StudentSpec, seed: int) -> None:
    batch, sequence = batch_and_sequence(spec, seed)
    model, inputs = model_and_inputs(spec, batch, sequence)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(**inputs)
    assert 2 * macs(spec, batch=batch, sequence=sequence).total == counter.get_total_flops()


OUTPUT_PROJECTIONS = ("attention.output.dense", "attn.c_proj", "o_proj")


def measured_activation_elements(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Elements of leaf outputs, scores and context, and elements of the distinct inputs of linear layers."""
    outputs: list[int] = []
    read: dict[int, torch.Tensor] = {}

    def written(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.extend(tensor.numel() for tensor in (output if isinstance(output, tuple) else (output,)))

    def reads(_module: Any, arguments: Any) -> None:
        read[id(arguments[0])] = arguments[0]

    def context(_module: Any, arguments: Any) -> None:
        outputs.append(arguments[0].numel())

    for name, module in model.named_modules():
        if name.endswith(OUTPUT_PROJECTIONS):
            module.register_forward_pre_hook(context)
        if isinstance(module, torch.nn.Linear | Conv1D):
            module.register_forward_pre_hook(reads)
        if not list(module.children()) and not isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(written)
    with torch.no_grad():
        result = model(**inputs, output_attentions=True)
    scores = [attention.numel() for attention in result.attentions]
    return sum(outputs) + sum(scores), sum(tensor.numel() for tensor in read.values())


@pytest.mark.parametrize(("spec", "seed"), cases())
def test_activation_bytes_are_those_that_hooks_see_in_a_forward_pass(spec: StudentSpec, seed: int) -> None:
    batch, sequence = batch_and_sequence(spec, seed)
    written, read = measured_activation_elements(*model_and_inputs(spec, batch, sequence))
    shape = {"batch": batch, "sequence": sequence}
    assert activation_bytes(spec, **shape, precision="fp32") == 4 * written
    assert activation_bytes(spec, **shape, precision="int8") == 4 * written + read


BERT = StudentSpec(
    architecture="bert", layers=3, hidden=16, heads=4, ffn=64, vocabulary=50, positions=40, token_types=2, labels=3
)
LLAMA = StudentSpec(
    architecture="llama",
    layers=4,
    hidden=16,
    heads=4,
    kv_heads=2,
    ffn=24,
    vocabulary=50,
    positions=40,
    tied=True,
)


def test_peak_of_a_short_input_is_the_feed_forward_block() -> None:
    # Alive while the second matrix runs: its input (64), its output (16) and the residual stream (16), per token.
    assert peak_activation_bytes(BERT, batch=2, sequence=5, precision="fp32") == 4 * 10 * (64 + 16 + 16)
    assert peak_activation_bytes(BERT, batch=2, sequence=5, precision="int8") == 4 * 10 * (64 + 16 + 16) + 10 * 64


def test_peak_of_a_long_input_is_the_attention_block() -> None:
    # While the scores are made: residual stream, query, key and value (16 each per token) and the 4 x 40 x 40 scores.
    assert peak_activation_bytes(BERT, batch=1, sequence=40, precision="fp32") == 4 * (40 * 4 * 16 + 4 * 40 * 40)


def test_peak_of_a_gated_block_keeps_gate_and_rotation() -> None:
    wide = StudentSpec(**(LLAMA.to_dict() | {"ffn": 200}))
    # While up is made: stream and its norm (16 each), gate and up (200 each) per token, cosine and sine (4 each).
    assert peak_activation_bytes(wide, batch=1, sequence=3, precision="fp32") == 4 * 3 * (16 + 16 + 200 + 200 + 8)


@pytest.mark.parametrize(("spec", "seed"), cases())
def test_peak_lies_between_the_largest_tensor_and_all_of_them(spec: StudentSpec, seed: int) -> None:
    batch, sequence = batch_and_sequence(spec, seed)
    trace = operators(spec, batch=batch, sequence=sequence)
    peak = peak_activation_bytes(spec, batch=batch, sequence=sequence, precision="fp32")
    assert 4 * max(op.elements for op in trace) <= peak <= 4 * sum(op.elements for op in trace)


def test_peak_does_not_grow_with_depth_and_activations_do() -> None:
    deep = StudentSpec(**(BERT.to_dict() | {"layers": 9}))
    shape = {"batch": 1, "sequence": 16, "precision": "fp32"}
    assert peak_activation_bytes(deep, **shape) == peak_activation_bytes(BERT, **shape)
    per_layer = activation_bytes(deep, **shape) - activation_bytes(BERT, **shape)
    assert per_layer > 0
    assert per_layer % 6 == 0


@pytest.mark.parametrize(("spec", "seed"), [case for case in cases() if case.values[1] == 2])
def test_weights_are_what_the_exported_files_hold(spec: StudentSpec, seed: int, tmp_path: Path) -> None:
    model = build(spec, seed=seed)
    export_onnx(model, tmp_path / "fp32.onnx", kind="image" if spec.family == "vit" else "text")
    # A fused graph keeps a constant or two among its weights.
    for precision in PRECISIONS:
        more = 16 if precision.endswith("-fused") else 0
        if more and spec.architecture == "llama":
            with pytest.raises(ExportError, match="no operators that could be fused"):
                write_variant(tmp_path / "fp32.onnx", tmp_path / "fused.onnx", precision)
            continue
        if precision != "fp32":
            write_variant(tmp_path / "fp32.onnx", tmp_path / f"{precision}.onnx", precision)
        stored = onnx.load(tmp_path / f"{precision}.onnx").graph.initializer
        found = sum(numpy_helper.to_array(tensor).nbytes for tensor in stored)
        assert 0 <= found - weight_bytes(spec, precision) <= more


ENCODERS = [("bert", "mean"), ("bert", "cls"), ("roberta", "last")]


@pytest.mark.parametrize(("architecture", "mode"), ENCODERS)
def test_an_encoder_without_a_head_is_counted_like_the_real_one(architecture: str, mode: Any, tmp_path: Path) -> None:
    sizes = random_spec(architecture, language_model=False, seed=3).to_dict()
    spec = StudentSpec(**(sizes | {"labels": 0, "head": "none"}))
    config = config_from_spec(spec)
    set_pooling(config, Pooling(mode))
    model: Any = build(spec, config, seed=3)
    model.set_attn_implementation("eager")
    assert parameters(spec) == sum(parameter.numel() for parameter in model.parameters())
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        embedded(model, {"input_ids": torch.full((2, 7), 5)})
    assert 2 * macs(spec, batch=2, sequence=7).total == counter.get_total_flops()
    export_onnx(model, tmp_path / "fp32.onnx", kind="text")
    for precision in ("fp32", "fp16", "int8", "int4"):
        if precision != "fp32":
            write_variant(tmp_path / "fp32.onnx", tmp_path / f"{precision}.onnx", precision)
        stored = onnx.load(tmp_path / f"{precision}.onnx").graph.initializer
        assert sum(numpy_helper.to_array(tensor).nbytes for tensor in stored) == weight_bytes(spec, precision)


def test_one_of_the_exported_models_has_a_tied_head() -> None:
    chosen = [case.values[0] for case in cases() if case.values[1] == 2]
    assert [spec.architecture for spec in chosen if spec.tied and not spec.labels] == ["gpt2", "llama"]


def test_an_output_channel_costs_a_scale_and_a_zero_point_in_int8() -> None:
    wider = StudentSpec(**(BERT.to_dict() | {"ffn": 65}))
    # Another column of one matrix with its bias, and another row of the other, in each layer.
    assert weight_bytes(wider, "int8") - weight_bytes(BERT, "int8") == 3 * (16 + 4 + 1 + 4 + 16)


def test_a_block_of_four_bits_is_filled_up() -> None:
    # 64 and 65 inner numbers are two and three blocks of each of the 16 outputs; 16 inputs are one block of each inner.
    wider = StudentSpec(**(BERT.to_dict() | {"ffn": 65}))
    assert weight_bytes(wider, "int4") - weight_bytes(BERT, "int4") == 3 * (20 + 4 + 16 * 20)


def test_half_precision_halves_everything() -> None:
    shape = {"batch": 2, "sequence": 7}
    half, whole = (count(BERT, **shape, precision=precision) for precision in ("fp16", "fp32"))
    for name in ("weight_bytes", "activation_bytes", "peak_activation_bytes"):
        assert 2 * getattr(half, name) == getattr(whole, name)


def test_fp32_weights_take_four_bytes_and_a_tied_head_costs_a_copy() -> None:
    untied = StudentSpec(**(LLAMA.to_dict() | {"tied": False}))
    table = LLAMA.vocabulary * LLAMA.hidden
    assert weight_bytes(untied, "fp32") == 4 * parameters(untied)
    assert parameters(untied) == parameters(LLAMA) + table
    for precision in PRECISIONS:
        assert weight_bytes(untied, precision) == weight_bytes(LLAMA, precision)


def test_one_list_of_operators_serves_all_precisions() -> None:
    each = count_each(BERT, ("int8", "fp32"), batch=2, sequence=7)
    assert list(each) == ["int8", "fp32"]
    for precision, counts in each.items():
        assert counts == count(BERT, batch=2, sequence=7, precision=precision)


def test_counts_join_the_single_functions() -> None:
    shape = {"batch": 2, "sequence": 7}
    counts = count(BERT, **shape, precision="int8")
    assert counts.breakdown == macs(BERT, **shape)
    assert counts.to_dict() == {
        "parameters": parameters(BERT),
        "macs": macs(BERT, **shape).total,
        "breakdown": counts.to_dict()["breakdown"],
        "weight_bytes": weight_bytes(BERT, "int8"),
        "activation_bytes": activation_bytes(BERT, **shape, precision="int8"),
        "peak_activation_bytes": peak_activation_bytes(BERT, **shape, precision="int8"),
        "batch": 2,
        "sequence": 7,
        "precision": "int8",
    }


@pytest.mark.parametrize(("spec", "seed"), [case for case in cases() if case.values[0].family == "decoder"])
def test_the_cache_holds_what_a_real_decoder_keeps(spec: StudentSpec, seed: int) -> None:
    batch, sequence = batch_and_sequence(spec, seed)
    model, inputs = model_and_inputs(spec, batch, sequence)
    with torch.no_grad():
        kept = model(**inputs, use_cache=True).past_key_values
    tensors = [tensor for layer in kept.layers for tensor in (layer.keys, layer.values)]
    assert cache_bytes(spec, batch=batch, tokens=sequence) == sum(tensor.nbytes for tensor in tensors)
    assert cache_bytes(BERT, batch=batch, tokens=sequence) == 0


@pytest.mark.parametrize(("spec", "seed"), [case for case in cases() if case.values[0].family == "decoder"])
def test_macs_with_a_past_are_those_of_a_real_step_after_it(spec: StudentSpec, seed: int) -> None:
    model, inputs = model_and_inputs(spec, 2, 9)
    with torch.no_grad():
        kept = model(**inputs, use_cache=True).past_key_values
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(input_ids=inputs["input_ids"][:, :1], past_key_values=kept, use_cache=True)
    counted = count(spec, batch=2, sequence=1, past=9, precision="fp32").macs
    assert 2 * counted == counter.get_total_flops()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(SpecError, match="fp8"):
        weight_bytes(BERT, "fp8")


def test_counting_needs_no_torch() -> None:
    code = "import sys, edgekd.cost.count, edgekd.cost.limits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
