"""What the parts of a teacher are worth, seen on real inputs: channels, heads, neurons, layers, and directions.

One pass over the inputs, without gradients. Padding counts for nothing. Sums are kept in float64.
Source: Muralidharan et al. 2024, Compact Language Models via Pruning and Knowledge Distillation, arXiv:2407.14679
(activations of norms, heads and neurons); Men et al. 2024, ShortGPT, arXiv:2403.03853 (influence of a layer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from edgekd.errors import DataError
from edgekd.student import StudentSpec
from edgekd.students.weights import module_at, norm_names, read_weights, roles_of, spec_of

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Importance:
    """What a teacher does on some inputs. All tensors are float64, on the CPU; `tokens` were counted.

    Shapes: `channels` [norms, hidden], the root mean square of each channel behind each norm. `moments`
    [norms, hidden + 1, hidden + 1], E[(n, 1)(n, 1)ᵀ] of the normalised stream n before a norm's gain and bias; both of
    the last norm over the tokens that a classifier reads alone.
    `heads` [layers, heads], the mean square of what a head writes. `neurons` [layers, ffn] the same of a neuron.
    `mixed` [layers, heads, head_dim, head_dim], E[a aᵀ] of what a head hands to its output projection.
    `influence` [layers], 1 - E[cos] of the residual stream before and behind the layer.
    The norms are in the order of edgekd.students.weights.norm_names.
    """

    channels: torch.Tensor
    moments: torch.Tensor
    heads: torch.Tensor
    neurons: torch.Tensor
    mixed: torch.Tensor
    influence: torch.Tensor
    tokens: int


def measure_importance(teacher: PreTrainedModel, batches: Sequence[Batch]) -> Importance:
    """The importance of the parts of `teacher` on `batches` of its inputs; with `attention_mask` where they have pads.

    Errors: DataError without inputs; SpecError for a family that we do not know.
    """
    if not batches:
        raise DataError("importance: found no inputs, expected at least one batch of the training part")
    meter = _Meter(teacher)
    with watching(teacher, meter.hooks()), evaluating(teacher):
        for batch in batches:
            meter.begin(batch)
            teacher(**batch)
    return meter.result()


def normalised(norm: Any, stream: torch.Tensor) -> torch.Tensor:
    """What `norm` makes of `stream` before its gain and bias. Shapes: [..., hidden], as is the result."""
    eps = getattr(norm, "eps", None)
    if isinstance(norm, torch.nn.LayerNorm):
        return functional.layer_norm(stream, norm.normalized_shape, eps=norm.eps)
    eps = norm.variance_epsilon if eps is None else eps
    return stream * torch.rsqrt(stream.pow(2).mean(-1, keepdim=True) + eps)


def valid_rows(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The rows of `values` that belong to no padding. Shapes: [batch, tokens, width] to [valid tokens, width]."""
    mask = batch.get("attention_mask")
    if mask is None or mask.shape != values.shape[:2]:
        return values.reshape(-1, values.shape[-1])
    return values[mask.bool()]


def read_rows(values: torch.Tensor, batch: Batch, spec: StudentSpec) -> torch.Tensor:
    """The rows of `values` that the head of a model of `spec` reads, as shapes of valid_rows.

    Of an encoder's or a ViT's classifier the first token, of a decoder's the last that is no padding; of a language
    model, and of one that labels tokens, all.
    """
    if spec.head != "sequence":
        return valid_rows(values, batch)
    if spec.family != "decoder":
        return values[:, 0]
    mask = batch.get("attention_mask")
    last = torch.full((len(values),), values.shape[1] - 1) if mask is None else _last_of(mask)
    return values[torch.arange(len(values)), last.to(values.device)]


