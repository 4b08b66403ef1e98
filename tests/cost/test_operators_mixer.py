"""The counts of mixers, against the real ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from real_pass import UNFUSED, exported_image_model, flops, written_and_read

from edgekd.cost.count import activation_bytes, macs, parameters, peak_activation_bytes, weight_bytes
from edgekd.cost.operators import operators
from edgekd.cost.terms import latency_terms
from edgekd.errors import SpecError
from edgekd.networks.mixer import MixerSpec
from edgekd.students.build import build

torch.set_num_threads(1)


def random_spec(seed: int) -> MixerSpec:
    draw = random.Random(seed)
    patch = draw.choice([2, 3])
    return MixerSpec(
        layers=draw.randint(1, 4),
        hidden=draw.randint(4, 24),
        token_ffn=draw.randint(3, 30),
        channel_ffn=draw.randint(3, 40),
        image_size=patch * draw.randint(1, 5),
        patch_size=patch,
        channels=draw.choice([1, 3]),
        labels=draw.randint(1, 6),
    )


SPECS = [pytest.param(random_spec(seed), id=str(seed)) for seed in range(6)]


def images(spec: MixerSpec, batch: int) -> torch.Tensor:
    return torch.zeros(batch, spec.channels, spec.image_size, spec.image_size)


@pytest.mark.parametrize("spec", SPECS)
def test_parameters_are_those_of_the_real_network(spec: MixerSpec) -> None:
    assert parameters(spec) == sum(parameter.numel() for parameter in build(spec, seed=0).parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_macs_are_half_the_flops_that_torch_counts_in_a_forward_pass(spec: MixerSpec) -> None:
    assert 2 * macs(spec, batch=2, sequence=0).total == flops(build(spec, seed=0), pixel_values=images(spec, 2))


def test_token_mixing_and_channel_mixing_are_classes_of_their_own() -> None:
    spec = replace(random_spec(1), layers=3, hidden=10, token_ffn=7, channel_ffn=5, image_size=6, patch_size=2)
    counted = macs(spec, batch=2, sequence=0)
    assert counted.token_mixing == 3 * 2 * (2 * 10 * 9 * 7)
    assert counted.feed_forward == 3 * 2 * (2 * 9 * 10 * 5)
    terms = latency_terms(operators(spec, batch=2, sequence=0))
    assert (terms["macs.token_mixing"], terms["macs.feed_forward"]) == (counted.token_mixing, counted.feed_forward)
    assert sum(value for name, value in terms.items() if name.startswith("macs.")) == counted.total


@pytest.mark.parametrize("spec", SPECS)
def test_activation_bytes_are_those_that_hooks_see_in_a_forward_pass(spec: MixerSpec) -> None:
    written, read = written_and_read(build(spec, seed=0), pixel_values=images(spec, 2))
    assert activation_bytes(spec, batch=2, sequence=0, precision="fp32") == 4 * written
    assert activation_bytes(spec, batch=2, sequence=0, precision="int8") == 4 * written + read


@pytest.mark.parametrize("spec", SPECS)
def test_weights_are_what_the_exported_files_hold(spec: MixerSpec, tmp_path: Path) -> None:
    stored = exported_image_model(build(spec, seed=0), tmp_path)
    assert stored == {precision: weight_bytes(spec, precision) for precision in UNFUSED}


def test_peak_is_the_wider_of_the_two_blocks() -> None:
    spec = replace(random_spec(0), hidden=16, token_ffn=8, channel_ffn=64, image_size=8, patch_size=2)
    # While the second layer of the channel block runs: its input (64), its output (16) and the stream (16), per patch.
    assert peak_activation_bytes(spec, batch=2, sequence=0, precision="fp32") == 4 * 2 * 16 * (64 + 16 + 16)


def test_the_second_layer_stands_for_all_further_ones() -> None:
    spec = replace(random_spec(0), layers=6)
    assert {op.times for op in operators(spec, batch=1, sequence=0) if op.name.startswith("layer1.")} == {5}
    made: dict[str, int] = {}
    for op in operators(spec, batch=1, sequence=0):
        assert set(op.reads) <= made.keys()
        assert not op.overwrites or made[op.reads[0]] == op.elements
        made[op.name] = op.elements


def test_a_mixer_brings_its_own_sequence() -> None:
    spec = random_spec(2)
    assert operators(spec, batch=1, sequence=0) == operators(spec, batch=1, sequence=spec.tokens)
    with pytest.raises(SpecError, match="this mixer sees no other"):
        operators(spec, batch=1, sequence=spec.tokens + 1)
