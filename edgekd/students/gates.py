"""What attention heads are worth to the task: how much the loss would change if a head were turned down.

A gate of 1 is put behind every head of every example, and the loss is differentiated by it. The gates sit in an
attention function of ours: the `head_mask` that models took before transformers 5 is swallowed there without effect.
Source: Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv:1905.10650; scores of a layer are divided
by their norm as there, after Molchanov et al. 2017, arXiv:1611.06440.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from edgekd.errors import DataError
from edgekd.students.importance import Batch
from edgekd.students.weights import module_at, roles_of, spec_of

GATED = "edgekd_gated"
_GATES = "edgekd_gates"

Loss = Callable[[Any, torch.Tensor], torch.Tensor]


def loss_of_classes(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    """The cross entropy of a classifier's `outputs`, summed over the examples. Shapes: labels [batch]."""
    return functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")


def gate_importance(
    model: PreTrainedModel, batches: Sequence[Batch], labels: Sequence[torch.Tensor], loss: Loss = loss_of_classes
) -> torch.Tensor:
    """E|∂ loss / ∂ gate| of every head of a model, over the examples of `batches` and their `labels`.

    `loss` is that of the model's outputs and the labels of a batch, summed over its examples.
    Shapes: each of `labels` [batch, ...]; the result [layers, heads], float64, of norm 1 in each layer (0 where no head
    matters). Errors: DataError without inputs, or when labels and batches do not fit.
    """
    if not batches or len(batches) != len(labels):
        raise DataError(f"gates: found {len(batches)} batches of inputs and {len(labels)} of labels, expected as many")
    spec = spec_of(model)
    total = torch.zeros(spec.layers, spec.heads, dtype=torch.float64)
    with _gated(model) as places:
        for batch, wanted in zip(batches, labels, strict=True):
            examples = len(next(iter(batch.values())))
            if wanted.shape[:1] != (examples,):
                raise DataError(f"gates: found labels of shape {tuple(wanted.shape)}, expected ({examples}, ...)")
            gates = [torch.ones(examples, spec.heads, device=model.device, requires_grad=True) for _ in places]
            for place, gate in zip(places, gates, strict=True):
                setattr(place, _GATES, gate)
            found = loss(model(**batch), wanted.to(model.device))
            for layer, slope in enumerate(torch.autograd.grad(found, gates)):
                total[layer] += slope.abs().sum(dim=0).double().cpu()
    return functional.normalize(total, dim=1)


@contextmanager
def gates_at(model: PreTrainedModel, gates: torch.Tensor) -> Iterator[None]:
    """Inside: the heads of `model` are multiplied by `gates`. Shapes: [layers, heads]."""
    with _gated(model) as places:
        for place, gate in zip(places, gates, strict=True):
            setattr(place, _GATES, gate.to(model.device)[None])
        yield


@contextmanager
def _gated(model: PreTrainedModel) -> Iterator[list[Any]]:
    """Inside: `model` in evaluation mode attends through gates, which its attention modules, given, must hold."""
    spec, roles = spec_of(model), roles_of(model)
    inner = roles.queries.rsplit(".", 1)[0]
    places = [module_at(model, f"{roles.layers}.{layer}.{inner}") for layer in range(spec.layers)]
    before, was_training = model.config._attn_implementation, model.training  # noqa: SLF001
    AttentionInterface.register(GATED, _gated_attention)
    AttentionMaskInterface.register(GATED, sdpa_mask)
    model.set_attn_implementation(GATED)
    model.eval()
    try:
        yield places
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)
        for place in places:
            vars(place).pop(_GATES, None)


def _gated_attention(module: torch.nn.Module, *inputs: Any, **options: Any) -> tuple[torch.Tensor, Any]:
    mixed, weights = sdpa_attention_forward(module, *inputs, **options)
    gates: torch.Tensor = vars(module)[_GATES]
    return mixed * gates[:, None, :, None].to(mixed.dtype), weights
