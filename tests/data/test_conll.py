from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.data.conll import read_conll
from edgekd.data.sources import load_splits
from edgekd.errors import DataError
from edgekd.recipe import Data

TEXT = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nsays VBZ I-VP O\n\n\nPeter NNP I-NP I-PER\n"


def written(folder: Path, text: str, name: str = "train.conll") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_sentences_are_words_and_last_columns(tmp_path: Path) -> None:
    table = read_conll(written(tmp_path, TEXT))
    assert table.columns == {"tokens": [["EU", "says"], ["Peter"]], "tags": [["B-ORG", "O"], ["I-PER"]]}
    assert table.rows == [3, 7]


def test_tabs_separate_where_there_are_any(tmp_path: Path) -> None:
    table = read_conll(written(tmp_path, "New York\tB-LOC\nhas\tO\r\n"))
    assert table.columns["tokens"] == [["New York", "has"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("EU O\nsays\n", "train.conll:2: found 1 columns in 'says', expected 2"),
        ("EU\n", "train.conll:1: found 1 columns in 'EU', expected at least a word and its tag"),
        ("EU NNP O\nsays O\n", "train.conll:2: found 2 columns in 'says O', expected 3"),
        ("-DOCSTART- O\n\n", "holds no sentence"),
    ],
)
def test_a_line_that_does_not_fit_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_conll(written(tmp_path, text))


def test_an_unknown_tag_is_named_with_its_own_line(tmp_path: Path) -> None:
    sentences = "".join(f"word{number} O\nEU B-ORG\n\n" for number in range(20))
    written(tmp_path, sentences)
    written(tmp_path, "a O\nb O\n\nc O\nd B-XYZ\n", "test.conll")
    with pytest.raises(DataError, match=r"test.conll:5: unknown label 'B-XYZ'"):
        load_splits(Data(source=str(tmp_path)), kind="text", labelling="tokens")


def test_a_conll_file_needs_the_task_of_tokens(tmp_path: Path) -> None:
    written(tmp_path, TEXT)
    with pytest.raises(DataError, match="token-classification"):
        load_splits(Data(source=str(tmp_path)), kind="text")
