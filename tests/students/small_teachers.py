"""Small teachers of every family that can be cut, with weights random enough to show a wrong copy."""

from __future__ import annotations

from typing import Any

import torch

from edgekd.student import StudentSpec
from edgekd.students.build import build

TEXT = {"layers": 5, "hidden": 24, "heads": 6, "ffn": 40, "vocabulary": 40, "positions": 24}
TEACHERS = {
    "bert": StudentSpec(architecture="bert", token_types=2, labels=3, **TEXT),
    "roberta": StudentSpec(architecture="roberta", token_types=2, labels=3, **TEXT),
    "bert-encoder": StudentSpec(architecture="bert", token_types=2, head="none", **TEXT),
    "roberta-encoder": StudentSpec(architecture="roberta", token_types=2, head="none", **TEXT),
    "vit": StudentSpec(
        architecture="vit", layers=5, hidden=24, heads=6, ffn=40, labels=3, image_size=8, patch_size=4, channels=2
    ),
    "gpt2": StudentSpec(architecture="gpt2", labels=3, **TEXT),
    "gpt2-lm-tied": StudentSpec(architecture="gpt2", tied=True, **TEXT),
    "gpt2-lm-untied": StudentSpec(architecture="gpt2", tied=False, **TEXT),
    "llama": StudentSpec(architecture="llama", labels=3, **(TEXT | {"heads": 4, "kv_heads": 2, "head_dim": 6})),
    "llama-lm-tied": StudentSpec(architecture="llama", tied=True, **(TEXT | {"heads": 4, "kv_heads": 2})),
    "llama-lm-untied": StudentSpec(architecture="llama", tied=False, **(TEXT | {"heads": 6, "kv_heads": 3})),
}


def teacher_of(spec: StudentSpec, seed: int = 0) -> Any:
    """A model whose every weight, norms and biases too, is random enough to show a wrong copy."""
    model = build(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            norm = "norm" in name.lower() or "ln_" in name
            parameter.copy_(1 + 0.3 * noise if norm and name.endswith("weight") else 0.25 * noise)
    return model


def logits(model: Any, spec: StudentSpec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        if spec.family == "vit":
            pixels = torch.randn(2, spec.channels, spec.image_size, spec.image_size, generator=generator)
            return model(pixel_values=pixels).logits
        tokens = torch.randint(3, spec.vocabulary, (2, 11), generator=generator)
        answer = model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        return answer.last_hidden_state if spec.head == "none" else answer.logits


def resized(spec: StudentSpec, **sizes: int) -> StudentSpec:
    return StudentSpec(**(spec.to_dict() | sizes))


def batches_of(spec: StudentSpec, batches: int = 4, seed: int = 5) -> list[dict[str, torch.Tensor]]:
    """Random inputs; every second text ends in padding."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(batches):
        if spec.family == "vit":
            size = (16, spec.channels, spec.image_size, spec.image_size)
            found.append({"pixel_values": torch.randn(size, generator=generator)})
            continue
        tokens = torch.randint(3, spec.vocabulary, (16, 11), generator=generator)
        mask = torch.ones_like(tokens)
        mask[::2, 8:] = 0
        found.append({"input_ids": tokens, "attention_mask": mask})
    return found
