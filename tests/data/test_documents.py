from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_language import stories

from edgekd.data.documents import load_documents
from edgekd.errors import DataError
from edgekd.recipe import Data


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def counts(data: Data, base: Path = Path()) -> tuple[int, int, int]:
    splits = load_documents(data, base=base)
    return len(splits.train), len(splits.validation), len(splits.test)


def test_files_called_like_the_parts_are_found(tmp_path: Path) -> None:
    write(tmp_path, train_txt="one\n<|endoftext|>\ntwo\n<|endoftext|>\n", valid_txt="three", test_txt="four")
    splits = load_documents(Data(source=str(tmp_path)))
    assert [text.strip() for text in splits.train.texts or []] == ["one", "two"]
    assert (splits.validation.texts, splits.test.texts, splits.kind) == (["three"], ["four"], "text")


def test_folders_of_documents_are_found_and_read_below(tmp_path: Path) -> None:
    write(tmp_path, train__a_txt="one", train__b__c_txt="two", validation__d_txt="three", test__e_txt="four")
    assert counts(Data(source=str(tmp_path))) == (2, 1, 1)
    assert counts(Data(source=tmp_path.name, test="validation", validation="test"), tmp_path.parent) == (2, 1, 1)


def test_a_folder_of_documents_is_cut_into_parts_by_document(tmp_path: Path) -> None:
    texts = stories(20)
    write(tmp_path, **{f"story{number}_txt": text for number, text in enumerate(texts)})
    splits = load_documents(Data(source=str(tmp_path)))
    assert [len(part) for part in splits.parts.values()] == [14, 2, 4]
    assert sorted(text for part in splits.parts.values() for text in part.texts or []) == sorted(texts)
    assert len(splits.notes) == 2
    again = load_documents(Data(source=str(tmp_path)))
    assert again.sha256 == splits.sha256
    assert load_documents(Data(source=str(tmp_path), seed=3)).sha256 != splits.sha256


def test_a_named_file_of_a_folder_is_no_document_of_the_training_part(tmp_path: Path) -> None:
    write(tmp_path, a_txt="one", b_txt="two", c_txt="three", d_txt="four")
    splits = load_documents(Data(source=str(tmp_path), validation="b.txt", test="c.txt"))
    assert (splits.train.texts, splits.validation.texts, splits.test.texts) == (["one", "four"], ["two"], ["three"])


def test_tables_hold_a_document_in_each_row_and_need_no_label(tmp_path: Path) -> None:
    rows = [json.dumps({"body": text}) for text in stories(30)]
    (tmp_path / "all.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert sum(counts(Data(source=str(tmp_path / "all.jsonl"), text="body"))) == 30
    for part, start in (("train", 0), ("validation", 10), ("test", 20)):
        pq.write_table(pa.table({"text": stories(3, start=start)}), tmp_path / f"{part}.parquet")
    assert counts(Data(source=str(tmp_path))) == (3, 3, 3)


def test_hub_data_sets_give_their_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    folder.mkdir()
    for part, start in (("train", 0), ("validation", 10), ("test", 20)):
        pq.write_table(pa.table({"text": stories(3, start=start)}), folder / f"{part}.parquet")
    assert counts(Data(source=f"hub:{folder}")) == (3, 3, 3)


def test_fewer_documents_may_be_trained_on(tmp_path: Path) -> None:
    write(tmp_path, **{f"story{number}_txt": text for number, text in enumerate(stories(20))})
    splits = load_documents(Data(source=str(tmp_path), max_train_examples=5))
    assert [len(part) for part in splits.parts.values()] == [5, 2, 4]


def test_shared_passages_are_dropped_on_request(tmp_path: Path) -> None:
    passage = "A passage that is long enough to be told from another one, and that stands in two of the parts."
    write(tmp_path, train_txt=f"First.\n\n{passage}\n\nLast.", validation_txt="other", test_txt=passage)
    splits = load_documents(Data(source=str(tmp_path), drop_leaked=True))
    assert (splits.train.texts, splits.dropped) == (["First.\n\nLast."], 1)


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({"train_txt": "one"}, {}, "different documents, expected at least 3"),
        ({"train_txt": " \n", "validation_txt": "a", "test_txt": "b"}, {}, "holds no text"),
        ({"train__a_md": "one"}, {}, "no text file"),
        ({"train_txt": "a", "train__b_txt": "b"}, {}, "could each be the train part"),
        ({"a_txt": "one", "b_txt": "two"}, {"validation": "b.txt", "test": "b.txt"}, "expected different parts"),
        ({"a_bin": "one", "b_txt": "two"}, {"train": "a_bin"}, "no plain text"),
        ({}, {"train": "absent.txt"}, "no such file"),
    ],
)
def test_what_holds_no_documents_is_refused(
    tmp_path: Path, files: dict[str, str], settings: dict[str, str], message: str
) -> None:
    write(tmp_path, **files)
    with pytest.raises(DataError, match=message):
        load_documents(Data(source=str(tmp_path), **settings))  # type: ignore[arg-type]


def test_an_absent_source_is_replaced_or_refused(tmp_path: Path) -> None:
    write(tmp_path, train_txt="a", validation_txt="b", test_txt="c")
    data = Data(source=str(tmp_path / "absent"), otherwise=Data(source=str(tmp_path)))
    assert load_documents(data).notes[0].startswith(str(tmp_path / "absent"))
    with pytest.raises(DataError, match="no such file or folder"):
        load_documents(Data(source=str(tmp_path / "absent")))


def test_real_novels_and_speeches_are_read_whole(shared: Callable[[str], Path]) -> None:
    folder = shared("lm_open")
    data = Data(source=str(folder), validation="us_inaugural.txt", test="austen_persuasion.txt")
    splits = load_documents(data)
    assert [len(part) for part in splits.parts.values()] == [6, 1, 1]
    assert len((splits.test.texts or [""])[0].encode()) == 466854
