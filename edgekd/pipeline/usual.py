"""Usual small models of each family, whose students a calibration may measure: our choice."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal

from edgekd.networks.convolutional import ConvSpec, efficientnet, mobilenet_v2
from edgekd.networks.spec import Spec
from edgekd.space import Space
from edgekd.student import StudentSpec

Phase = Literal["whole", "prefill", "decode"]
"""What one inference does: all of it, or of a causal language model the reading of a prompt, or of one token more."""

FAMILIES: dict[str, StudentSpec] = {
    "bert": StudentSpec(
        architecture="bert", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=30522, positions=512, token_types=2,
        labels=2,
    ),
    "roberta": StudentSpec(
        architecture="roberta", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=50265, positions=514,
        token_types=1, labels=2,
    ),
    "vit": StudentSpec(
        architecture="vit", layers=8, hidden=384, heads=6, ffn=1536, labels=10, image_size=64, patch_size=8, channels=3
    ),
    "gpt2": StudentSpec(
        architecture="gpt2", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=50257, positions=1024, labels=2
    ),
    "llama": StudentSpec(
        architecture="llama", layers=8, hidden=768, heads=12, kv_heads=12, ffn=2048, vocabulary=32000, positions=1024,
        labels=2,
    ),
}  # fmt: skip

# The vocabulary of a small language model for a device: its table and its head would else be most of every student.
LANGUAGE_VOCABULARY = 16000
LANGUAGE_HIDDEN = 512

# Of a convolutional network: factors of all channels and of the blocks of a stage, sides of the image, kernels.
WIDTHS = (0.25, 0.35, 0.5, 0.75, 1.0)
DEPTHS = (0.5, 1.0, 1.5)
IMAGES = (64, 96, 128, 160)
KERNELS = (3, 5)
EXPANSIONS = (3, 6)
CONVOLUTIONAL = ("mobilenet_v2", "efficientnet")


def language_model(family: str) -> StudentSpec:
    """The causal language model of that family. Errors: KeyError for a family that has none."""
    spec = {name: FAMILIES[name] for name in ("gpt2", "llama")}[family]
    heads = LANGUAGE_HIDDEN // spec.head_dim
    ffn = spec.ffn * LANGUAGE_HIDDEN // spec.hidden
    return replace(
        spec,
        hidden=LANGUAGE_HIDDEN,
        heads=heads,
        kv_heads=heads,
        ffn=ffn,
        vocabulary=LANGUAGE_VOCABULARY,
        labels=0,
        head="language",
    )


def usual_space(spec: StudentSpec) -> Space:
    """All depths, all widths of whole heads and four widths of the feed-forward block."""
    step = spec.head_dim
    return Space(
        layers=list(range(1, spec.layers + 1)), hidden=list(range(2 * step, spec.hidden + 1, step)),
        ffn_ratio=[1.0, 2.0, 3.0, 4.0], min_share=0.0,
    )  # fmt: skip


def convolutional(architecture: str) -> list[Spec]:
    """Networks of that architecture, from tiny ones to the one of its paper. Errors: KeyError for another one."""
    made = {"mobilenet_v2": mobilenet_v2, "efficientnet": efficientnet}[architecture]
    found: list[Spec] = []
    for width, depth, image, kernel, expansion in product(WIDTHS, DEPTHS, IMAGES, KERNELS, EXPANSIONS):
        spec = made(width, image_size=image, labels=10)
        found.append(_varied(spec, depth, kernel, expansion))
    return found


def _varied(spec: ConvSpec, depth: float, kernel: int, expansion: int) -> ConvSpec:
    return replace(
        spec,
        depths=tuple(max(1, round(blocks * depth)) for blocks in spec.depths),
        kernels=(kernel,) * len(spec.kernels),
        expansions=(1, *[expansion] * (len(spec.expansions) - 1)),
    )
