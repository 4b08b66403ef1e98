"""The sizes of the language benchmark, its arithmetic, and all of it on a tiny corpus."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_language import stories

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

import language
from language import ARMS, STUDENTS, TEACHER, Bench, documents, perplexity_of, rise, rows_of, student_of
from retention import capacity


@pytest.mark.parametrize("share", STUDENTS)
def test_every_student_fills_its_share(share: float) -> None:
    spec = student_of(share)
    assert share - 0.01 < capacity(spec) / capacity(TEACHER) <= share
    assert spec.vocabulary == TEACHER.vocabulary


def test_perplexity_counts_tokens_and_its_rise_compares_the_same_blocks() -> None:
    tokens = np.array([10.0, 10.0, 2.0])
    its = np.array([20.0, 10.0, 4.0])
    assert perplexity_of(its, tokens) == pytest.approx(np.exp(34 / 22))
    own = np.array([its + 0.1 * tokens, its + 0.3 * tokens])
    above, low, high = rise(own, its, tokens)
    assert above == pytest.approx(np.exp(0.2) - 1)
    assert low == pytest.approx(high) == pytest.approx(above)


def write_corpus(folder: Path) -> Path:
    folder.mkdir()
    for number, name in enumerate(("emma", "persuasion")):
        (folder / f"austen_{name}.txt").write_text("\n\n".join(stories(6, start=6 * number)), encoding="utf-8")
    years = (1981, 1989, 1993, 1997, 2001)
    texts = stories(len(years), start=50)
    speeches = [f"= {year}-Somebody =\n\n{text}\n\n" for year, text in zip(years, texts, strict=True)]
    (folder / "us_inaugural.txt").write_text("".join(speeches), encoding="utf-8")
    return folder


def test_documents_are_split_whole(tmp_path: Path) -> None:
    found = documents(write_corpus(tmp_path / "corpus"))
    assert {part: sorted(texts) for part, texts in found.items()} == {
        "train": ["austen_emma", "us_inaugural_1981-Somebody"],
        "validation": ["us_inaugural_1989-Somebody", "us_inaugural_1997-Somebody"],
        "test": ["austen_persuasion", "us_inaugural_1993-Somebody", "us_inaugural_2001-Somebody"],
    }
    assert found["test"]["us_inaugural_1993-Somebody"] == stories(1, start=52)[0]


def test_the_real_corpus_is_split_as_its_readme_suggests() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "lm_open"
    if not folder.is_dir():
        pytest.skip("the corpus is not beside this repository (../shared/data/lm_open)")
    found = documents(folder)
    assert {part: len(texts) for part, texts in found.items()} == {"train": 120, "validation": 5, "test": 5}


def test_students_are_trained_in_each_way_and_a_second_call_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(TEACHER, layers=2, hidden=32, heads=2, kv_heads=1, head_dim=16, ffn=64, vocabulary=320, positions=32)
    changes = {"TEACHER": tiny, "STUDENTS": {0.5: replace(tiny, layers=1)}, "VOCABULARY": 320, "LENGTH": 32}
    for name, value in {**changes, "MOST_BLOCKS": 64}.items():
        monkeypatch.setattr(language, name, value)
    longer = ("teacher.fine_tune.epochs=12", "teacher.fine_tune.learning_rate=1.0e-2", "teacher.fine_tune.patience=12")
    bench = Bench(write_corpus(tmp_path / "corpus"), tmp_path / "work", longer)
    for arm in ARMS:
        bench.train(0.5, arm, 1)
    rows, numbers = rows_of(Bench(tmp_path / "absent", tmp_path / "work", longer), 2)
    assert [row[2] for row in rows] == list(ARMS.values())
    assert numbers["teacher_perplexity"] > 1
    distilled, copied = (bench.student(0.5, arm, 1) for arm in ("distilled", "copied"))
    assert distilled is not None
    assert copied is not None
    assert distilled["first_validation_perplexity"] == copied["first_validation_perplexity"]
    assert len(distilled["history"]) == len(copied["history"]) == 1
    assert distilled["nats"] != copied["nats"]
