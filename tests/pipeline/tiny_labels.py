"""Sentences with tagged words and texts with several labels that a tiny BERT learns in seconds, and recipes for both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tiny_text import save_teacher, tiny_tokenizer

from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

NAMES, PLACES, TOPICS = ("anna", "bert", "carl"), ("rome", "oslo", "kiel"), ("good", "bad", "film")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "new", *NAMES, *PLACES, *TOPICS)
TAGS = ("B-LOC", "B-PER", "I-LOC", "O")
RECIPE = """
name: tiny-labels
task: {task}
teacher:
  model: {teacher}
  fine_tune: {{epochs: 8, learning_rate: 5.0e-3, batch_size: 16, patience: 8}}
data: {{source: {data}, {data_keys}, max_length: 16}}
space: {{layers: [1]}}
device: generic-x86-64
search: {{calibrate: 3, finalists: 1, pairs: 5}}
distill: {{epochs: 6, learning_rate: 5.0e-3, batch_size: 16}}
bench: {{processes: 3, warmup: 50 ms, duration: 100 ms, samples: 20}}
sla: {{latency: {{p50: 500 ms}}, accuracy: 60 %, accuracy_drop: 30 %}}
"""


def filler(number: int) -> list[str]:
    letters = hashlib.sha256(str(number).encode()).hexdigest()
    return [letters[place : place + 6] for place in range(0, 24, 6)]


def sentence(number: int) -> tuple[list[str], list[str]]:
    """Words that nobody knows around a name and a place of two words."""
    words = filler(number)
    person, place = NAMES[number % 3], PLACES[number // 3 % 3]
    if number % 4 == 0:
        return [*words, person], ["O"] * 4 + ["B-PER"]
    return [words[0], person, *words[1:3], "new", place], ["O", "B-PER", "O", "O", "B-LOC", "I-LOC"]


def topics(number: int) -> tuple[str, list[str]]:
    """A text with the words that are its labels, of which there may be none."""
    found = [word for at, word in enumerate(TOPICS) if number >> at & 1]
    return " ".join([*filler(number), *found]), found


def write_tagged(folder: Path, counts: dict[str, int]) -> None:
    folder.mkdir(parents=True)
    start = 0
    for name, count in counts.items():
        rows = [sentence(number) for number in range(start, start + count)]
        lines = ["".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True)) for row in rows]
        (folder / f"{name}.conll").write_text("-DOCSTART- O\n\n" + "\n".join(lines), encoding="utf-8")
        start += count


def write_topics(folder: Path, counts: dict[str, int]) -> None:
    folder.mkdir(parents=True)
    start = 0
    for name, count in counts.items():
        rows = [topics(number) for number in range(start, start + count)]
        text = "".join(json.dumps({"text": text, "labels": found}) + "\n" for text, found in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        start += count


def label_recipe(folder: Path, task: str) -> str:
    """Data, untrained teacher and recipe in `folder`; the path of the recipe."""
    tokens = task == "token-classification"
    counts = {"train": 96, "dev": 40, "test": 48}
    (write_tagged if tokens else write_topics)(folder / "data", counts)
    labels = TAGS if tokens else TOPICS
    spec = StudentSpec(
        architecture="bert", layers=2, hidden=32, heads=2, ffn=32, vocabulary=len(VOCABULARY), positions=16,
        token_types=2, labels=len(labels), head="tokens" if tokens else "sequence",
    )  # fmt: skip
    config = config_from_spec(spec)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    save_teacher(folder / "bert", build(spec, config, seed=0), tiny_tokenizer(VOCABULARY))
    path = folder / "recipe.yaml"
    keys = f"labels: [{', '.join(labels)}]"
    path.write_text(
        RECIPE.format(task=task, teacher=folder / "bert", data=folder / "data", data_keys=keys), encoding="utf-8"
    )
    return str(path)
