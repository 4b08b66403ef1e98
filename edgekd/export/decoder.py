"""Causal language models in two graphs, as a device runs them: the prompt at once, then token by token with a cache.

Both give the logits of the last position and the keys and values of all positions so far, as `present.LAYER.key` and
`present.LAYER.value`; the second takes those of the positions before as `past_key_values.LAYER.key` and so on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.errors import ExportError, MissingExtra
from edgekd.export.check import ModelDescription
from edgekd.export.onnx import OPSET, require_exportable, traced, write_traced

try:
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "export") from None

# The sizes of the example inputs. Our choice: small, and no axis as long as another.
_BATCH, _SEQUENCE, _PAST = 2, 7, 5


def export_prefill(model: torch.nn.Module, path: Path) -> ModelDescription:
    """Write the causal language model `model` to `path` as the graph that reads a prompt; what it takes and gives.

    Shapes: input_ids int64 (batch, sequence); logits (batch, 1, vocabulary) of the last position; keys and values
    (batch, key heads, sequence, head_dim). batch and sequence are free.
    Errors: as edgekd.export.onnx.export_onnx; ExportError for a model without a plain cache.
    """
    layers = _checked_layers(model, path)
    axes: dict[str, dict[int, str]] = {"input_ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}}
    axes |= {name: {0: "batch", 2: "sequence"} for name in _names("present", layers)}
    outputs = ("logits", *_names("present", layers))
    ids = _token_ids(model, _SEQUENCE)
    return write_traced(model, path, lambda: _traced(model, (ids,), (("input_ids",), outputs), axes))


def export_decode(model: torch.nn.Module, path: Path) -> ModelDescription:
    """Write the causal language model `model` to `path` as the graph that reads one token; what it takes and gives.

    Shapes: input_ids int64 (batch, 1); past keys and values (batch, key heads, past, head_dim); logits (batch, 1,
    vocabulary); present keys and values as the past ones with one position more. batch and past are free.
    Errors: as edgekd.export.onnx.export_onnx; ExportError for a model without a plain cache.
    """
    layers = _checked_layers(model, path)
    past, present = _names("past_key_values", layers), _names("present", layers)
    axes: dict[str, dict[int, str]] = {"input_ids": {0: "batch"}, "logits": {0: "batch"}}
    axes |= {name: {0: "batch", 2: "past"} for name in past}
    axes |= {name: {0: "batch", 2: "past and one"} for name in present}
    examples = (_token_ids(model, 1), *_past_examples(model, len(past)))
    names = (("input_ids", *past), ("logits", *present))
    return write_traced(model, path, lambda: _traced(model, examples, names, axes))


def _names(prefix: str, layers: int) -> list[str]:
    return [f"{prefix}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _checked_layers(model: torch.nn.Module, path: Path) -> int:
    require_exportable(model, path)
    config: Any = model.config
    layers = DynamicCache(config=config).layers
    if type(getattr(model, "lm_head", None)) is not torch.nn.Linear:
        raise ExportError(f"{path}: {type(model).__name__} has no lm_head, expected a causal language model")
    if len(layers) != config.num_hidden_layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise ExportError(f"{path}: {type(model).__name__} has no plain cache of all positions in each layer")
    return len(layers)


def _traced(model: torch.nn.Module, examples: Any, names: Any, axes: Any) -> Any:
    proto = traced(_Step(model), examples, names[0], names[1], axes, OPSET)
    # The exporter does not see every size: that the last position is one, and that a rotation keeps its width.
    heads, width = _cache_sizes(model)
    logits, *present = (value.type.tensor_type.shape.dim for value in proto.graph.output)
    logits[1].dim_value = 1
    for dims in present:
        dims[1].dim_value, dims[3].dim_value = heads, width
    return proto


def _cache_sizes(model: torch.nn.Module) -> tuple[int, int]:
    """Key heads, and the width of one."""
    config: Any = model.config
    heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    return heads, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _token_ids(model: torch.nn.Module, length: int) -> torch.Tensor:
    config: Any = model.config
    device = next(model.parameters()).device
    ids: torch.Tensor = torch.arange(_BATCH * length, device=device) % config.vocab_size
    return ids.reshape(_BATCH, length)


def _past_examples(model: torch.nn.Module, number: int) -> tuple[torch.Tensor, ...]:
    heads, width = _cache_sizes(model)
    device = next(model.parameters()).device
    shape = (_BATCH, heads, _PAST, width)
    return tuple(
        torch.linspace(-1, 1, _BATCH * heads * _PAST * width, device=device).reshape(shape) for _ in range(number)
    )


class _Step(torch.nn.Module):
    """The model as a function of token numbers and past keys and values, which may be none."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cache = _cache(self.model, past)
        answer = self.model(
            input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1, return_dict=True
        )
        present = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return (answer.logits, *present)


def _cache(model: Any, past: Sequence[torch.Tensor]) -> Any:
    """A cache that holds `past`, key and value of one layer after the other."""
    cache: Any = DynamicCache(config=model.config)
    for index, layer in enumerate(cache.layers):
        if past:
            layer.keys, layer.values, layer.is_initialized = past[2 * index], past[2 * index + 1], True
        else:
            layer.update = functools.partial(_keep, layer)
    return cache


def _keep(layer: Any, keys: torch.Tensor, values: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a layer does with its first keys and values; the library would join them to an empty tensor."""
    layer.keys, layer.values, layer.is_initialized = keys, values, True
    return keys, values
