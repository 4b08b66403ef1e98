"""Learning rates by layer: what lies near the input is of use to any task, and learns more slowly than the rest.

Source: Howard and Ruder 2018, arXiv:1801.06146 (a rate for each layer); Bao et al. 2021, arXiv:2106.08254 (one factor
from layer to layer, with the embeddings as the lowest one).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from edgekd.errors import InputError
from edgekd.text import listing

FAMILIES = ("bert", "roberta", "gpt2", "llama", "vit")

_LAYER = re.compile(r"\.(?:layer|layers|h)\.([0-9]+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embeddings|embed_tokens|wte|wpe)\.")


def distances(model: Any) -> dict[str, int]:
    """By name of a parameter how far below the top it lies.

    0 for the head, its pooler and a final norm; 1 for the uppermost of L layers, L for the lowest, L + 1 for everything
    that makes the first hidden states of an input.
    Errors: InputError for a model of a family whose layers we do not know.
    """
    found = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if found not in FAMILIES:
        raise InputError(
            f"training: found layer_decay and a model of type {found}, expected one of {listing(FAMILIES)}; "
            "set layer_decay to 1"
        )
    names = [name for name, _ in model.named_parameters()]
    numbers = {name: int(match[1]) for name in names if (match := _LAYER.search(name))}
    layers = 1 + max(numbers.values())
    below = {name: layers + 1 for name in names if _EMBEDDING.search(name)}
    return {name: layers - numbers[name] if name in numbers else below.get(name, 0) for name in names}


def parameter_groups(
    model: Any, *, learning_rate: float, layer_decay: float, weight_decay: float, decayed: Collection[str]
) -> list[dict[str, Any]]:
    """Groups for an optimiser: the rate is `learning_rate` times `layer_decay` to the power of the distance.

    Only the parameters named in `decayed` decay; those that get no gradient are in no group. The first group has the
    full rate.
    Errors: InputError as `distances`.
    """
    members: dict[tuple[int, bool], list[Any]] = defaultdict(list)
    below = distances(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[below[name], name not in decayed].append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay**distance,
            "weight_decay": 0.0 if plain else weight_decay,
        }
        for (distance, plain), parameters in sorted(members.items(), key=lambda item: item[0])
    ]
