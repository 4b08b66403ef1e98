"""What a transformer computes inside during one forward pass: hidden states, queries, keys and values.

Neither is asked for by `output_attentions` or `output_hidden_states`: with the sdpa kernel the first gives nothing and
says nothing, and the last of the second is taken after the final norm. Queries, keys and values pass through a function
registered as an attention implementation of transformers, which hands them on to the sdpa kernel; hidden states are
taken by hooks as each layer gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from edgekd.errors import InputError, TrainingError

IMPLEMENTATION = "edgekd_captured"

Attention = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass
class Captured:
    """What one forward pass left, by layer, counted from 0.

    Shapes: `hidden` [batch, tokens, width]; `attention` queries, keys and values as they enter the attention, each
    [batch, heads, tokens, width of a head].
    """

    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    attention: dict[int, Attention] = field(default_factory=dict)


@dataclass
class _Listener:
    wanted: Collection[int]
    captured: Captured
    calls: int = 0


_LISTENER: ContextVar[_Listener | None] = ContextVar("edgekd_listener", default=None)


def _listened(module: nn.Module, query: Any, key: Any, value: Any, *others: Any, **options: Any) -> Any:
    listener = _LISTENER.get()
    if listener is not None:
        if listener.calls in listener.wanted:
            listener.captured.attention[listener.calls] = (query, key, value)
        listener.calls += 1
    return sdpa_attention_forward(module, query, key, value, *others, **options)


AttentionInterface.register(IMPLEMENTATION, _listened)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


@contextmanager
def capturable(model: Any) -> Iterator[None]:
    """Inside: the attention of `model` can be captured; it computes with the sdpa kernel. After: as it was.

    Errors: InputError for a model whose attention cannot be exchanged.
    """
    before = model.config._attn_implementation  # noqa: SLF001
    model.set_attn_implementation(IMPLEMENTATION)
    if model.config._attn_implementation != IMPLEMENTATION:  # noqa: SLF001
        raise InputError(
            f"found a {type(model).__name__} whose attention cannot be exchanged, expected one of transformers' own "
            "models. Leave distill.relations out"
        )
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def capturing(model: Any, *, hidden: Collection[int] = (), attention: Collection[int] = ()) -> Iterator[Captured]:
    """Inside: one forward pass of `model` leaves what the layers `hidden` and `attention` computed in the answer.

    Errors: InputError for a model without a list of layers; TrainingError, after the pass, when a layer was not heard.
    """
    captured, layers = Captured(), layers_of(model)
    listener = _Listener(attention, captured)
    hooks = [layers[layer].register_forward_hook(_keeper(captured, layer)) for layer in hidden]
    token = _LISTENER.set(listener if attention else None)
    try:
        yield captured
    finally:
        _LISTENER.reset(token)
        for hook in hooks:
            hook.remove()
    if attention and listener.calls != len(layers):
        raise TrainingError(
            f"found {listener.calls} attentions in one pass through {len(layers)} layers, expected one in each. "
            "Leave distill.relations out"
        )
    if len(captured.hidden) < len(set(hidden)):
        raise TrainingError(
            f"found the hidden states of {len(captured.hidden)} layers, expected {len(set(hidden))}: a layer was not "
            "run. Leave distill.hidden out"
        )


def layers_of(model: Any) -> nn.ModuleList:
    """The layers of a transformer, in their order. Errors: InputError for a model that has no such list."""
    count = getattr(model.config, "num_hidden_layers", None)
    for part in model.base_model.modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise InputError(
        f"found a {type(model).__name__} without a list of its layers, expected an encoder, decoder or ViT. "
        "Leave distill.hidden and distill.relations out"
    )


def _keeper(captured: Captured, layer: int) -> Any:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        captured.hidden[layer] = output[0] if isinstance(output, tuple) else output

    return keep
