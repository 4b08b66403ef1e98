from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgekd.data.checks import checked
from edgekd.data.sources import load_splits
from edgekd.errors import DataError
from edgekd.recipe import Data


def test_what_is_judged_on_does_not_depend_on_how_much_is_trained_on(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    write(tmp_path, train__csv=csv_rows(200))
    whole = load_splits(Data(source="."), base=tmp_path)
    some = load_splits(Data(source=".", max_train_examples=30), base=tmp_path)
    assert (some.validation.sha256, some.test.sha256) == (whole.validation.sha256, whole.test.sha256)
    assert len(some.train) == 30
    assert "30 of 140 training examples are used (max_train_examples)." in some.notes
    assert set(some.train.texts or ()) < set(whole.train.texts or ())


def test_seed_changes_the_cut_and_repetition_does_not(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    write(tmp_path, train__csv=csv_rows(200))
    first, again, other = (load_splits(Data(source=".", seed=seed), base=tmp_path).sha256 for seed in (1, 1, 2))
    assert first == again != other


def test_shares_that_leave_nothing_are_refused(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(20))
    refuse("expected a sum below 1", tmp_path, source=".", validation_share=0.5, test_share=0.5)


def test_class_with_too_few_examples_to_cut_is_named(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(20) + "odd,2\nodder,2\n")
    refuse(r"the class '2' has 2 different examples, expected at least 3 to cut a test part", tmp_path, source=".")


def test_leaked_examples_are_left_out_of_training_and_counted(tmp_path: Path, write: Callable[..., Path]) -> None:
    write(
        tmp_path,
        train__csv="text,label\nGood Film,1\nbad,0\nnever seen,1\nnor this,0\nnor that,1\n",
        dev__csv="text,label\ngood  film!,1\nfine,0\n",
        test__csv="text,label\nFINE,0\nBad ,0\nnew,1\n",
    )
    kept, dropped = (load_splits(Data(source=".", drop_leaked=drop), base=tmp_path) for drop in (False, True))
    assert (len(kept.train), kept.dropped) == (5, 0)
    assert (dropped.train.texts, dropped.dropped) == (["never seen", "nor this", "nor that"], 2)
    assert (dropped.validation.sha256, dropped.test.sha256) == (kept.validation.sha256, kept.test.sha256)


def test_what_is_drawn_is_drawn_from_what_has_not_leaked(tmp_path: Path, write: Callable[..., Path]) -> None:
    rows = "".join(f"number {number} of the training part,{number % 2}\n" for number in range(40))
    write(
        tmp_path,
        train__csv=f"text,label\n{rows}",
        dev__csv="text,label\nwholly different,1\n",
        test__csv="text,label\n" + "".join(rows.splitlines(keepends=True)[:30]),
    )
    data = Data(source=".", drop_leaked=True, max_train_examples=6)
    splits = load_splits(data, base=tmp_path)
    assert (len(splits.train), splits.dropped) == (6, 30)
    assert "6 of 10 training examples are used (max_train_examples)." in splits.notes


def test_a_training_part_that_leaked_whole_is_refused(
    tmp_path: Path, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, **dict.fromkeys(("train__csv", "dev__csv", "test__csv"), "text,label\na,1\nb,0\n"))
    refuse("each of its 2 examples also stands in .* nothing to train on", tmp_path, source=".", drop_leaked=True)


def test_sst2_is_read_whole(shared: Callable[[str], Path]) -> None:
    data = Data(
        source=str(shared("sst2_glue")), train="train.tsv", validation="heldout.tsv", test="dev.tsv", text="sentence"
    )
    splits = load_splits(data, kind="text")
    assert splits.class_counts == {
        "train": {"0": 26786, "1": 33828},
        "validation": {"0": 2994, "1": 3741},
        "test": {"0": 428, "1": 444},
    }
    assert splits.notes == []


def test_banking77_is_read_whole(shared: Callable[[str], Path]) -> None:
    splits = load_splits(Data(source=str(shared("banking77")), label="category"))
    assert len(splits.label_names) == 77
    assert (len(splits.train) + len(splits.validation), len(splits.test)) == (10003, 3080)
    assert set(splits.class_counts["test"].values()) == {40}
    assert len(splits.validation) == 1000


def test_mnist_is_read_whole(shared: Callable[[str], Path]) -> None:
    splits = load_splits(Data(source=str(shared("mnist")), max_train_examples=1000), kind="image")
    assert (len(splits.train), len(splits.test)) == (1000, 10000)
    assert splits.class_counts["test"]["1"] == 1135
    assert splits.test.images is not None
    assert splits.test.images.shape == (10000, 1, 28, 28)


ROWS = [f"text number {number} about {word}" for number, word in enumerate(["cats", "cars", "tea", "sea"] * 10)]


def unlabelled_file(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".txt"):
        path.write_text("\n\n".join(ROWS) + "\n", encoding="utf-8")
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps({"said": row, "when": 3}) + "\n" for row in ROWS), encoding="utf-8")
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({"said": ROWS}), path)
    else:
        comma = "\t" if name.endswith(".tsv") else ","
        path.write_text(f"number{comma}said\n" + "".join(f"1{comma}{row}\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.jsonl", "all.parquet", "all.txt"])
def test_texts_without_labels_are_split_and_checked_all_the_same(tmp_path: Path, name: str) -> None:
    path = unlabelled_file(tmp_path, name)
    data = Data(source=str(path), text="said")
    splits = load_splits(data, kind="text", labelling="none")
    assert not splits.labelled
    assert [len(part) for part in splits.parts.values()] == [28, 4, 8]
    assert sorted(text for part in splits.parts.values() for text in part.texts or []) == sorted(ROWS)
    assert splits.sha256 == load_splits(data, kind="text", labelling="none").sha256
    found = checked(splits, data)
    assert found.examples == {"train": 28, "validation": 4, "test": 8}
    assert not [text for text in found.warnings if "fewer than" in text]
    with pytest.raises(DataError):
        load_splits(data, kind="text")


def test_what_stands_in_two_parts_is_found_without_labels_too(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n".join(ROWS))
    (tmp_path / "test.txt").write_text("\n".join([*ROWS[:4], "one that is new", "and another new one"]))
    data = Data(source=str(tmp_path), max_train_examples=30)
    splits = load_splits(data, kind="text", labelling="none")
    assert len(splits.train) == 30
    with pytest.raises(DataError, match="also stand in the training part"):
        checked(splits, data)
    clean = Data(source=str(tmp_path), drop_leaked=True)
    assert load_splits(clean, kind="text", labelling="none").dropped == 4


def test_a_file_of_blank_lines_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("\n  \n")
    with pytest.raises(DataError, match="holds no text, expected one in each line"):
        load_splits(Data(source=str(tmp_path)), kind="text", labelling="none")
    path = unlabelled_file(tmp_path, "all.csv")
    with pytest.raises(DataError, match="has no column 'text'"):
        load_splits(Data(source=str(path)), kind="text", labelling="none")


def test_the_real_texts_of_banking77_need_no_category() -> None:
    folder = Path("../shared/data/banking77")
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    splits = load_splits(Data(source=str(folder), text="text"), kind="text", labelling="none")
    assert {name: len(part) for name, part in splits.parts.items()} == {"train": 9003, "validation": 1000, "test": 3080}
