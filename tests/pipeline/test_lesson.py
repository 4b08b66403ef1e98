"""What students are taught with: one pass of the teacher, whoever learns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import TINY, snapshot
from tiny_text import WORDS, save_teacher, texts, tiny_bert, tiny_tokenizer

from edgekd.data.encode import Preprocessing, encode, encoding_key
from edgekd.data.examples import Examples
from edgekd.distill.cache import cached_logits
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.feature_cache import Wanted
from edgekd.pipeline.begin import start_of
from edgekd.pipeline.context import Context
from edgekd.pipeline.distill import chosen_student
from edgekd.pipeline.lesson import lesson, stored_for
from edgekd.recipe import load_recipe
from edgekd.students.gates import gate_importance


def test_the_teachers_answers_are_read_where_they_were_kept(root: Path, context: Context) -> None:
    before = snapshot(root / "cache")
    found = lesson(context, None)
    assert snapshot(root / "cache") == before
    assert found.pad is None
    answers = predict_logits(found.teacher, found.train, 64)
    assert np.asarray(found.train.with_format("numpy")["teacher_logits"][:]) == pytest.approx(answers, abs=1e-4)
    assert len(found.validation) == len(context.splits.validation)


def test_a_student_starts_from_the_teacher_and_the_seed(root: Path) -> None:
    context = Context(load_recipe("quickstart", TINY), root, Path.cwd())
    found = lesson(context, None)
    spec = chosen_student(context)
    by = start_of(context, found, spec)
    (one, start), (other, _) = (found.student(spec, 17, by) for _ in range(2))
    assert start.copied_parameters > 0
    assert predict_logits(one, found.validation, 64) == pytest.approx(predict_logits(other, found.validation, 64))


def test_heads_are_weighed_by_the_loss_of_the_task_on_the_samples(context: Context) -> None:
    taught = lesson(context, None)
    labels = [torch.tensor(part) for part in _labels_of_samples(taught)]
    expected = gate_importance(taught.teacher, taught.samples, labels)
    torch.testing.assert_close(taught.gates, expected)


def _labels_of_samples(taught: Any) -> list[list[int]]:
    rows = len(taught.train)
    picked = [index * rows // min(rows, 256) for index in range(min(rows, 256))]
    labels = [taught.train["labels"][row] for row in picked]
    return [labels[at : at + 32] for at in range(0, len(labels), 32)]


def stored(root: Path, *overrides: str) -> Any:
    """What is stored for a student of one layer, and how often the teacher's body was asked."""
    context = Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())
    taught, asked = lesson(context, None), []
    taught.teacher.vit.register_forward_hook(lambda *_: asked.append(1))
    return stored_for(context, taught, 1), len(asked)


def test_what_the_teacher_computes_inside_is_stored_where_that_is_small_and_looked_at_often(root: Path) -> None:
    hidden = "distill.hidden={weight: 1.0}"
    before = snapshot(root / "cache")
    assert stored(root) == (None, 0)
    for refused in ("distill.cache={features: false}", "distill.epochs=1", "distill.cache.limit=100 kB"):
        found, asked = stored(root, hidden, refused)
        assert found is None
        assert asked <= 1
    fading = "distill.hidden={weight: {from: 1, to: 0, until: 60 %}}"
    assert stored(root, fading)[0] is None
    assert snapshot(root / "cache") == before
    found, asked = stored(root, hidden)
    assert found.wanted == Wanted((1,))
    assert asked > 1
    for again in (fading, "distill.epochs=1", "distill.cache.limit=100 kB"):
        same, asked = stored(root, hidden, again, "distill.cache.features=true")
        assert same.name == found.name
        assert asked == 2  # one row tells how much there is, and a few are asked again


def test_answers_are_kept_apart_by_text_truncation_tokenizer_and_weights(tmp_path: Path) -> None:
    """The cache as a lesson asks for it: each of these makes another one, and the same again makes none."""
    rows = texts(20)
    tokenizers = {"one": tiny_tokenizer(), "two": tiny_tokenizer([*WORDS[:4], *reversed(WORDS[4:])])}
    for name, tokenizer in tokenizers.items():
        save_teacher(tmp_path / name, tiny_bert(), tokenizer)

    def caches(words: list[str], max_length: int, tokenizer: str, seed: int) -> int:
        examples = Examples("train", np.arange(len(words), dtype=np.int64) % 2, words)
        how = Preprocessing(kind="text", tokenizer=str(tmp_path / tokenizer), max_length=max_length)
        key = encoding_key(examples, how)
        cached_logits(
            tiny_bert(seed=seed), encode(examples, how), tmp_path / "cache", key=key, batch_size=8, pad_token_id=0
        )
        return len(list((tmp_path / "cache").glob("*/cache.json")))

    assert caches(rows, 12, "one", 0) == 1
    assert caches(rows, 12, "one", 0) == 1
    assert caches([*rows[:-1], rows[-1].replace("bad", "good")], 12, "one", 0) == 2
    assert caches(rows, 11, "one", 0) == 3
    assert caches(rows, 12, "two", 0) == 4
    assert caches(rows, 12, "one", 1) == 5
    assert caches(rows, 12, "one", 0) == 5
