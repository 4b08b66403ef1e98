"""The operators of a forward pass of a network of inverted residual blocks.

It is the pass that MobileNetV2ForImageClassification and EfficientNetForImageClassification of transformers run, and
InvertedResidualNet of edgekd/students/inverted_residual.py. A batch norm is a part of the convolution before it,
because the export folds it into that one: its two vectors become one bias, and it writes no tensor. So is the padding
of a convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekd.cost.trace import Operator, active, in_place, linear
from edgekd.networks.convolutional import STEM_STRIDE, Block, ConvSpec


def operators(spec: ConvSpec, *, batch: int) -> list[Operator]:
    """The operators of one forward pass over `batch` images in order."""
    side = halved(spec.image_size, STEM_STRIDE)
    shape = _Shape(batch, side)
    trace = [shape.convolution("stem", "", (spec.channels, spec.stem), kernel=3)]
    trace.append(active("stem_active", "convolution", "stem", trace[-1].elements))
    for index, block in enumerate(spec.blocks):
        trace += _block(block, f"block{index}.", trace[-1].name, shape)
        shape = shape.after(block.stride)
    last = spec.widths[-1]
    trace.append(shape.convolution("last", trace[-1].name, (last, spec.head)))
    trace.append(active("last_active", "convolution", "last", trace[-1].elements))
    trace.append(Operator("pooled", "head", "pool", ("last_active",), batch * spec.head))
    return [*trace, linear("logits", "head", "pooled", (batch, spec.head, spec.labels))]


def halved(side: int, stride: int) -> int:
    """The side of what a convolution of that `stride` makes, rounded up as by padding to 'same'."""
    return -(-side // stride)


@dataclass(frozen=True, slots=True)
class _Shape:
    batch: int
    side: int

    def after(self, stride: int) -> _Shape:
        return _Shape(self.batch, halved(self.side, stride))

    def elements(self, channels: int) -> int:
        return self.batch * self.side**2 * channels

    def convolution(
        self,
        name: str,
        source: str,
        channels: tuple[int, int],
        *,
        kernel: int = 1,
        depthwise: bool = False,
        norm: bool = True,
    ) -> Operator:
        """A convolution to images of this shape, with its batch norm or else with a bias."""
        inputs, outputs = channels
        weights = kernel**2 * outputs * (1 if depthwise else inputs)
        group: Literal["depthwise", "convolution"] = "depthwise" if depthwise else "convolution"
        return Operator(
            name,
            group,
            group,
            (source,) if source else (),
            self.elements(outputs),
            macs=self.batch * self.side**2 * weights,
            floats=2 * outputs if norm else outputs,
            kernel=weights,
            surplus=-outputs if norm else 0,
            lanes=outputs,
        )


def _block(block: Block, at: str, source: str, before: _Shape) -> list[Operator]:
    after = before.after(block.stride)
    inner = block.expanded
    trace, wide = list[Operator](), source
    if block.widens:
        trace.append(before.convolution(f"{at}widened", source, (block.inputs, inner)))
        trace.append(active(f"{at}wide", "convolution", f"{at}widened", before.elements(inner)))
        wide = f"{at}wide"
    trace.append(after.convolution(f"{at}filtered", wide, (inner, inner), kernel=block.kernel, depthwise=True))
    trace.append(active(f"{at}active", "depthwise", f"{at}filtered", after.elements(inner)))
    if block.squeezed:
        trace += _squeeze(block, at, after)
    trace.append(after.convolution(f"{at}narrowed", trace[-1].name, (inner, block.outputs)))
    if block.residual:
        sums = (f"{at}narrowed", source)
        trace.append(in_place(f"{at}out", "convolution", sums, after.elements(block.outputs)))
    return trace


def _squeeze(block: Block, at: str, shape: _Shape) -> list[Operator]:
    point = _Shape(shape.batch, 1)
    inner, squeezed = block.expanded, block.squeezed
    return [
        Operator(f"{at}average", "convolution", "pool", (f"{at}active",), point.elements(inner)),
        point.convolution(f"{at}squeezed", f"{at}average", (inner, squeezed), norm=False),
        active(f"{at}squeezed_active", "convolution", f"{at}squeezed", point.elements(squeezed)),
        point.convolution(f"{at}excited", f"{at}squeezed_active", (squeezed, inner), norm=False),
        active(f"{at}gate", "convolution", f"{at}excited", point.elements(inner)),
        in_place(f"{at}gated", "depthwise", (f"{at}active", f"{at}gate"), shape.elements(inner)),
    ]
