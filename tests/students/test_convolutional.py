"""A spec becomes a network of transformers where one can have its dimensions, and a configuration becomes a spec."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import BertConfig, EfficientNetConfig, MobileNetV2Config

from edgekd.errors import SpecError
from edgekd.networks.convolutional import ConvSpec, efficientnet, mobilenet_v2
from edgekd.students.build import build
from edgekd.students.convolutional import conv_config_from_spec, conv_spec_from_config
from edgekd.students.inverted_residual import InvertedResidualConfig

MOBILE = mobilenet_v2(0.35, image_size=64, labels=4)
EFFICIENT = efficientnet(0.5, image_size=64, labels=4)

VANILLA = {
    "mobilenet": MOBILE,
    "wide mobilenet": mobilenet_v2(1.4),
    "mobilenet of less expansion": replace(MOBILE, expansions=(1, *(4,) * 6)),
    "b0": efficientnet(),
    "b2": efficientnet(1.1, 1.2, image_size=260),
    "b4": efficientnet(1.4, 1.8, image_size=380),
    "efficientnet of other stages": replace(
        EFFICIENT, widths=(16, 16, 24, 48), depths=(1, 3, 2, 1), kernels=(3, 3, 5, 7), strides=(1, 2, 2, 1),
        expansions=(1, 4, 3, 6), squeeze=0.1,
    ),
}  # fmt: skip
OWN = {
    "mobilenet of less depth": replace(MOBILE, depths=(1, 2, 2, 2, 2, 1, 1)),
    "mobilenet with a squeeze": replace(MOBILE, squeeze=0.25),
    "mobilenet of other kernels": replace(MOBILE, kernels=(3, 3, 5, 3, 5, 5, 3)),
    "mobilenet of other widths": replace(MOBILE, widths=(8, 8, 16, 24, 32, 56, 160)),
    "efficientnet without a squeeze": replace(EFFICIENT, squeeze=0.0),
    "efficientnet with a narrow head": replace(EFFICIENT, head=320),
    "efficientnet of odd widths": replace(EFFICIENT, widths=(9, 16, 24, 40, 56, 96, 160)),
}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in VANILLA.items()])
def test_what_transformers_can_have_is_a_checkpoint_of_transformers(spec: ConvSpec) -> None:
    config = conv_config_from_spec(spec)
    assert config.model_type == spec.architecture
    assert conv_spec_from_config(config) == spec


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in OWN.items()])
def test_what_transformers_cannot_have_is_a_network_of_ours(spec: ConvSpec) -> None:
    config = conv_config_from_spec(spec)
    assert isinstance(config, InvertedResidualConfig)
    assert conv_spec_from_config(config) == spec
    assert (config.image_size, config.num_channels, config.num_labels) == (spec.image_size, spec.channels, spec.labels)


def test_the_default_configurations_of_transformers_are_the_papers_networks() -> None:
    assert conv_spec_from_config(MobileNetV2Config(num_labels=1000)) == mobilenet_v2()
    b7 = EfficientNetConfig(num_labels=1000, depthwise_padding=[18])
    assert conv_spec_from_config(b7) == efficientnet(2.0, 3.1, image_size=600)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BertConfig(), "found a model of type 'bert', expected one of mobilenet_v2, efficientnet"),
        (MobileNetV2Config(output_stride=16), "output_stride = 16"),
        (MobileNetV2Config(first_layer_is_expansion=False), "first_layer_is_expansion = False"),
        (MobileNetV2Config(expand_ratio=2.5), "expand_ratio = 2.5"),
        (MobileNetV2Config(image_size=[32, 64]), "expected one number, a square"),
        (EfficientNetConfig(hidden_dim=1280), "do not take what the one before makes"),
        (EfficientNetConfig(), r"depthwise_padding = \[\], expected \[18\] for images of 600"),
    ],
)
def test_what_we_would_count_wrongly_is_refused(config: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        conv_spec_from_config(config)


def test_a_student_has_the_options_and_the_label_names_of_its_teacher() -> None:
    teacher = MobileNetV2Config(hidden_act="relu", tf_padding=True, id2label={0: "a", 1: "b", 2: "c", 3: "d"})
    config = conv_config_from_spec(MOBILE, teacher)
    assert (config.hidden_act, config.tf_padding, config.id2label[2]) == ("relu", True, "c")
    ours = conv_config_from_spec(OWN["mobilenet of less depth"], teacher)
    assert (ours.hidden_act, ours.id2label[2]) == ("relu", "c")
    assert not conv_config_from_spec(MOBILE).tf_padding
    with pytest.raises(SpecError, match="efficientnet cannot take its options from a teacher of type mobilenet_v2"):
        conv_config_from_spec(EFFICIENT, teacher)


@pytest.mark.parametrize("spec", [MOBILE, EFFICIENT, OWN["mobilenet with a squeeze"]], ids=lambda spec: spec.name)
def test_the_signals_of_an_untrained_network_neither_vanish_nor_explode(spec: ConvSpec) -> None:
    # Below 1e-38 numbers are subnormal.
    model, outputs = build(spec, seed=0), list[torch.Tensor]()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        model(pixel_values=torch.randn(1, 3, 64, 64))
    sizes = torch.cat([output.abs().flatten() for output in outputs])
    assert float(sizes[sizes > 0].min()) > 1e-20
    assert float(sizes.max()) < 1e4
    assert float(outputs[-1].std()) > 1e-6
