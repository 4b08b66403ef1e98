"""From an encoder-decoder of transformers to two ONNX files: one reads a text, the other writes the next tokens.

The encoder's file ends in the keys and values that each decoder layer attends to, because they are made once for a
text. The decoder's file takes them by the same names, with its own keys and values so far, and gives logits and the
longer cache: with an empty cache it reads the first tokens, with a full one it is a step. No weight is in both files
but the table of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.errors import ExportError, MissingExtra
from edgekd.export.check import ModelDescription, description
from edgekd.export.onnx import OPSET, checked_bytes, evaluating, exporting, require_exportable, traced
from edgekd.files import write_bytes

try:
    import torch
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.cache_utils import DynamicLayer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "export") from None

ARCHITECTURES = ("t5", "bart")
_BATCH, _SOURCE, _TARGET, _PAST = 2, 5, 3, 4  # of the example that is traced; none of them stays in the graph


def export_encoder_decoder(
    model: torch.nn.Module, encoder_path: Path, decoder_path: Path, *, opset: int = OPSET
) -> tuple[ModelDescription, ModelDescription]:
    """Write `model`, a T5 or BART with a language-model head, as two ONNX files; what each of them takes and gives.

    Shapes: all ids and the mask int64. Encoder: input_ids and attention_mask (batch, source) give
    past_key_values.N.encoder.key and .value (batch, heads, source, head_dim) for each decoder layer N.
    Decoder: input_ids (batch, target), attention_mask (batch, source), those keys and values, and
    past_key_values.N.decoder.key and .value (batch, heads, past, head_dim) give logits (batch, target, vocabulary) and
    present.N.decoder.key and .value, longer by target. All of batch, source, target and past are free; past may be 0.
    Errors: ExportError when the model cannot be exported; InputError or StorageError when a path cannot be written.
    """
    require_exportable(model, encoder_path)
    config: Any = model.config
    if config.model_type not in ARCHITECTURES:
        raise ExportError(f"{encoder_path}: found a {config.model_type}, expected one of {', '.join(ARCHITECTURES)}")
    told = []
    with evaluating(model, attention="eager"), torch.no_grad():
        for path, half in ((encoder_path, _Encoder(model)), (decoder_path, _Decoder(model))):
            with exporting(model, path):
                proto = traced(half.eval(), half.examples(), half.inputs, half.outputs, half.axes(), opset)
            write_bytes(path, checked_bytes(proto, path))
            told.append(description(proto))
    return told[0], told[1]


def cache_names(prefix: str, stack: str, layers: int) -> list[str]:
    """'past_key_values.0.decoder.key', '...value' and so on: names that other exporters give as well."""
    return [f"{prefix}.{layer}.{stack}.{kind}" for layer in range(layers) for kind in ("key", "value")]


class _Half(torch.nn.Module):
    """One of the two graphs of `model`: what it takes, what it gives and an example to trace it with."""

    inputs: Sequence[str]
    outputs: Sequence[str]

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.attentions = _cross_attentions(model)
        layers = len(self.attentions)
        self.encoded = cache_names("past_key_values", "encoder", layers)
        self.written = cache_names("past_key_values", "decoder", layers)
        self.present = cache_names("present", "decoder", layers)

    def axes(self) -> dict[str, dict[int, str]]:
        caches = ((self.encoded, "source"), (self.written, "past"), (self.present, "present"))
        free = {name: {0: "batch", 2: tokens} for names, tokens in caches for name in names}
        free |= {"attention_mask": {0: "batch", 1: "source"}, "logits": {0: "batch", 1: "target"}}
        free["input_ids"] = {0: "batch", 1: "target" if "logits" in self.outputs else "source"}
        return {name: free[name] for name in (*self.inputs, *self.outputs)}

    def ids(self, tokens: int) -> torch.Tensor:
        device = next(self.model.parameters()).device
        ids = torch.arange(_BATCH * tokens, device=device) % self.model.config.vocab_size
        example: torch.Tensor = ids.reshape(_BATCH, tokens)
        return example

    def mask(self) -> torch.Tensor:
        mask = torch.ones_like(self.ids(_SOURCE))
        mask[1, -1] = 0
        return mask


class _Encoder(_Half):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model)
        self.inputs, self.outputs = ("input_ids", "attention_mask"), self.encoded

    def examples(self) -> tuple[torch.Tensor, ...]:
        return self.ids(_SOURCE), self.mask()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        stream = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        return tuple(
            _in_heads(layer(stream), heads, layer.out_features // heads)
            for key, value, heads in self.attentions
            for layer in (key, value)
        )


class _Decoder(_Half):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model)
        self.inputs = ("input_ids", "attention_mask", *self.encoded, *self.written)
        self.outputs = ("logits", *self.present)

    def examples(self) -> tuple[torch.Tensor, ...]:
        _, value, heads = self.attentions[0]
        size = value.out_features // heads
        caches = [
            torch.zeros(_BATCH, heads, tokens, size, device=value.weight.device)
            for tokens, names in ((_SOURCE, self.encoded), (_PAST, self.written))
            for _ in names
        ]
        return self.ids(_TARGET), self.mask(), *caches

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, *caches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        encoded, written = caches[: len(self.encoded)], caches[len(self.encoded) :]
        # Cross attention takes the encoded keys and values as they are, because the cache has them already.
        cache = EncoderDecoderCache(_filled(written), _filled(encoded))
        answer = self.model(
            decoder_input_ids=ids,
            attention_mask=mask,
            # Read for its batch and length alone, as its keys and values are there.
            encoder_outputs=(mask.unsqueeze(-1).float(),),
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        )
        layers: list[Any] = cache.self_attention_cache.layers
        present = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
        return answer.logits, *present


def _filled(tensors: Sequence[torch.Tensor]) -> Any:
    # Set and not appended to: an empty cache begins with a constant tensor, which the trace would keep.
    cache = DynamicCache()
    for key, value in zip(tensors[::2], tensors[1::2], strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values, layer.is_initialized = key, value, True
        cache.layers.append(layer)
    return cache


def _cross_attentions(model: Any) -> list[tuple[torch.nn.Linear, torch.nn.Linear, int]]:
    """The projections to keys and to values of each decoder layer, and the number of its heads."""
    if model.config.model_type == "t5":
        found = [block.layer[1].EncDecAttention for block in model.decoder.block]
        return [(attention.k, attention.v, attention.n_heads) for attention in found]
    found = [layer.encoder_attn for layer in model.model.decoder.layers]
    return [(attention.k_proj, attention.v_proj, attention.num_heads) for attention in found]


def _in_heads(stream: torch.Tensor, heads: int, size: int) -> torch.Tensor:
    batch, tokens, _ = stream.shape
    return stream.view(batch, tokens, heads, size).transpose(1, 2)
