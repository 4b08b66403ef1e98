"""The counts of convolutional networks, against the real ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from real_pass import UNFUSED, exported_image_model, flops, written_and_read

from edgekd.cost.count import activation_bytes, count, macs, parameters, peak_activation_bytes, weight_bytes
from edgekd.cost.operators import operators
from edgekd.cost.terms import latency_terms
from edgekd.errors import SpecError
from edgekd.networks.convolutional import ConvSpec, efficientnet, mobilenet_v2
from edgekd.students.build import build

torch.set_num_threads(1)

OWN, MOBILE, EFFICIENT = (
    "InvertedResidualNet",
    "MobileNetV2ForImageClassification",
    "EfficientNetForImageClassification",
)


def random_spec(architecture: str, seed: int, *, squeeze: bool) -> ConvSpec:
    draw = random.Random(f"{architecture} {seed}")
    stages = draw.randint(1, 4)

    def each(*values: int) -> tuple[int, ...]:
        return tuple(draw.choice(values) for _ in range(stages))

    return ConvSpec(
        architecture=architecture,
        stem=draw.choice([4, 8]),
        widths=each(4, 6, 8),
        depths=each(1, 2, 3),
        kernels=each(1, 3, 5),
        strides=each(1, 2),
        expansions=each(1, 2, 3),
        squeeze=draw.choice([0.1, 0.25, 1.0]) if squeeze else 0.0,
        head=draw.randint(8, 40),
        image_size=2 * draw.randint(4, 16) + (architecture == "mobilenet_v2" and draw.choice([0, 1])),
        channels=draw.choice([1, 3]),
        labels=draw.randint(1, 7),
    )


def vanilla_efficientnet(seed: int) -> ConvSpec:
    draw = random.Random(seed)
    whole = efficientnet(0.25, image_size=2 * draw.randint(12, 30), channels=draw.choice([1, 3]), labels=5)
    depths = tuple(draw.randint(1, 2) for _ in whole.depths)
    return replace(whole, depths=depths, expansions=(1, *(draw.choice([1, 3]) for _ in range(6))), squeeze=0.2)


CASES = {
    **{f"ours-{name}-{seed}": (OWN, random_spec(name, seed, squeeze=squeeze))
       for name in ("mobilenet_v2", "efficientnet") for seed, squeeze in ((0, False), (1, True), (2, True), (3, False))},
    **{f"mobilenet-{size}": (MOBILE, mobilenet_v2(width, image_size=size, labels=3))
       for width, size in ((0.1, 32), (0.35, 45))},
    "mobilenet-narrow": (MOBILE, replace(mobilenet_v2(0.25, image_size=32, labels=2), expansions=(1, *(3,) * 6))),
    **{f"efficientnet-{seed}": (EFFICIENT, vanilla_efficientnet(seed)) for seed in range(3)},
}  # fmt: skip
SPECS = [pytest.param(spec, id=name) for name, (_, spec) in CASES.items()]


def images(spec: ConvSpec, batch: int) -> torch.Tensor:
    return torch.zeros(batch, spec.channels, spec.image_size, spec.image_size)


@pytest.mark.parametrize(("cls", "spec"), CASES.values(), ids=list(CASES))
def test_parameters_are_those_of_the_real_network_of_the_class_meant(cls: str, spec: ConvSpec) -> None:
    model = build(spec, seed=0)
    assert type(model).__name__ == cls
    assert parameters(spec) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_macs_are_half_the_flops_that_torch_counts_in_a_forward_pass(spec: ConvSpec) -> None:
    counted = macs(spec, batch=2, sequence=0)
    assert 2 * counted.total == flops(build(spec, seed=0), pixel_values=images(spec, 2))
    assert counted.total == counted.convolution + counted.depthwise + counted.head


@pytest.mark.parametrize("spec", SPECS)
def test_macs_per_class_are_those_of_the_layers_of_that_class(spec: ConvSpec) -> None:
    model, found = build(spec, seed=0), {"depthwise": 0, "convolution": 0, "head": 0}

    def add(module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            found["head"] += module.weight.numel()
        else:
            name = "depthwise" if module.groups > 1 else "convolution"
            found[name] += output[0, 0].numel() * module.weight.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(pixel_values=images(spec, 1))
    counted = macs(spec, batch=1, sequence=0)
    assert found == {"depthwise": counted.depthwise, "convolution": counted.convolution, "head": counted.head}


@pytest.mark.parametrize("spec", SPECS)
def test_activation_bytes_are_those_that_hooks_see_in_a_forward_pass(spec: ConvSpec) -> None:
    written, read = written_and_read(build(spec, seed=0), pixel_values=images(spec, 2))
    assert activation_bytes(spec, batch=2, sequence=0, precision="fp32") == 4 * written
    assert activation_bytes(spec, batch=2, sequence=0, precision="int8") == 4 * written + read


@pytest.mark.parametrize("spec", SPECS)
def test_weights_are_what_the_exported_files_hold(spec: ConvSpec, tmp_path: Path) -> None:
    stored = exported_image_model(build(spec, seed=0), tmp_path)
    assert stored == {precision: weight_bytes(spec, precision) for precision in UNFUSED}


def test_the_papers_networks_have_the_parameters_that_are_known_of_them() -> None:
    # Keras Applications: 3.5 M and 5.3 M, batch statistics included.
    assert parameters(mobilenet_v2()) == 3_504_872
    assert parameters(efficientnet()) == 5_288_548
    assert macs(mobilenet_v2(), batch=1, sequence=0).total == pytest.approx(300e6, rel=0.01)
    assert macs(efficientnet(), batch=1, sequence=0).total == pytest.approx(390e6, rel=0.02)


def test_peak_is_where_the_widest_tensor_meets_the_one_it_is_made_of() -> None:
    spec = replace(
        random_spec("mobilenet_v2", 0, squeeze=False), stem=4, widths=(8, 8), depths=(1, 2), kernels=(3, 3),
        strides=(1, 2), expansions=(1, 4), image_size=16, channels=3,
    )  # fmt: skip
    # Second stage, first block: 8 channels of 8 x 8 go to 32 of them, kept until the depthwise output of 4 x 4 exists.
    assert peak_activation_bytes(spec, batch=2, sequence=0, precision="fp32") == 4 * 2 * (8 * 64 + 32 * 64)


@pytest.mark.parametrize("spec", SPECS)
def test_peak_lies_between_the_largest_tensor_and_all_of_them(spec: ConvSpec) -> None:
    trace = operators(spec, batch=2, sequence=0)
    peak = peak_activation_bytes(spec, batch=2, sequence=0, precision="fp32")
    assert 4 * max(op.elements for op in trace) <= peak <= 4 * sum(op.elements for op in trace)


@pytest.mark.parametrize("spec", SPECS)
def test_every_tensor_is_made_before_it_is_read_and_overwritten_by_its_like(spec: ConvSpec) -> None:
    made: dict[str, int] = {}
    for op in operators(spec, batch=2, sequence=0):
        assert set(op.reads) <= made.keys()
        assert op.name not in made
        assert not op.overwrites or made[op.reads[0]] == op.elements
        made[op.name] = op.elements


def test_a_squeeze_keeps_what_it_weighs_alive_and_a_residual_sum_its_input() -> None:
    plain = random_spec("efficientnet", 1, squeeze=False)
    squeezed = replace(plain, squeeze=0.25)
    shape = {"batch": 1, "sequence": 0, "precision": "fp32"}
    assert count(squeezed, **shape).macs > count(plain, **shape).macs
    assert peak_activation_bytes(squeezed, **shape) >= peak_activation_bytes(plain, **shape)
    sums = [op for op in operators(mobilenet_v2(), batch=1, sequence=0) if op.kind == "elementwise"]
    assert len(sums) == 10  # of 17 blocks, the 10 that change neither the width nor the side


def test_the_terms_of_a_latency_hold_every_mac_and_every_kernel() -> None:
    spec = mobilenet_v2(0.5, image_size=64)
    terms = latency_terms(operators(spec, batch=1, sequence=0))
    counted = macs(spec, batch=1, sequence=0)
    assert (terms["macs.convolution"], terms["macs.depthwise"]) == (counted.convolution, counted.depthwise)
    assert sum(value for name, value in terms.items() if name.startswith("macs.")) == counted.total
    norms_and_bias = sum(op.floats for op in operators(spec, batch=1, sequence=0))
    assert terms["weights"] == parameters(spec) - norms_and_bias
    assert terms["elements.convolution"] > terms["elements.inner"] > terms["elements.stream"] > 0
    assert terms["products"] == terms["elements.scores"] == terms["macs.attention"] == 0


def test_a_network_of_images_takes_no_sequence_and_no_past() -> None:
    spec = mobilenet_v2(0.25, image_size=32)
    assert operators(spec, batch=1, sequence=0) == operators(spec, batch=1, sequence=1)
    with pytest.raises(SpecError, match="expected 1 or 0: this mobilenet_v2 sees no other"):
        operators(spec, batch=1, sequence=2)
    with pytest.raises(SpecError, match="only a decoder keeps a cache"):
        operators(spec, batch=1, sequence=0, past=1)
    with pytest.raises(SpecError, match="the batch is 0"):
        operators(spec, batch=0, sequence=0)