def _last_of(mask: torch.Tensor) -> torch.Tensor:
    """The place of the last 1 in each row."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(dim=1)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside: `model` in evaluation mode, without gradients. After: in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def watching(model: Any, hooks: Mapping[str, Any]) -> Iterator[None]:
    """Inside: each function of `hooks` hears the input of the module of that name before it runs."""
    handles = []
    try:
        for name, hook in hooks.items():
            handles.append(module_at(model, name).register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Meter:
    """The sums behind an Importance."""

    def __init__(self, teacher: PreTrainedModel) -> None:
        spec = spec_of(teacher)
        self._teacher, self._roles, self._spec = teacher, roles_of(teacher), spec
        self._norms = norm_names(teacher, spec.layers)
        self._batch: Batch = {}
        self._stream: torch.Tensor | None = None
        self._layers_seen = 0
        self._moments = _zeros(len(self._norms), spec.hidden + 1, spec.hidden + 1)
        self._mixed = _zeros(spec.layers, spec.heads, spec.head_dim, spec.head_dim)
        self._neurons = _zeros(spec.layers, spec.ffn)
        self._cosines = _zeros(spec.layers)

    def begin(self, batch: Batch) -> None:
        """Forget the stream of the batch before."""
        self._batch, self._stream, self._layers_seen = batch, None, 0

    def hooks(self) -> dict[str, Any]:
        """What to call before which module."""
        roles, found = self._roles, {}
        for index, name in enumerate(self._norms):
            found[name] = self._at_norm(index)
        for layer in range(self._spec.layers):
            found[f"{roles.layers}.{layer}.{roles.mixed}"] = self._at_mixed(layer)
            found[f"{roles.layers}.{layer}.{roles.down}"] = self._at_down(layer)
        return found

    def _at_norm(self, index: int) -> Any:
        # The residual stream between two layers is before the first norm of each where norms lie beside the stream, and
        # behind the last norm of each where they lie on it.
        on_stream = index % 2 == 0

        def hook(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            plain = normalised(norm, inputs[0])
            # Behind the last norm only what the head reads counts: there the other tokens are never seen again.
            last = index == len(self._norms) - 1
            seen = read_rows(plain, self._batch, self._spec) if last else valid_rows(plain, self._batch)
            rows = seen.double().cpu()
            full = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
            self._moments[index] += full.t() @ full
            if on_stream:
                stream = plain * norm.weight + norm.bias if self._roles.post_norm else inputs[0]
                self._follow(valid_rows(stream, self._batch).double().cpu())

        return hook

    def _follow(self, stream: torch.Tensor) -> None:
        if self._stream is not None:
            self._cosines[self._layers_seen] += functional.cosine_similarity(self._stream, stream, dim=-1).sum()
            self._layers_seen += 1
        self._stream = stream

    def _at_mixed(self, layer: int) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            rows = valid_rows(inputs[0], self._batch).double().cpu()
            heads = rows.reshape(len(rows), self._spec.heads, self._spec.head_dim)
            self._mixed[layer] += torch.einsum("nhi,nhj->hij", heads, heads)

        return hook

    def _at_down(self, layer: int) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            self._neurons[layer] += valid_rows(inputs[0], self._batch).double().cpu().pow(2).sum(0)

        return hook

    def result(self) -> Importance:
        """The means of what was summed."""
        counts = self._moments[:, -1:, -1:]
        tokens = int(counts[0])
        if tokens == 0:
            raise DataError("importance: found only padding in the inputs, expected tokens")
        weights, roles, spec = read_weights(self._teacher), self._roles, self._spec
        moments, mixed = self._moments / counts, self._mixed / tokens
        heads, neurons = _zeros(spec.layers, spec.heads), self._neurons / tokens
        for layer in range(spec.layers):
            written = weights[f"{roles.layers}.{layer}.{roles.mixed}.weight"].double().cpu()
            by_head = written.reshape(spec.hidden, spec.heads, spec.head_dim)
            heads[layer] = torch.einsum("dhi,hij,dhj->h", by_head, mixed[layer], by_head)
            neurons[layer] *= weights[f"{roles.layers}.{layer}.{roles.down}.weight"].double().cpu().pow(2).sum(0)
        channels = [_behind(weights, name, moment) for name, moment in zip(self._norms, moments, strict=True)]
        return Importance(
            channels=torch.stack(channels),
            moments=moments,
            heads=heads.clamp(min=0),
            neurons=neurons,
            mixed=mixed,
            influence=1 - self._cosines / tokens,
            tokens=tokens,
        )


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


def _behind(weights: Mapping[str, torch.Tensor], norm: str, moment: torch.Tensor) -> torch.Tensor:
    """The root mean square of each channel behind the gain and bias of `norm`."""
    gain = weights[f"{norm}.weight"].double().cpu()
    bias = weights[f"{norm}.bias"].double().cpu() if f"{norm}.bias" in weights else torch.zeros_like(gain)
    square, mean = moment.diagonal()[:-1], moment[:-1, -1]
    return (gain**2 * square + 2 * gain * bias * mean + bias**2).clamp(min=0).sqrt()
