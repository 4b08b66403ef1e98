"""A network of inverted residual blocks for specs that no class of transformers can have.

Importing this module tells transformers' Auto classes about it, so that a saved student is loaded as any other.
Source: Sandler et al. 2018, MobileNetV2, arXiv:1801.04381; Tan, Le 2019, EfficientNet, arXiv:1905.11946.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from edgekd.networks.convolutional import STEM_STRIDE, Block, ConvSpec
from edgekd.students.network_config import NetworkConfig

_ACTIVATIONS = {"mobilenet_v2": "relu6", "efficientnet": "silu"}


class InvertedResidualConfig(NetworkConfig):
    """The configuration of an InvertedResidualNet."""

    model_type = "edgekd_inverted_residual"


class InvertedResidualNet(PreTrainedModel):
    """The classifier that `config.network`, the table of a ConvSpec, describes.

    Shapes: pixel_values float32 (batch, channels, image_size, image_size); logits (batch, labels).
    """

    config_class = InvertedResidualConfig
    main_input_name = "pixel_values"

    def __init__(self, config: InvertedResidualConfig) -> None:
        super().__init__(config)
        spec = ConvSpec.from_dict(config.network or {})
        self.activation = config.hidden_act or _ACTIVATIONS[spec.architecture]
        self.stem = nn.Sequential(*_convolution(spec.channels, spec.stem, 3, STEM_STRIDE), ACT2FN[self.activation])
        self.blocks = nn.ModuleList([InvertedResidual(block, self.activation) for block in spec.blocks])
        self.last = nn.Sequential(*_convolution(spec.widths[-1], spec.head), ACT2FN[self.activation])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(spec.head, spec.labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        pixel_values: torch.Tensor,
        return_dict: bool | None = None,  # noqa: ARG002  callers of transformers' models give it to all of them
    ) -> ImageClassifierOutputWithNoAttention:
        """The logits of `pixel_values`."""
        images = self.stem(pixel_values)
        for block in self.blocks:
            images = block(images)
        pooled = self.pool(self.last(images)).flatten(1)
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(pooled))


class InvertedResidual(nn.Module):
    """One block: widen, filter every channel by itself, weigh the channels where there is a squeeze, narrow."""

    def __init__(self, block: Block, activation: str) -> None:
        super().__init__()
        inner = block.expanded
        widened = [*_convolution(block.inputs, inner), ACT2FN[activation]] if block.widens else []
        filtered = _convolution(inner, inner, block.kernel, block.stride, groups=inner)
        self.inner = nn.Sequential(*widened, *filtered, ACT2FN[activation])
        self.squeeze = SqueezeExcitation(inner, block.squeezed, activation) if block.squeezed else None
        self.narrow = nn.Sequential(*_convolution(inner, block.outputs))
        self.residual = block.residual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = self.inner(images)
        if self.squeeze is not None:
            inner = inner * self.squeeze(inner)
        narrow: torch.Tensor = self.narrow(inner)
        return narrow + images if self.residual else narrow


class SqueezeExcitation(nn.Sequential):
    """A weight between 0 and 1 for each channel of an image, from the averages of all of them."""

    def __init__(self, channels: int, squeezed: int, activation: str) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            ACT2FN[activation],
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


AutoConfig.register(InvertedResidualConfig.model_type, InvertedResidualConfig)
AutoModelForImageClassification.register(InvertedResidualConfig, InvertedResidualNet)
