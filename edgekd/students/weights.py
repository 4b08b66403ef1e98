"""The weights of a model in one form for all families, what their axes mean, and where the parts of a layer are.

Matrices are (outputs, inputs), also GPT-2's, whose own are the other way round; its fused projection is three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from edgekd.errors import SpecError
from edgekd.student import Head, StudentSpec
from edgekd.students.families import spec_from_config

Axis = Literal["whole", "channels", "heads", "kv_heads", "neurons"]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of the modules with a role: of a layer below `layers`.N, of the others below the base model.

    `norms` are those of a layer in the order they are passed. With `first_norm` the norms lie on the residual stream
    itself (post-norm: BERT); with `last_norm` they lie before what reads it (pre-norm).
    """

    layers: str
    norms: tuple[str, str]
    first_norm: str | None
    last_norm: str | None
    queries: str
    keys: str
    values: str
    mixed: str
    ups: tuple[str, ...]
    down: str

    @property
    def post_norm(self) -> bool:
        """True where the norms lie on the residual stream."""
        return self.last_norm is None


_ENCODER_ROLES = Roles(
    layers="encoder.layer",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    first_norm="embeddings.LayerNorm",
    last_norm=None,
    queries="attention.self.query",
    keys="attention.self.key",
    values="attention.self.value",
    mixed="attention.output.dense",
    ups=("intermediate.dense",),
    down="output.dense",
)
ROLES = {
    "bert": _ENCODER_ROLES,
    "roberta": _ENCODER_ROLES,
    "gpt2": Roles(
        layers="h",
        norms=("ln_1", "ln_2"),
        first_norm=None,
        last_norm="ln_f",
        queries="attn.q_proj",
        keys="attn.k_proj",
        values="attn.v_proj",
        mixed="attn.c_proj",
        ups=("mlp.c_fc",),
        down="mlp.c_proj",
    ),
    "llama": Roles(
        layers="layers",
        norms=("input_layernorm", "post_attention_layernorm"),
        first_norm=None,
        last_norm="norm",
        queries="self_attn.q_proj",
        keys="self_attn.k_proj",
        values="self_attn.v_proj",
        mixed="self_attn.o_proj",
        ups=("mlp.gate_proj", "mlp.up_proj"),
        down="mlp.down_proj",
    ),
    "vit": Roles(
        layers="layers",
        norms=("layernorm_before", "layernorm_after"),
        first_norm=None,
        last_norm="layernorm",
        queries="attention.q_proj",
        keys="attention.k_proj",
        values="attention.v_proj",
        mixed="attention.o_proj",
        ups=("mlp.fc1",),
        down="mlp.fc2",
    ),
}

# What the axes of a weight mean, by the end of its name. The first pattern that matches counts. A bias or norm has the
# outputs alone.
_ENCODER: list[tuple[str, tuple[Axis, ...]]] = [
    (r"attention\.self\.(query|key|value)\.", ("heads", "channels")),
    (r"attention\.output\.dense\.", ("channels", "heads")),
    (r"intermediate\.dense\.", ("neurons", "channels")),
    (r"[0-9]\.output\.dense\.", ("channels", "neurons")),
    (r"(pooler|classifier)\.dense\.", ("channels", "channels")),
    (r"(^classifier|out_proj)\.(weight|bias)", ("whole", "channels")),
    (r"_embeddings\.weight", ("whole", "channels")),
    (r"LayerNorm\.", ("channels",)),
]
_AXES: dict[str, list[tuple[str, tuple[Axis, ...]]]] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "gpt2": [
        (r"attn\.(q|k|v)_proj\.", ("heads", "channels")),
        (r"attn\.c_proj\.", ("channels", "heads")),
        (r"mlp\.c_fc\.", ("neurons", "channels")),
        (r"mlp\.c_proj\.", ("channels", "neurons")),
        (r"(wte|wpe|lm_head|score|classifier)\.(weight|bias)", ("whole", "channels")),
        (r"ln_(1|2|f)\.", ("channels",)),
    ],
    "llama": [
        (r"q_proj\.", ("heads", "channels")),
        (r"(k|v)_proj\.", ("kv_heads", "channels")),
        (r"o_proj\.", ("channels", "heads")),
        (r"(gate|up)_proj\.", ("neurons", "channels")),
        (r"down_proj\.", ("channels", "neurons")),
        (r"(embed_tokens|lm_head|score)\.(weight|bias)", ("whole", "channels")),
        (r"norm\.", ("channels",)),
    ],
    "vit": [
        (r"(cls_token|position_embeddings)$", ("whole", "whole", "channels")),
        (r"patch_embeddings\.projection\.", ("channels", "whole", "whole", "whole")),
        (r"(q|k|v)_proj\.", ("heads", "channels")),
        (r"o_proj\.", ("channels", "heads")),
        (r"mlp\.fc1\.", ("neurons", "channels")),
        (r"mlp\.fc2\.", ("channels", "neurons")),
        (r"^classifier\.", ("whole", "channels")),
        (r"layernorm", ("channels",)),
    ],
}
_LAYER = re.compile(r"\.(layer|layers|h)\.([0-9]+)\.")
_FUSED = re.compile(r"attn\.c_attn\.(weight|bias)$")
_TURNED = re.compile(r"(attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$")


