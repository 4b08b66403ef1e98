"""Blocks of simple sentences, and a language model that has learned to read them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from tiny_language import byte_tokenizer, stories, tiny_llama
from torch.nn import functional

from edgekd.data.blocks import blocks
from edgekd.data.encode import Preprocessing
from edgekd.data.examples import Examples

LENGTH = 32


@cache
def tokenizer() -> Any:
    return byte_tokenizer(stories(40), most=LENGTH)


@cache
def rows(first: int, count: int, length: int = LENGTH) -> Any:
    """Stories as blocks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tokenizer().save_pretrained(folder)
        texts = stories(count, start=first)
        part = Examples("stories", np.zeros(count, dtype=np.int64), texts)
        return blocks(part, Preprocessing(kind="text", tokenizer=folder, max_length=length), tokenizer())


@cache
def trained_state() -> dict[str, torch.Tensor]:
    model = tiny_llama(len(tokenizer()))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids, labels = (torch.tensor(np.array(rows(0, 30)[name][:], dtype=np.int64)) for name in ("input_ids", "labels"))
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(60):
        picked = torch.randperm(len(ids), generator=generator)[:16]
        logits = model(input_ids=ids[picked]).logits[:, :-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[picked][:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def teacher() -> Any:
    """A Llama of two layers, trained for seconds."""
    model = tiny_llama(len(tokenizer()))
    model.load_state_dict(trained_state())
    return model.eval()


def by_hand(model: Any, dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All log-probabilities in float64 at once, and the token that was to be predicted from each, in order."""
    known, truth = [], []
    for row in range(len(dataset)):
        ids, labels = (torch.tensor(dataset[row][name]) for name in ("input_ids", "labels"))
        with torch.no_grad():
            logits = model(input_ids=ids[None].long()).logits[0].double()
        for place in range(1, len(ids)):
            if labels[place] != -100:
                known.append(torch.log_softmax(logits[place - 1], dim=-1))
                truth.append(int(labels[place]))
    return torch.stack(known), torch.tensor(truth)
