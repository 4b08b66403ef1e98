"""How the hidden states of a text become one vector: what a sentence encoder answers. Tensors come from the caller.

A model carries its pooling in its configuration, so that students, untrained ones too, pool as their teacher does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgekd.errors import InputError
from edgekd.text import printable

PoolingMode = Literal["mean", "cls", "last"]
"""Of a text's hidden states the mean, the first (that of [CLS]), or the last, as decoders have it."""
POOLING_MODES: tuple[PoolingMode, ...] = get_args(PoolingMode)

KEY = "sentence_embedding"  # in config.json
OUTPUT = "embedding"  # of an exported graph
LEAST_LENGTH = 1.0e-6  # what a vector is divided by at least: half precision still tells it from 0


@dataclass(frozen=True, slots=True)
class Pooling:
    """The `mode`, and whether a vector is `normalised` to the length 1 afterwards."""

    mode: PoolingMode = "mean"
    normalised: bool = True

    @property
    def text(self) -> str:
        """'mean, normalised'."""
        return f"{self.mode}, {'' if self.normalised else 'not '}normalised"


def set_pooling(config: Any, pooling: Pooling) -> None:
    """Let the configuration of a model of transformers say how it pools; it is saved with the model."""
    setattr(config, KEY, asdict(pooling))


def pooling_of(config: Any) -> Pooling | None:
    """How a model of this configuration pools; None where it does not say. Errors: InputError for what it says else."""
    told = getattr(config, KEY, None)
    if told is None:
        return None
    known = isinstance(told, Mapping) and set(told) == {"mode", "normalised"}
    if not known or told["mode"] not in POOLING_MODES or type(told["normalised"]) is not bool:
        raise InputError(
            f"config.json: {KEY} is {printable(repr(told), 80)}, expected a mode ({', '.join(POOLING_MODES)}) and "
            "normalised, true or false"
        )
    return Pooling(told["mode"], told["normalised"])


def is_encoder(model: Any) -> bool:
    """Whether `model`, of transformers, has no head and says how it pools: it answers with an embedding."""
    headless = getattr(model, "base_model", None) is model
    return headless and pooling_of(getattr(model, "config", None)) is not None


def pooled(hidden: Any, mask: Any, pooling: Pooling) -> Any:
    """The vector of each text. What stands at padding cannot matter, unless it is NaN.

    Shapes: hidden [batch, tokens, width]; mask [batch, tokens], 1 for real tokens and 0 for padding, which comes last;
    None where all are real. The answer is [batch, width], zeros where nothing is real.
    Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv:1908.10084.
    """
    weights = hidden.new_ones(hidden.shape[:2]) if mask is None else mask.to(hidden.dtype)
    if pooling.mode == "mean":
        vector = (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
    elif pooling.mode == "cls":
        vector = hidden[:, 0]
    else:
        # Where the running count of real tokens is their number; a sum keeps the width known in an exported graph.
        counts = weights if mask is None else mask
        last = (counts.cumsum(1) == counts.sum(1, keepdim=True)).to(hidden.dtype) * weights
        vector = (hidden * last[..., None]).sum(1)
    if pooling.normalised:
        vector = vector / vector.norm(dim=-1, keepdim=True).clamp(min=LEAST_LENGTH)
    return vector


def embedded(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The embeddings that `model`, for which is_encoder holds, gives of `inputs`, those of its forward.

    Shapes: [batch, width].
    Errors: InputError for a model that does not say how it pools.
    """
    plain = getattr(model, "module", model)  # what DistributedDataParallel wraps
    pooling = pooling_of(plain.config)
    if pooling is None:
        raise InputError(
            f"found a {type(plain).__name__} that does not say how it pools, expected {KEY} in its config.json. Load "
            "it as the teacher of a sentence-embedding recipe, with teacher.pooling"
        )
    return pooled(model(**inputs).last_hidden_state, inputs.get("attention_mask"), pooling)