def axes_of(name: str, architecture: str, dimensions: int) -> tuple[Axis, ...]:
    """What each axis of the weight `name` counts. Errors: SpecError for a weight that we do not know."""
    for pattern, axes in _AXES[architecture]:
        if re.search(pattern, name):
            return axes[:dimensions]
    raise SpecError(f"the {architecture} has the weight {name}, which no class that we support has")


def layer_of(name: str) -> int | None:
    """The layer that the weight `name` belongs to, if any."""
    match = _LAYER.search(name)
    return int(match[2]) if match else None


def in_layer(name: str, layer: int) -> str:
    """The name of the weight `name` in another layer; of a weight outside the layers its own."""
    return _LAYER.sub(lambda match: f".{match[1]}.{layer}.", name)


def spec_of(model: PreTrainedModel) -> StudentSpec:
    """The dimensions of `model`. Errors: SpecError."""
    return spec_from_config(model.config, head=head_of(model))


def head_of(model: PreTrainedModel) -> Head:
    """The head that `model` has, by its class."""
    name = type(model).__name__
    if "ForTokenClassification" in name:
        return "tokens"
    if "Classification" in name:
        return "sequence"
    return "none" if name.removesuffix("Model") != name and "LMHead" not in name else "language"


def roles_of(model: PreTrainedModel) -> Roles:
    """The names of the parts of `model`, from its root."""
    short = ROLES[model.config.model_type]
    # A model without a head is its own base.
    base = "" if model.base_model is model else f"{model.base_model_prefix}."
    return Roles(
        layers=f"{base}{short.layers}",
        norms=short.norms,
        first_norm=f"{base}{short.first_norm}" if short.first_norm else None,
        last_norm=f"{base}{short.last_norm}" if short.last_norm else None,
        queries=short.queries,
        keys=short.keys,
        values=short.values,
        mixed=short.mixed,
        ups=short.ups,
        down=short.down,
    )


def norm_names(model: PreTrainedModel, layers: int) -> list[str]:
    """The norms of `model` in the order a token passes them: 2 for each layer, and the first or the last one."""
    roles = roles_of(model)
    inside = [f"{roles.layers}.{layer}.{norm}" for layer in range(layers) for norm in roles.norms]
    first = [roles.first_norm] if roles.first_norm else []
    return [*first, *inside, *([roles.last_norm] if roles.last_norm else [])]


def read_weights(model: PreTrainedModel, *, with_tied: bool = True) -> Weights:
    """Every weight of `model` by name: no copies, but views where that is possible.

    A weight that stands at two places has two names, unless `with_tied` is False.
    """
    found: Weights = {}
    for name, parameter in model.named_parameters(remove_duplicate=not with_tied):
        weight = parameter.detach()
        if model.config.model_type == "gpt2" and _FUSED.search(name):
            stem, kind = name.removesuffix(".weight").removesuffix(".bias").removesuffix("c_attn"), name.split(".")[-1]
            for part, rows in zip("qkv", weight.chunk(3, dim=-1), strict=True):
                found[f"{stem}{part}_proj.{kind}"] = rows.t() if rows.dim() == 2 else rows
        elif model.config.model_type == "gpt2" and _TURNED.search(name):
            found[name] = weight.t()
        else:
            found[name] = weight
    return found


def write_weights(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> int:
    """Put `weights`, in the form of read_weights, into `model`; how many numbers were written.

    Errors: SpecError when one is missing or has another shape.
    """
    written = 0
    with torch.no_grad():
        for name, place in read_weights(model, with_tied=False).items():
            weight = weights.get(name)
            if weight is None or weight.shape != place.shape:
                found = "none" if weight is None else str(tuple(weight.shape))
                raise SpecError(f"weight {name}: found {found}, expected the shape {tuple(place.shape)}")
            place.copy_(weight)
            written += place.numel()
    return written


def module_at(model: Any, name: str) -> Any:
    """The module of `model` with that name."""
    return model.get_submodule(name)
