"""Between a ConvSpec and a configuration: that of transformers where it can have the spec, else that of our own net.

MobileNetV2Config knows one multiplier of all channels and one expansion, and nothing of depth. EfficientNetConfig knows
widths and depths of every stage, but ties stem and head to one multiplier and cannot leave out squeeze-and-excitation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import EfficientNetConfig, MobileNetV2Config, PreTrainedConfig

from edgekd.errors import SpecError
from edgekd.networks.convolutional import STEM_STRIDE, ConvSpec, efficientnet, mobilenet_v2, rounded_channels
from edgekd.students.inverted_residual import InvertedResidualConfig
from edgekd.students.network_config import label_options

_MULTIPLIERS = tuple(hundredths / 100 for hundredths in range(5, 401))  # those that are tried, our choice
_REQUIRED: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"output_stride": 32, "first_layer_is_expansion": True},
    "efficientnet": {},
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "mobilenet_v2": ("hidden_act", "tf_padding", "layer_norm_eps", "classifier_dropout_prob"),
    "efficientnet": ("hidden_act", "pooling_type", "batch_norm_eps", "batch_norm_momentum", "dropout_rate"),
}


def conv_spec_from_config(config: PreTrainedConfig) -> ConvSpec:
    """The dimensions of the network that `config` describes. Errors: SpecError for one that we do not count exactly."""
    if isinstance(config, InvertedResidualConfig):
        return ConvSpec.from_dict(config.network or {})
    architecture = config.model_type
    if architecture not in _READ:
        raise SpecError(f"found a model of type {architecture!r}, expected one of {', '.join(_READ)}")
    for name, required in _REQUIRED[architecture].items():
        if getattr(config, name) != required:
            found = getattr(config, name)
            raise SpecError(f"the {architecture} has {name} = {found!r}, which is not supported; expected {required!r}")
    if not isinstance(config.image_size, int):
        raise SpecError(f"the {architecture} has image_size = {config.image_size!r}, expected one number, a square")
    return _READ[architecture](config)


def conv_config_from_spec(spec: ConvSpec, teacher_config: PreTrainedConfig | None = None) -> PreTrainedConfig:
    """The configuration of a network with the dimensions of `spec`.

    Activation, padding, dropout and label names are the teacher's. Without one they are the defaults of transformers,
    but a MobileNetV2 pads evenly on all sides, because TensorFlow's way costs an operator for every convolution.
    Errors: SpecError when the two do not go together.
    """
    options: dict[str, Any] = {"tf_padding": False} if spec.architecture == "mobilenet_v2" else {}
    if teacher_config is not None:
        found = conv_spec_from_config(teacher_config).architecture
        if found != spec.architecture:
            wanted = spec.architecture
            raise SpecError(f"a student of type {wanted} cannot take its options from a teacher of type {found}")
        kept = (name for name in _OPTIONS[spec.architecture] if hasattr(teacher_config, name))
        options |= {name: getattr(teacher_config, name) for name in kept}
    options |= label_options(spec.labels, teacher_config)
    sizes = _WRITE[spec.architecture](spec)
    if sizes is not None:
        config_class = MobileNetV2Config if spec.architecture == "mobilenet_v2" else EfficientNetConfig
        config: PreTrainedConfig = config_class(
            **options, **sizes, image_size=spec.image_size, num_channels=spec.channels
        )
        if conv_spec_from_config(config) == spec:
            return config
    own = {name: options[name] for name in ("hidden_act", "id2label", "label2id") if name in options}
    return InvertedResidualConfig(network=spec.to_dict(), **own)


@torch.no_grad()
def scale_convolutions(model: nn.Module) -> None:
    """Draw the kernels of `model` so that signals keep their size from layer to layer before any training.

    With the small weights that transformers draws, the signals of an untrained network die out until batch statistics
    are learnt: an EfficientNet-B0 answers with zeros, and a tenth of what its convolutions write is subnormal, which
    some processors are slow at. Neither should be in a measurement, nor in a comparison with the exported file.
    Source: He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


def _mobile_spec(config: PreTrainedConfig) -> ConvSpec:
    def channels(base: int) -> int:
        rounded: int = rounded_channels(round(base * config.depth_multiplier), config.depth_divisible_by)
        return max(int(config.min_depth), rounded)

    whole = mobilenet_v2()
    fine = config.finegrained_output and config.depth_multiplier < 1
    expansion = round(config.expand_ratio)
    if expansion != config.expand_ratio:
        raise SpecError(f"the mobilenet_v2 has expand_ratio = {config.expand_ratio!r}, expected a whole number")
    return ConvSpec(
        architecture="mobilenet_v2",
        stem=channels(whole.stem),
        widths=tuple(channels(width) for width in whole.widths),
        depths=whole.depths,
        kernels=whole.kernels,
        strides=whole.strides,
        expansions=(1, *(expansion,) * (len(whole.widths) - 1)),
        head=whole.head if fine else channels(whole.head),
        image_size=config.image_size,
        channels=config.num_channels,
        labels=len(config.id2label or {}),
    )


