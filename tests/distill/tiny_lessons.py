"""A teacher that learned the digits, and students that some loss taught: what a loss really does to a model."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from tiny_digits import digit_images, tiny_vit
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
BATCH = 64


@lru_cache
def images(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = digit_images(start, stop).with_format("numpy")
    return torch.tensor(np.asarray(rows["pixel_values"][:])), torch.tensor(np.asarray(rows["labels"][:]))


def steps(model: Any, count: int, loss: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """`count` steps of AdamW on the first 512 digits; `loss` is given the logits, the images and the labels."""
    pixels, labels = images(0, 512)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for step in range(count):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(labels)
        optimiser.zero_grad()
        loss(model(pixel_values=pixels[rows]).logits, pixels[rows], labels[rows]).backward()
        optimiser.step()
    model.eval()


@lru_cache
def teacher() -> Any:
    model = tiny_vit(1)
    steps(model, 120, lambda logits, _, labels: functional.cross_entropy(logits, labels))
    return model


def answers(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits for 200 digits that nobody was taught, and their labels."""
    pixels, labels = images(600, 800)
    with torch.no_grad():
        return model(pixel_values=pixels).logits, labels


@lru_cache
def student(loss: Loss | None) -> Any:
    """A narrower student that `loss` taught against the teacher alone; cross entropy taught the one of None."""

    def of_step(logits: torch.Tensor, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if loss is None:
            return functional.cross_entropy(logits, labels)
        with torch.no_grad():
            its = teacher()(pixel_values=pixels).logits
        return loss(logits, its, labels)

    model = tiny_vit(2, layers=1, hidden=16)
    steps(model, 240, of_step)
    return model


def nearer_than_labels_alone(loss: Loss) -> tuple[float, float]:
    """`loss` on digits nobody was taught: of the student it taught, and of the one that cross entropy taught."""
    its, labels = answers(teacher())
    taught, alone = (loss(answers(student(by))[0], its, labels).item() for by in (loss, None))
    return taught, alone


def accuracy(model: Any) -> float:
    logits, labels = answers(model)
    return (logits.argmax(-1) == labels).float().mean().item()
