from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data.balance import refuse_unlearnable
from edgekd.data.encode import Preprocessing, encode, numpy_batches
from edgekd.data.examples import Splits
from edgekd.data.sources import load_splits
from edgekd.data.truncation import cut_words, truncated_rows
from edgekd.errors import DataError
from edgekd.recipe import Data


def splits(folder: Path, rows: list[dict[str, Any]], labelling: Any, **data: Any) -> Splits:
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_splits(Data(source=str(folder), **data), kind="text", labelling=labelling)


def sentences(count: int) -> list[dict[str, Any]]:
    return [{"tokens": ["a", f"w{n}", "b"], "tags": ["O", "B-X" if n % 2 else "B-Y", "I-X"]} for n in range(count)]


def sets(count: int) -> list[dict[str, Any]]:
    names = [[], ["x"], ["y"], ["x", "y"]]
    return [{"text": f"text {number}", "labels": names[number % 4]} for number in range(count)]


def test_a_tag_belongs_to_each_word_through_splits_and_draws(tmp_path: Path) -> None:
    found = splits(tmp_path, sentences(60), "tokens", max_train_examples=20)
    assert found.label_names == ["B-X", "B-Y", "I-X", "O"]
    for part in found.parts.values():
        for row, words in enumerate(part.words or []):
            tags = part.labels[part.starts[row] : part.starts[row + 1]].tolist()
            assert tags == [3, 0 if int(words[1][1:]) % 2 else 1, 2]
    assert len(found.train) == 20
    assert found.class_counts["train"] == {"B-X": 10, "B-Y": 10, "I-X": 20, "O": 20}


def test_inside_tags_that_begin_an_entity_are_told(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", f"w{n}"], "tags": ["O", "I-X" if n % 2 else "B-X"]} for n in range(40)]
    assert any("20 entities begin with an inside tag" in note for note in splits(tmp_path, rows, "tokens").notes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, r"train.jsonl:3: found 2 words in tokens and 1 tags in tags"),
        ({"tokens": "a b", "tags": ["O", "O"]}, r"train.jsonl:3: tokens is 'a b', expected a list"),
        ({"tokens": [], "tags": []}, r"train.jsonl:3: tokens is \[\], expected a list, not empty"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, r"train.jsonl:3: tokens holds '', expected words"),
        ({"tokens": ["a"], "tags": [None]}, r"train.jsonl:3: tags is empty"),
    ],
)
def test_a_sentence_that_does_not_fit_is_named(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        splits(tmp_path, [*sentences(2), row, *sentences(20)], "tokens")


def test_labels_are_sets_and_may_be_empty(tmp_path: Path) -> None:
    found = splits(tmp_path, sets(80), "many")
    assert found.label_names == ["x", "y"]
    for part in found.parts.values():
        assert part.labels.shape == (len(part), 2)
        for text, row in zip(part.texts or [], part.labels.tolist(), strict=True):
            number = int(text.split()[1])
            assert row == [int(number % 4 in (1, 3)), int(number % 4 in (2, 3))]
    counts = np.bincount(found.test.labels[:, 0] + 2 * found.test.labels[:, 1], minlength=4)
    assert counts.min() >= 2  # a draw keeps the shares, of those without a label, too


def test_labels_in_one_cell_or_several_columns_are_the_same(tmp_path: Path) -> None:
    texts = [{"text": row["text"], "label": " ; ".join(row["labels"])} for row in sets(80)]
    columns = [{"text": row["text"], **{name: int(name in row["labels"]) for name in "xy"}} for row in sets(80)]
    wanted = splits(tmp_path / "a", sets(80), "many").train.labels
    assert np.array_equal(splits(tmp_path / "b", texts, "many").train.labels, wanted)
    assert np.array_equal(splits(tmp_path / "c", columns, "many", label=["x", "y"]).train.labels, wanted)


def test_a_column_that_holds_no_truth_is_named(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "x": n % 2, "y": n % 3} for n in range(40)]
    with pytest.raises(DataError, match=r"train.jsonl:3: y is 2, expected 1 where the label applies"):
        splits(tmp_path, rows, "many", label=["x", "y"])


@pytest.mark.parametrize(("always", "said"), [(True, "to every one"), (False, "to none")])
def test_a_label_that_says_nothing_is_refused(always: bool, said: str, tmp_path: Path) -> None:
    rows = [{**row, "labels": [*row["labels"], *(["z"] if always else [])]} for row in sets(80)]
    found = splits(tmp_path, rows, "many", labels=["x", "y", "z"])
    with pytest.raises(DataError, match=f"'?z'? apply {said}"):
        refuse_unlearnable(found)


def test_the_first_token_of_a_word_has_its_tag(tmp_path: Path, tokenizer_folder: Path) -> None:
    rows = [{"tokens": ["a", "bd", "cdd"], "tags": ["O", "X", "Y"]}, {"tokens": ["b"] * 9, "tags": ["X"] * 9}]
    found = splits(
        tmp_path, [*rows, *({"tokens": ["a", f"c{n}"], "tags": ["O", "XY"[n % 2]]} for n in range(40))], "tokens"
    )
    everything = found.train
    encoded = encode(everything, Preprocessing(kind="text", tokenizer=str(tokenizer_folder), max_length=8))
    for words, ids, labels in zip(everything.words or [], encoded["input_ids"], encoded["labels"], strict=True):
        assert len(ids) == len(labels)
        assert labels[0] == labels[-1] == -100
        assert sum(label != -100 for label in labels) == min(len(words), 6)
    by_words = {tuple(words): row for row, words in enumerate(everything.words or [])}
    if ("a", "bd", "cdd") in by_words:
        assert encoded[by_words["a", "bd", "cdd"]]["labels"] == [-100, 0, 1, -100, 2, -100, -100, -100]
    cut = int(("b",) * 9 in by_words)
    assert cut_words(encoded, everything) == 3 * cut
    assert truncated_rows(encoded, everything, Preprocessing(kind="text", tokenizer="x", max_length=8), None) == cut
    batch = next(numpy_batches(encoded, 16, 0))
    assert batch["labels"].shape == batch["input_ids"].shape
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
