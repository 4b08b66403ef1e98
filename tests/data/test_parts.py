from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgekd.data.sources import load_splits
from edgekd.recipe import Data


def test_pairs_are_read_and_counted_as_one_input(tmp_path: Path, write: Callable[..., Path]) -> None:
    rows = "".join(f"same;other {row};{row % 2}\n" for row in range(20))
    write(tmp_path, train__csv=f"a;b;label\n{rows}")
    splits = load_splits(Data(source=".", text="a", text_pair="b"), base=tmp_path)
    assert splits.train.texts == ["same"] * 14
    assert len(set(splits.train.pairs or ())) == 14


def test_labels_of_every_json_type_are_classes(tmp_path: Path, write: Callable[..., Path]) -> None:
    lines = [json.dumps({"text": f"t{row}", "label": row % 2 == 1}) for row in range(20)]
    write(tmp_path, train__jsonl="\n".join(lines))
    assert load_splits(Data(source="."), base=tmp_path).label_names == ["false", "true"]
    lines = [json.dumps({"text": f"t{row}", "label": float(row % 3)}) for row in range(30)]
    write(tmp_path, train__jsonl="\n".join(lines))
    assert load_splits(Data(source="."), base=tmp_path).label_names == ["0", "1", "2"]


def test_text_keeps_its_spaces_and_its_quotes(tmp_path: Path, write: Callable[..., Path]) -> None:
    write(
        tmp_path,
        train__tsv='text\tlabel\n "a" \t0\nb\t1\n',
        dev__tsv="text\tlabel\nc\t0\n",
        test__tsv="text\tlabel\nd\t1\n",
    )
    assert load_splits(Data(source="."), base=tmp_path).train.texts == [' "a" ', "b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,", r"train\.csv:4: label is empty"),
        ('a," "', r"train\.csv:4: label is empty"),
        ("a", r"train\.csv:4: found 1 cells, expected 2"),
        ("a,3", r"train\.csv: the labels are the numbers 0, 1, 3, expected 0 to 2"),
        ("a,0.5", r"train\.csv:4: the label 0\.5 is a fraction"),
    ],
)
def test_bad_csv_row_is_named(
    tmp_path: Path, line: str, said: str, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=f"text,label\nx,0\ny,1\n{line}\nz,0\n")
    refuse(said, tmp_path, source=".")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": "b"}, r"train\.jsonl:2: label is empty"),
        ({"text": 7, "label": 1}, r"train\.jsonl:2: text is 7, expected a text"),
        ({"text": "\ud800", "label": 1}, r"train\.jsonl:2: text holds half a character"),
        ({"text": "b", "label": [0, 1]}, r"train\.jsonl:2: label is \[0, 1\], expected one label per example"),
        ({"text": "b", "label": float("nan")}, r"train\.jsonl:2: label is nan"),
    ],
)
def test_bad_json_record_is_named(
    tmp_path: Path, record: dict[str, Any], said: str, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__jsonl='{"text": "a", "label": 0}\n' + json.dumps(record) + "\n")
    refuse(said, tmp_path, source=".")


def test_empty_texts_are_kept_as_such(tmp_path: Path, write: Callable[..., Path]) -> None:
    full = [{"text": f"t{row}", "label": row % 2} for row in range(4)]
    empty = [{"label": 1}, {"text": None, "label": 0}, {"text": " ", "label": 1}, {"text": "", "label": 1}]
    lines = "\n".join(map(json.dumps, [*full, *empty]))
    write(tmp_path, train__jsonl=lines, dev__jsonl=json.dumps(full[0]), test__jsonl=json.dumps(full[0]))
    train = load_splits(Data(source="."), base=tmp_path).train
    assert train.texts == ["t0", "t1", "t2", "t3", "", "", " ", ""]
    assert train.blank == [4, 5, 6, 7]


def test_a_column_that_is_mostly_empty_is_refused(
    tmp_path: Path, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv="a,b,label\nx,,0\ny,z,1\n,,1\n", dev__csv="a,b,label\nv,w,1\n")
    said = r"train\.csv:2: b is empty, as it is in 2 of 3 rows, expected .* another column in data\.text"
    refuse(f"{said}_pair,", tmp_path, source=".", text="a", text_pair="b")
    refuse(f"{said},", tmp_path, source=".", text="b")


def test_missing_columns_are_explained(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(4))
    refuse(
        r"no column 'txt', found label, text. Name the column in data\.text\. Did you", tmp_path, source=".", text="txt"
    )
    refuse(r"no column 'category', found label, text", tmp_path, source=".", label="category")
    refuse(r"no column 'b', found label, text. Name the column in data\.text_pair", tmp_path, source=".", text_pair="b")


def test_label_unknown_to_train_is_named_in_the_other_parts(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(4), dev__csv=csv_rows(2), test__csv="text,label\na,0\nb,2\n")
    refuse(r"test\.csv:3: the label is '2', expected a whole number from 0 to 1", tmp_path, source=".")


def test_bytes_in_parquet_are_text_when_they_are_utf8(tmp_path: Path, refuse: Callable[..., None]) -> None:
    rows = pa.table({"text": pa.array([f"é{row}".encode() for row in range(20)], pa.binary()), "label": [0, 1] * 10})
    pq.write_table(rows, tmp_path / "train-00000-of-00001.parquet")
    assert (load_splits(Data(source="."), base=tmp_path).train.texts or [""])[0].startswith("é")
    rows = pa.table({"text": pa.array([b"\xe9", b"a"], pa.binary()), "label": [0, 1]})
    pq.write_table(rows, tmp_path / "bad.parquet")
    refuse(r"bad\.parquet: row 1: text is not UTF-8", tmp_path, source="bad.parquet")


def test_text_format_is_refused_because_it_has_no_labels(
    tmp_path: Path, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__txt="one\ntwo\n")
    refuse(r"train\.txt: is plain text, one example per line, which has no labels", tmp_path, source=".")
    refuse("which has no labels", tmp_path, source="train.txt", format="text")


def test_task_that_needs_the_other_kind_is_refused(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(4))
    refuse(r"sklearn:digits: holds images, but the task needs texts", tmp_path, source="sklearn:digits", kind="text")
    refuse(r"train\.csv: has no column 'image'", tmp_path, source=".", kind="image")
