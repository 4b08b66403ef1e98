"""A tiny sentence encoder, texts that it tells apart, and a recipe for both."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_text import WORDS, tiny_tokenizer

from edgekd.pooling import Pooling, set_pooling
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec
from edgekd.students.sentence import write_sentence_files

TOPICS = tuple(f"{kind}{number}" for kind in ("dog", "car", "sea", "tea") for number in range(8))
VOCABULARY = (*WORDS, *TOPICS)
RECIPE = """
name: tiny-sentences
task: sentence-embedding
teacher: {{model: {teacher}}}
data: {{source: {data}, max_length: 12, max_leakage: 1}}
space: {{layers: [1], hidden: [16, 32], ffn_ratio: [1.0]}}
device: generic-x86-64
search: {{calibrate: 3, finalists: 1, pairs: 5}}
sla: {{latency: {{p50: 50 ms}}, memory: 2 GB, size: 4 MB, accuracy: 5 %, accuracy_drop: 95 %}}
distill: {{epochs: 4, learning_rate: 5.0e-3, batch_size: 32, patience: 4}}
precisions: [fp32, int8]
parity: {{int8_agreement: 40 %}}
bench: {{processes: 3, duration: 100 ms, warmup: 50 ms, samples: 20}}
budget: {{attempts: 1}}
"""


def sentences(count: int, seed: int = 0) -> list[str]:
    """Texts of four to nine words, no two of them alike."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choices(TOPICS, k=draw.randint(4, 9)))] = None
    return list(found)


def tiny_encoder(pooling: Pooling | None = None, *, layers: int = 2, hidden: int = 32, seed: int = 0) -> Any:
    """An encoder whose vectors differ as the words of their texts do: drawn, and then a few times as wide as usual."""
    spec = StudentSpec(
        architecture="bert", layers=layers, hidden=hidden, heads=hidden // 16, ffn=hidden, vocabulary=len(VOCABULARY),
        positions=16, token_types=2, head="none",
    )  # fmt: skip
    config = config_from_spec(spec)
    set_pooling(config, pooling or Pooling())
    model = build(spec, config, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "position" not in name:
                weight.mul_(8)
    return model


def save_encoder(folder: Path, model: Any, pooling: Pooling | None = None) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer(VOCABULARY).save_pretrained(folder)
    if pooling is not None:
        write_sentence_files(folder, pooling, model.config.hidden_size, 16)
    return folder


def write_sentences(path: Path, texts: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def write_recipe(folder: Path, *, train: int = 160, validation: int = 60, test: int = 60) -> str:
    """Data, teacher and recipe in `folder`; the path of the recipe."""
    texts = sentences(train + validation + test)
    parts = (
        ("train", texts[:train]),
        ("dev", texts[train : train + validation]),
        ("test", texts[train + validation :]),
    )
    for name, rows in parts:
        write_sentences(folder / "data" / f"{name}.txt", rows)
    save_encoder(folder / "encoder", tiny_encoder(), Pooling())
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(teacher=folder / "encoder", data=folder / "data"), encoding="utf-8")
    return str(path)
