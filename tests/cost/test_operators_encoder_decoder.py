"""The counts of encoder-decoders, against the real ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from real_pass import attention_elements, flops, stored_bytes, written_and_read

from edgekd.cost.count import cache_bytes, count, count_each, macs, parameters, weight_bytes
from edgekd.cost.operators import operators, trace_of
from edgekd.cost.terms import TERMS, latency_terms
from edgekd.errors import SpecError
from edgekd.export.encoder_decoder import export_encoder_decoder
from edgekd.export.quantize import quantize_dynamic
from edgekd.student import StudentSpec
from edgekd.students.build import build

torch.set_num_threads(1)

T5 = StudentSpec(
    architecture="t5", layers=2, decoder_layers=3, hidden=16, heads=2, head_dim=6, ffn=24, vocabulary=50, positions=8
)  # fmt: skip
BART = StudentSpec(
    architecture="bart", layers=3, decoder_layers=2, hidden=16, heads=4, ffn=24, vocabulary=50, positions=40
)  # fmt: skip


def random_spec(architecture: str, seed: int, *, gated: bool = False) -> StudentSpec:
    draw = random.Random(f"{architecture} {seed}")
    heads, dim = draw.choice([1, 2, 4]), draw.choice([4, 8])
    return StudentSpec(
        architecture=architecture,
        layers=draw.randint(1, 4),
        decoder_layers=draw.randint(1, 4),
        hidden=heads * dim,
        heads=heads,
        head_dim=draw.choice([3, 5, dim]) if architecture == "t5" else dim,
        ffn=draw.randint(8, 40),
        vocabulary=draw.randint(20, 60),
        positions=draw.choice([4, 8]) if architecture == "t5" else draw.randint(20, 40),
        gated=gated,
    )


CASES = {
    **{f"t5-{seed}": random_spec("t5", seed) for seed in range(3)},
    **{f"t5 gated-{seed}": random_spec("t5", seed, gated=True) for seed in range(3, 5)},
    **{f"bart-{seed}": random_spec("bart", seed) for seed in range(4)},
}
SPECS = [pytest.param(spec, id=name) for name, spec in CASES.items()]


def real(spec: StudentSpec) -> Any:
    model = build(spec, seed=0)
    model.set_attn_implementation("eager")
    return model


def texts(batch: int, sequence: int, target: int) -> dict[str, torch.Tensor]:
    ids = {"input_ids": torch.full((batch, sequence), 5), "decoder_input_ids": torch.full((batch, target), 6)}
    return {**ids, "attention_mask": torch.ones(batch, sequence, dtype=torch.int64)}


def after(model: Any, batch: int, sequence: int, past: int) -> dict[str, Any]:
    """What the decoder alone is given when `past` tokens are written: a new one, its cache and the encoded text."""
    with torch.no_grad():
        first = model(**texts(batch, sequence, past), use_cache=True)
    return {
        "decoder_input_ids": torch.full((batch, 1), 6),
        "encoder_outputs": (first.encoder_last_hidden_state,),
        "attention_mask": torch.ones(batch, sequence, dtype=torch.int64),
        "past_key_values": first.past_key_values,
        "use_cache": True,
    }


@pytest.mark.parametrize("spec", SPECS)
def test_parameters_are_those_of_the_real_model(spec: StudentSpec) -> None:
    assert parameters(spec) == sum(parameter.numel() for parameter in build(spec, seed=0).parameters())


@pytest.mark.parametrize("target", [1, 6])
@pytest.mark.parametrize("spec", SPECS)
def test_macs_are_half_the_flops_of_encoding_a_text_and_decoding_the_first_tokens(
    spec: StudentSpec, target: int
) -> None:
    counted = count(spec, batch=2, sequence=9, target=target, precision="fp32")
    assert 2 * counted.macs == flops(real(spec), **texts(2, 9, target), use_cache=True)


@pytest.mark.parametrize("spec", SPECS)
def test_macs_with_a_past_are_those_of_a_real_step_of_the_decoder_alone(spec: StudentSpec) -> None:
    model = real(spec)
    counted = count(spec, batch=2, sequence=9, past=7, precision="fp32")
    assert 2 * counted.macs == flops(model, **after(model, 2, 9, 7))


@pytest.mark.parametrize("spec", SPECS)
def test_activation_bytes_are_those_that_hooks_see_in_a_forward_pass(spec: StudentSpec) -> None:
    model = real(spec)
    scores, context = attention_elements(model, ("SelfAttention.o", "EncDecAttention.o", "attn.out_proj"))
    written, read = written_and_read(model, **texts(2, 9, 4), output_attentions=True)
    counts = count_each(spec, ("fp32", "int8"), batch=2, sequence=9, target=4)
    assert counts["fp32"].activation_bytes == 4 * (written + sum(scores) + sum(context))
    assert counts["int8"].activation_bytes == counts["fp32"].activation_bytes + read


@pytest.mark.parametrize("spec", SPECS)
def test_activation_bytes_of_a_step_are_those_that_hooks_see_in_it(spec: StudentSpec) -> None:
    model = real(spec)
    inputs = after(model, 2, 9, 7)
    scores, context = attention_elements(model, ("SelfAttention.o", "EncDecAttention.o", "attn.out_proj"))
    written, _ = written_and_read(model, **inputs, output_attentions=True)
    counted = count(spec, batch=2, sequence=9, past=7, precision="fp32")
    assert counted.activation_bytes == 4 * (written + sum(scores) + sum(context))


@pytest.mark.parametrize("spec", SPECS)
def test_the_cache_holds_the_keys_and_values_of_the_written_and_of_the_encoded_tokens(spec: StudentSpec) -> None:
    kept = after(real(spec), 2, 9, 7)["past_key_values"]
    layers = [*kept.self_attention_cache.layers, *kept.cross_attention_cache.layers]
    stored = sum(tensor.nbytes for layer in layers for tensor in (layer.keys, layer.values))
    assert cache_bytes(spec, batch=2, tokens=7, source=9) == stored


@pytest.mark.parametrize("spec", [case for case in SPECS if case.id and case.id.endswith(("-0", "-3"))])
def test_weights_are_what_the_two_exported_files_hold_together(spec: StudentSpec, tmp_path: Path) -> None:
    files = [tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"]
    export_encoder_decoder(build(spec, seed=0), *files)
    assert weight_bytes(spec, "fp32") == sum(map(stored_bytes, files))
    for path in files:
        quantize_dynamic(path, path)
    assert weight_bytes(spec, "int8") == sum(map(stored_bytes, files))


def test_a_step_belongs_to_the_whole_model() -> None:
    for spec in (T5, BART):
        step = count(spec, batch=1, sequence=9, past=3, precision="int8")
        whole = count(spec, batch=1, sequence=9, precision="int8")
        assert (step.parameters, step.weight_bytes) == (whole.parameters, whole.weight_bytes)
        assert step.parameters == parameters(spec)
        assert step.macs < whole.macs


def test_a_longer_text_costs_the_encoder_more_and_a_step_only_its_cross_attention() -> None:
    short, long = (latency_terms(operators(T5, batch=1, sequence=length, past=3)) for length in (8, 16))
    moved = {name for name in TERMS if short[name] != long[name]}
    assert moved == {"macs.attention", "elements.scores"}
    assert long["macs.attention"] - short["macs.attention"] == T5.decoder_layers * 2 * 8 * T5.heads * T5.head_dim
    short, long = (latency_terms(operators(T5, batch=1, sequence=length)) for length in (8, 16))
    assert long["macs.projections"] > short["macs.projections"]
    assert long["macs.head"] == short["macs.head"]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("past", [0, 3])
def test_every_tensor_is_made_before_it_is_read_and_overwritten_by_its_like(spec: StudentSpec, past: int) -> None:
    made: dict[str, int] = {}
    trace = operators(spec, batch=2, sequence=9, target=4, past=past)
    for op in trace:
        assert set(op.reads) <= made.keys()
        assert op.name not in made
        assert not op.overwrites or made[op.reads[0]] == op.elements
        made[op.name] = op.elements
    peak = count(spec, batch=2, sequence=9, target=4, past=past, precision="fp32").peak_activation_bytes
    assert 4 * max(made.values()) <= peak <= 4 * sum(made.values())


def test_the_peak_of_a_step_of_a_wide_model_is_its_feed_forward_block() -> None:
    wide = replace(T5, ffn=500)
    # The active block (500) is read while its output (16) is made, beside the stream (16) and the bias of 4 distances.
    found = count(wide, batch=1, sequence=5, past=3, precision="fp32").peak_activation_bytes
    assert found == 4 * (500 + 16 + 16 + 4 * T5.heads)


def test_the_counts_of_all_layers_grow_evenly_with_either_depth() -> None:
    for name in ("layers", "decoder_layers"):
        found = [count(replace(BART, **{name: deep}), batch=1, sequence=9, precision="int8") for deep in (2, 3, 4)]
        for key in ("parameters", "macs", "weight_bytes", "activation_bytes"):
            one, two, three = (getattr(counts, key) for counts in found)
            assert three - two == two - one > 0


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (BART, {"batch": 1, "sequence": 41}, "the sequence is 41, expected 1 to 40"),
        (
            BART,
            {"batch": 1, "sequence": 5, "target": 4, "past": 37},
            "the target is 4 with 37 in its cache, expected 1 to 3",
        ),
        (T5, {"batch": 1, "sequence": 0}, "the sequence is 0, expected at least 1"),
        (T5, {"batch": 1, "sequence": 5, "target": 0}, "the target is 0, expected at least 1"),
        (
            replace(T5, labels=2, head="sequence"),
            {"batch": 1, "sequence": 5},
            "counted as a language model, found 2 labels",
        ),
        (replace(T5, tied=False), {"batch": 1, "sequence": 5}, "ties the head of every t5"),
    ],
)
def test_inputs_and_specs_that_no_model_takes_are_refused(
    spec: StudentSpec, shape: dict[str, int], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        operators(spec, **shape)


def test_only_an_encoder_decoder_has_a_target_and_none_is_counted_in_columns() -> None:
    gpt2 = StudentSpec(architecture="gpt2", layers=2, hidden=16, heads=2, ffn=24, vocabulary=50, positions=40)
    with pytest.raises(SpecError, match="target is 2, expected 1"):
        operators(gpt2, batch=1, sequence=4, target=2)
    with pytest.raises(SpecError, match="counted one by one"):
        trace_of(T5, 2, batch=1, sequence=4)
    assert macs(T5, batch=1, sequence=4).total == count(T5, batch=1, sequence=4, precision="fp32").macs
