"""One operator of a forward pass, and how the common ones are made: the words that all families are written in.

Sizes are whole numbers, or NumPy arrays of them that stand for many students at once (see columns.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Group = Literal[
    "embeddings",
    "projections",
    "attention",
    "feed_forward",
    "head",
    "convolution",
    "depthwise",
    "token_mixing",
]
Kind = Literal[
    "lookup",
    "patches",
    "linear",
    "product",
    "norm",
    "activation",
    "elementwise",
    "cache",
    "convolution",
    "depthwise",
    "pool",
]


class Operator(NamedTuple):
    """One operator of a forward pass, and the tensor it makes.

    `kind` is what it does: a `product` multiplies activations (scores, context) in `calls` separate matrices, a
    `linear` layer multiplies by weights, `cache` appends keys and values to those of the past, `patches` is the
    convolution that makes tokens of an image, a `depthwise` convolution filters every channel by itself.
    `reads` names the tensors it reads, `elements` is the size of the one it makes. `matrix` counts the weights of a
    MatMul or Gemm, which int8 quantises, and `channels` its output channels; `kernel` counts the weights of a
    convolution, which stay fp32, and `floats` the other parameters, which stay fp32 as well. `surplus` is how many
    numbers the exported file holds beyond the parameters, negative where the export folds some away. `shared` marks
    parameters that are the embedding table once more. `counted` says whether `activation_bytes` counts the tensor,
    `overwrites` whether it may take the place of the first tensor read. The operator runs `times` times (once per layer
    like it), with `same_input` on the same tensor each time. `lanes` are the output channels of a convolution.
    A tuple, because a large space makes a hundred thousand of them.
    """

    name: str
    group: Group
    kind: Kind
    reads: tuple[str, ...]
    elements: int
    macs: int = 0
    matrix: int = 0
    channels: int = 0
    input_elements: int = 0
    floats: int = 0
    shared: bool = False
    counted: bool = True
    overwrites: bool = False
    times: int = 1
    calls: int = 1
    kernel: int = 0
    surplus: int = 0
    same_input: bool = False
    lanes: int = 0


def linear(
    name: str,
    group: Group,
    source: str,
    sizes: tuple[int, int, int],
    *,
    bias: bool = True,
    times: int = 1,
    shared: bool = False,
) -> Operator:
    """A linear layer; `sizes` are its rows, inputs and outputs."""
    rows, inputs, outputs = sizes
    return Operator(
        name,
        group,
        "linear",
        (source,),
        rows * outputs,
        macs=rows * inputs * outputs,
        matrix=inputs * outputs,
        channels=outputs,
        input_elements=rows * inputs,
        floats=outputs if bias else 0,
        shared=shared,
        times=times,
    )


def in_place(name: str, group: Group, reads: tuple[str, ...], elements: int, *, times: int = 1) -> Operator:
    """An element-wise operator that is no module of the model: a residual sum, a rotation, a product with a gate."""
    return Operator(name, group, "elementwise", reads, elements, counted=False, overwrites=True, times=times)


def active(name: str, group: Group, source: str, elements: int, *, counted: bool = True, times: int = 1) -> Operator:
    """An activation function."""
    return Operator(name, group, "activation", (source,), elements, counted=counted, overwrites=True, times=times)


def patches(rows: int, inputs: int, hidden: int) -> Operator:
    """The convolution that makes `rows` vectors of `hidden` numbers of patches of `inputs` numbers each."""
    macs, weights = rows * inputs * hidden, (inputs + 1) * hidden
    return Operator("patches", "embeddings", "patches", (), rows * hidden, macs, floats=weights)
