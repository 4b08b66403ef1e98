"""A convolutional network of inverted residual blocks as plain data: MobileNetV2, EfficientNet, what lies between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from edgekd.errors import SpecError
from edgekd.networks.table import from_table

ARCHITECTURES = ("mobilenet_v2", "efficientnet")
STEM_STRIDE = 2  # the first convolution halves the image in both architectures
_PER_STAGE = ("widths", "depths", "kernels", "strides", "expansions")


class Block(NamedTuple):
    """One inverted residual block: widen to `expanded` channels, filter each of them by itself, narrow to `outputs`.

    `squeezed` channels are inside its squeeze-and-excitation, 0 without one.
    """

    stage: int
    inputs: int
    expanded: int
    outputs: int
    kernel: int
    stride: int
    squeezed: int
    residual: bool

    @property
    def widens(self) -> bool:
        """Whether it has a convolution that widens; it has none where there is nothing to widen."""
        return self.expanded != self.inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvSpec:
    """Dimensions of a network of inverted residual blocks: of a student, and just as well of its teacher.

    `architecture` is the `model_type` of transformers: mobilenet_v2 has the activation function ReLU6 and efficientnet
    SiLU. A convolution of 3 x 3 to `stem` channels halves the image. Stage i has `depths[i]` blocks of `widths[i]`
    output channels, the first of them with stride `strides[i]`; each widens its input `expansions[i]` times (1: not at
    all) and has a depthwise kernel of `kernels[i]` x `kernels[i]`. `squeeze` is the width of squeeze-and-excitation as
    a share of a block's input channels, 0 for none. A convolution of 1 x 1 to `head` channels, the average over the
    image and a linear layer of `labels` outputs come last.
    Errors: SpecError for dimensions that no such network can have.
    Source: Sandler et al. 2018, MobileNetV2, arXiv:1801.04381; Tan, Le 2019, EfficientNet, arXiv:1905.11946.
    """

    architecture: str
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    expansions: tuple[int, ...]
    head: int
    image_size: int
    channels: int
    labels: int
    squeeze: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SpecError(f"found the architecture {self.architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
        for name in ("stem", "head", "image_size", "channels", "labels"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} is {getattr(self, name)}, expected at least 1")
        self._check_stages()
        if not 0 <= self.squeeze <= 1:
            raise SpecError(f"squeeze is {self.squeeze}, expected a share between 0 and 1")
        if self.architecture == "efficientnet" and self.image_size % STEM_STRIDE:
            raise SpecError(
                f"image_size is {self.image_size}, expected an even number: an efficientnet halves it first"
            )

    def _check_stages(self) -> None:
        for name in _PER_STAGE:
            values = getattr(self, name)
            if len(values) != len(self.widths) or not values:
                raise SpecError(f"{name} has {len(values)} stages, expected as many as widths, and at least one")
            if min(values) < 1:
                raise SpecError(f"{name} holds {min(values)}, expected at least 1 in every stage")
        if max(self.strides) > 2:
            raise SpecError(f"strides holds {max(self.strides)}, expected 1 or 2 in every stage")
        even = next((kernel for kernel in self.kernels if kernel % 2 == 0), None)
        if even is not None:
            raise SpecError(f"kernels holds {even}, expected odd numbers: an even kernel has no middle")
        if not 0 <= self.squeeze <= 1:
            raise SpecError(f"squeeze is {self.squeeze}, expected a share between 0 and 1")
        if self.architecture == "efficientnet" and self.image_size % STEM_STRIDE:
            raise SpecError(
                f"image_size is {self.image_size}, expected an even number: an efficientnet halves it first"
            )

    @property
    def family(self) -> str:
        """'cnn'."""
        return "cnn"

    @property
    def name(self) -> str:
        """'R96-S16-W8.16.24-D1.2.2-K3-T1.2.2-E1.6.6-Q0.25-H320'; one number where all stages have the same.

        R is the image, S the stem, T the strides, E the expansions, Q the squeeze (left out without one), H the head.
        """
        parts = [f"R{self.image_size}", f"S{self.stem}", f"W{_listed(self.widths)}", f"D{_listed(self.depths)}"]
        parts += [f"K{_listed(self.kernels)}", f"T{_listed(self.strides)}", f"E{_listed(self.expansions)}"]
        return "-".join([*parts, *([f"Q{self.squeeze:g}"] if self.squeeze else []), f"H{self.head}"])

    @property
    def tokens(self) -> int:
        """1: the image is the one input; there is no sequence that could be longer or shorter."""
        return 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        inputs = self.stem
        for stage, (outputs, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            for index in range(depth):
                stride = self.strides[stage] if index == 0 else 1
                # The first block of a stage changes the width as a rule. Where it does not, a MobileNetV2 adds its
                # input nevertheless (but not in the block that belongs to its stem), an EfficientNet does not.
                same = self.architecture == "mobilenet_v2" and stage > 0 and stride == 1 and inputs == outputs
                yield Block(
                    stage=stage,
                    inputs=inputs,
                    expanded=inputs * self.expansions[stage],
                    outputs=outputs,
                    kernel=self.kernels[stage],
                    stride=stride,
                    squeezed=max(1, int(inputs * self.squeeze)) if self.squeeze else 0,
                    residual=index > 0 or same,
                )
                inputs = outputs

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> ConvSpec:
        """The spec in `table`. Errors: SpecError for unknown, missing or mistyped keys."""
        return from_table(cls, table, "a convolutional network")


def mobilenet_v2(width: float = 1.0, *, image_size: int = 224, channels: int = 3, labels: int = 1000) -> ConvSpec:
    """The network of the MobileNetV2 paper, its channels multiplied by `width`. Errors: SpecError.

    Source: table 2 of arXiv:1801.04381; the last convolution never has fewer than 1280 channels.
    """
    return ConvSpec(
        architecture="mobilenet_v2",
        stem=_mobile_channels(32, width),
        widths=tuple(_mobile_channels(channels, width) for channels in (16, 24, 32, 64, 96, 160, 320)),
        depths=(1, 2, 3, 4, 3, 3, 1),
        kernels=(3,) * 7,
        strides=(1, 2, 2, 2, 1, 2, 1),
        expansions=(1, 6, 6, 6, 6, 6, 6),
        head=1280 if width < 1 else _mobile_channels(1280, width),
        image_size=image_size,
        channels=channels,
        labels=labels,
    )


def efficientnet(
    width: float = 1.0, depth: float = 1.0, *, image_size: int = 224, channels: int = 3, labels: int = 1000
) -> ConvSpec:
    """The network of the EfficientNet paper with its channels multiplied by `width` and its blocks by `depth`.

    B0 is (1, 1) at 224, B1 (1, 1.1) at 240, B2 (1.1, 1.2) at 260, B3 (1.2, 1.4) at 300, B4 (1.4, 1.8) at 380.
    Errors: SpecError.
    Source: table 1 of arXiv:1905.11946.
    """
    return ConvSpec(
        architecture="efficientnet",
        stem=rounded_channels(32 * width),
        widths=tuple(rounded_channels(channels * width) for channels in (16, 24, 40, 80, 112, 192, 320)),
        depths=tuple(math.ceil(blocks * depth) for blocks in (1, 2, 2, 3, 3, 4, 1)),
        kernels=(3, 3, 5, 3, 5, 5, 3),
        strides=(1, 2, 2, 2, 1, 2, 1),
        expansions=(1, 6, 6, 6, 6, 6, 6),
        head=rounded_channels(1280 * width),
        image_size=image_size,
        channels=channels,
        labels=labels,
        squeeze=0.25,
    )


def rounded_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, at least one, and never less than nine tenths of it."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def _mobile_channels(channels: int, width: float) -> int:
    # MobileNetV2 as transformers has it goes to a whole number of channels first, EfficientNet does not.
    return rounded_channels(round(channels * width))


def _listed(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else ".".join(map(str, values))
