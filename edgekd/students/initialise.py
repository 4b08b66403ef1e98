"""A student that starts from its teacher: some of the layers, and in them some channels, heads and neurons.

Depth copies whole layers, evenly spaced. Width keeps evenly spaced channels of the residual stream (the same in every
layer, because all layers add to it), heads and feed-forward neurons; of narrower heads evenly spaced rows. No data is
needed.
Source: Xu et al. 2024, Initializing Models with Larger Ones, arXiv:2311.18823 (uniform selection); Sanh et al. 2019,
DistilBERT, arXiv:1910.01108 (layer copies).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from edgekd.cost.limits import check_within
from edgekd.errors import SpecError
from edgekd.student import StudentSpec
from edgekd.students.families import spec_from_config

Axis = Literal["whole", "channels", "heads", "kv_heads", "fused", "neurons"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialisation:
    """What of the teacher a student started from: for each of its layers, channels, heads and neurons the teacher's.

    `head_rows` are the rows that each head kept; all of them unless head_dim is smaller.
    `copied_parameters` counts the weights that were copied, which is all of them.
    """

    layer_map: list[int]
    channels: list[int]
    heads: list[int]
    kv_heads: list[int]
    neurons: list[int]
    head_rows: list[int]
    copied_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def layer_map(teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher's layer that each student layer copies: evenly spaced, the first always, the last when two or more.

    Errors: SpecError when the student has no layers or more than the teacher.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise SpecError(f"a student of {student_layers} layers, expected 1 to {teacher_layers}, as many as its teacher")
    gaps = max(student_layers - 1, 1)
    # Halves round down: of six layers three keep 0, 2, 5.
    return [-((gaps - 2 * index * (teacher_layers - 1)) // (2 * gaps)) for index in range(student_layers)]


def spaced(total: int, kept: int) -> list[int]:
    """`kept` of `total` indices in even strides, from 0; all of them when the two are equal."""
    return [index * total // kept for index in range(kept)]


def initialise(student: PreTrainedModel, teacher: PreTrainedModel) -> Initialisation:
    """Overwrite the weights of `student` by those it takes from `teacher`, and say which.

    A student of the teacher's size becomes its exact copy.
    Errors: SpecError when the student is outside the teacher's limits or computes with other options, or when the
    teacher is an encoder-decoder.
    """
    student_spec, teacher_spec = _spec(student), _spec(teacher)
    if teacher_spec.family == "encoder-decoder":
        raise SpecError(f"a student cannot be cut out of a {teacher_spec.architecture} yet; build it untrained instead")
    check_within(student_spec, teacher_spec)
    _check_options(student.config, teacher.config)
    chosen = _chosen(student_spec, teacher_spec)
    kept = _kept_indices(chosen, teacher_spec)
    sources = dict(teacher.named_parameters(remove_duplicate=False))
    copied = 0
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            source = sources[_teacher_name(name, chosen.layer_map)]
            parameter.copy_(_selected(source, _axes(name, student_spec.architecture, source.dim()), kept))
            copied += parameter.numel()
    return Initialisation(**{**asdict(chosen), "copied_parameters": copied})


def _spec(model: PreTrainedModel) -> StudentSpec:
    return spec_from_config(model.config, classifier="Classification" in type(model).__name__)


def _chosen(student: StudentSpec, teacher: StudentSpec) -> Initialisation:
    groups = spaced(teacher.kv_heads, student.kv_heads)
    size = teacher.heads // teacher.kv_heads
    # Query heads follow their key head: a group is kept or dropped, and inside a kept one the heads are spaced.
    within = spaced(size, student.heads // student.kv_heads)
    return Initialisation(
        layer_map=layer_map(teacher.layers, student.layers),
        channels=spaced(teacher.hidden, student.hidden),
        heads=[group * size + head for group in groups for head in within],
        kv_heads=groups,
        neurons=spaced(teacher.ffn, student.ffn),
        head_rows=spaced(teacher.head_dim, student.head_dim),
        copied_parameters=0,
    )


def _kept_indices(chosen: Initialisation, teacher: StudentSpec) -> dict[Axis, torch.Tensor]:
    def rows(heads: list[int]) -> list[int]:
        return [head * teacher.head_dim + row for head in heads for row in chosen.head_rows]

    query_rows = rows(chosen.heads)
    indices: dict[Axis, list[int]] = {
        "channels": chosen.channels,
        "heads": query_rows,
        "kv_heads": rows(chosen.kv_heads),
        "fused": [part * teacher.heads * teacher.head_dim + row for part in range(3) for row in query_rows],
        "neurons": chosen.neurons,
    }
    return {axis: torch.tensor(index) for axis, index in indices.items()}


def _selected(source: torch.Tensor, axes: tuple[Axis, ...], kept: dict[Axis, torch.Tensor]) -> torch.Tensor:
    for dimension, axis in enumerate(axes):
        if axis != "whole":
            source = source.index_select(dimension, kept[axis].to(source.device))
    return source


_LAYER = re.compile(r"\.(layer|layers|h)\.([0-9]+)\.")


def _teacher_name(name: str, layers: list[int]) -> str:
    return _LAYER.sub(lambda match: f".{match[1]}.{layers[int(match[2])]}.", name)


# What the axes of a weight mean, by the end of its name: (outputs, inputs) of a Linear, (inputs, outputs) of GPT-2's
# Conv1D. The first pattern that matches counts. A bias or norm has the outputs alone.
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
        (r"attn\.c_attn\.weight", ("channels", "fused")),
        (r"attn\.c_attn\.bias", ("fused",)),
        (r"attn\.c_proj\.weight", ("heads", "channels")),
        (r"mlp\.c_fc\.weight", ("channels", "neurons")),
        (r"mlp\.c_fc\.bias", ("neurons",)),
        (r"mlp\.c_proj\.weight", ("neurons", "channels")),
        (r"c_proj\.bias", ("channels",)),
        (r"(wte|wpe|lm_head|score)\.weight", ("whole", "channels")),
        (r"ln_(1|2|f)\.", ("channels",)),
    ],
    "llama": [
        (r"q_proj\.", ("heads", "channels")),
        (r"(k|v)_proj\.", ("kv_heads", "channels")),
        (r"o_proj\.", ("channels", "heads")),
        (r"(gate|up)_proj\.", ("neurons", "channels")),
        (r"down_proj\.", ("channels", "neurons")),
        (r"(embed_tokens|lm_head|score)\.weight", ("whole", "channels")),
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


def _axes(name: str, architecture: str, dimensions: int) -> tuple[Axis, ...]:
    for pattern, axes in _AXES[architecture]:
        if re.search(pattern, name):
            return axes[:dimensions]
    raise SpecError(f"the {architecture} has the weight {name}, which no class that we support has")


# Options that change what the weights compute; under others a copied weight means something else.
_OPTIONS = (
    "hidden_act",
    "activation_function",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "rms_norm_eps",
    "rope_parameters",
    "scale_attn_weights",
    "pad_token_id",
)


def _check_options(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    for name in _OPTIONS:
        found, expected = getattr(student, name, None), getattr(teacher, name, None)
        if found != expected:
            raise SpecError(
                f"the student has {name} = {found!r}, expected the teacher's {expected!r}; "
                "build it with the teacher's configuration"
            )