def _mobile_fields(spec: ConvSpec) -> dict[str, Any] | None:
    if spec.squeeze or spec.expansions[-1] == 1:
        return None
    for width in _MULTIPLIERS:
        whole = mobilenet_v2(width)
        if (whole.stem, whole.widths, whole.head) == (spec.stem, spec.widths, spec.head):
            return {"depth_multiplier": width, "expand_ratio": float(spec.expansions[-1])}
    return None


def _efficient_spec(config: PreTrainedConfig) -> ConvSpec:
    def channels(base: int) -> int:
        return rounded_channels(base * config.width_coefficient, config.depth_divisor)

    stem, head = channels(32), channels(1280)
    widths = tuple(channels(base) for base in config.out_channels)
    inputs = tuple(channels(base) for base in config.in_channels)
    if inputs != (stem, *widths[:-1]) or head != config.hidden_dim:
        raise SpecError("the efficientnet has stages that do not take what the one before makes; such is not supported")
    spec = ConvSpec(
        architecture="efficientnet",
        stem=stem,
        widths=widths,
        depths=tuple(math.ceil(config.depth_coefficient * repeats) for repeats in config.num_block_repeats),
        kernels=tuple(config.kernel_sizes),
        strides=tuple(config.strides),
        expansions=tuple(config.expand_ratios),
        head=head,
        image_size=config.image_size,
        channels=config.num_channels,
        labels=len(config.id2label or {}),
        squeeze=float(config.squeeze_expansion_ratio),
    )
    padded = _odd_blocks(spec)[0]
    if sorted(set(config.depthwise_padding) & _strided(spec)) != padded:
        found = list(config.depthwise_padding)
        raise SpecError(
            f"the efficientnet has depthwise_padding = {found}, expected {padded} for images of {spec.image_size}"
        )
    return spec


def _efficient_fields(spec: ConvSpec) -> dict[str, Any] | None:
    odd, side = _odd_blocks(spec)
    # Its pooling window is as wide as the head, and its way of padding needs a kernel with a border.
    if not spec.squeeze or side > spec.head or min(spec.kernels) < 3:
        return None
    for width in _MULTIPLIERS:
        whole = efficientnet(width)
        if (whole.stem, whole.head) != (spec.stem, spec.head):
            continue
        bases = [_base(channels, width) for channels in spec.widths]
        return {
            "width_coefficient": width,
            "depth_coefficient": 1.0,
            "in_channels": [32, *bases[:-1]],
            "out_channels": bases,
            "num_block_repeats": list(spec.depths),
            "kernel_sizes": list(spec.kernels),
            "strides": list(spec.strides),
            "expand_ratios": list(spec.expansions),
            "squeeze_expansion_ratio": spec.squeeze,
            "depthwise_padding": odd,
            "hidden_dim": spec.head,
        }
    return None


def _base(channels: int, width: float) -> int:
    """A number of channels that, multiplied by `width` and rounded, gives `channels`, if there is one."""
    near = range(math.floor(channels / width), math.ceil(channels / width) + 1)
    return next((base for base in near if rounded_channels(base * width) == channels), channels)


def _odd_blocks(spec: ConvSpec) -> tuple[list[int], int]:
    """The blocks that halve an image of an odd side, which an EfficientNet must be told, and the side at the end."""
    side = -(-spec.image_size // STEM_STRIDE)
    odd = []
    for index, block in enumerate(spec.blocks):
        if block.stride > 1:
            odd += [index] if side % 2 else []
            side = -(-side // block.stride)
    return odd, side


def _strided(spec: ConvSpec) -> set[int]:
    return {index for index, block in enumerate(spec.blocks) if block.stride > 1}


_READ: dict[str, Callable[[PreTrainedConfig], ConvSpec]] = {
    "mobilenet_v2": _mobile_spec,
    "efficientnet": _efficient_spec,
}
_WRITE: dict[str, Callable[[ConvSpec], dict[str, Any] | None]] = {
    "mobilenet_v2": _mobile_fields,
    "efficientnet": _efficient_fields,
}
