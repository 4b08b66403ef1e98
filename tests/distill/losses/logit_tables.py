"""Logits for the tests of losses, and what the losses are by definition, in float64."""

from typing import Any

import torch


def random_logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(*(shape or (6, 5)), generator=torch.Generator().manual_seed(seed)) * scale


def extreme(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    student = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 1.0], [1.0, -60.0, 60.0]], dtype=dtype)
    teacher = torch.tensor([[-60.0, 60.0, 0.0], [-60.0, 60.0, 5.0], [60.0, 3.0, -60.0]], dtype=dtype)
    return student, teacher


def log_p(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    return torch.log_softmax(logits.double() / temperature, dim=-1)


def kl(true: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """KL of log-probabilities in float64, row by row."""
    return (true.exp() * (true - model)).sum(-1)


def gradient(loss: Any, logits: torch.Tensor) -> torch.Tensor:
    leaf = logits.detach().clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad
