"""Texts that a tiny BERT learns in a second, the BERT with its tokenizer, and a recipe for both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "actor", "scene", "the", "a", "was", "is")
RECIPE = """
name: tiny-text
task: text-classification
teacher:
  model: {teacher}
  fine_tune: {{epochs: 8, learning_rate: 5.0e-3, batch_size: 16, patience: 8}}
data: {{source: {data}, labels: [bad, good], max_length: 12}}
space: {{layers: [1]}}
device: generic-x86-64
sla: {{latency: {{p50: 50 ms}}}}
"""


def texts(count: int, start: int = 0) -> list[str]:
    """Texts of five words that nobody knows and a verdict, good and bad in turn; no two of them resemble each other."""
    found = []
    for number in range(start, start + count):
        letters = hashlib.sha256(str(number).encode()).hexdigest()
        words = [letters[place : place + 6] for place in range(0, 30, 6)]
        found.append(f"{' '.join(words)} {'bad' if number % 2 else 'good'}")
    return found


def write_texts(path: Path, rows: Sequence[str]) -> Path:
    lines = [f'"{text}",{"bad" if "bad" in text else "good"}\n' for text in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    return path


def tiny_tokenizer(words: Sequence[str] = WORDS) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def tiny_bert(labels: Sequence[str] = ("bad", "good"), *, vocabulary: int = len(WORDS), seed: int = 0) -> Any:
    spec = StudentSpec(
        architecture="bert", layers=2, hidden=32, heads=2, ffn=32, vocabulary=vocabulary, positions=16, token_types=2,
        labels=len(labels),
    )  # fmt: skip
    config = config_from_spec(spec)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    return build(spec, config, seed=seed)


def save_teacher(folder: Path, model: Any, tokenizer: Any = None) -> Path:
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return folder


def write_recipe(
    folder: Path, *, train: Sequence[str], validation: Sequence[str], test: Sequence[str], **teacher: Any
) -> str:
    """Data, teacher and recipe in `folder`; the path of the recipe."""
    for name, rows in (("train", train), ("dev", validation), ("test", test)):
        write_texts(folder / "data" / f"{name}.csv", rows)
    save_teacher(folder / "bert", teacher.pop("model", None) or tiny_bert(), **teacher)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(teacher=folder / "bert", data=folder / "data"), encoding="utf-8")
    return str(path)
