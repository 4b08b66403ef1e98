from __future__ import annotations

import csv
import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.data.tables import Table, read_table
from edgekd.errors import DataError, InputError

WANTED = ["text", "label"]

# How long the first draw takes says nothing about these tests, only about the machine.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def table(folder: Path, name: str, content: str | bytes, form: str = "") -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, form or name.rpartition(".")[2], WANTED)


def test_csv_keeps_quoted_separators_newlines_and_quotes(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", 'text,label\n"one, ""two""\nthree",x\nfour,y\n')
    assert read.columns == {"text": ['one, "two"\nthree', "four"], "label": ["x", "y"]}
    assert [read.place(row).rpartition(":")[2] for row in (0, 1)] == ["2", "4"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_separator_is_found_in_the_header(tmp_path: Path, separator: str) -> None:
    read = table(tmp_path, "a.csv", f'id{separator}"text"{separator}label\n1{separator}a{separator}x\n')
    assert read.columns == {"text": ["a"], "label": ["x"]}
    assert read.names == ["id", "text", "label"]


def test_csv_of_windows_with_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", b"\xef\xbb\xbf\r\ntext,label\r\n\r\na,x\r\n\r\nb,y\r\n\r\n")
    assert read.columns == {"text": ["a", "b"], "label": ["x", "y"]}
    assert read.rows == [4, 6]


def test_csv_of_old_macs_is_read(tmp_path: Path) -> None:
    assert table(tmp_path, "a.csv", "text,label\ra,x\rb,y\r").columns["text"] == ["a", "b"]
    assert table(tmp_path, "a.tsv", "text\tlabel\ra\tx\rb\ty\r").columns["text"] == ["a", "b"]


def test_csv_cells_may_be_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 100_000
    assert table(tmp_path, "a.csv", f"text,label\n{long},x\n").columns["text"] == [long]
    assert csv.field_size_limit() == before


def test_words_that_other_readers_take_for_missing_stay_words(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "1e5", "TRUE"]
    read = table(tmp_path, "a.csv", "text,label\n" + "".join(f"{word},x\n" for word in words))
    assert read.columns["text"] == words


def test_ragged_csv_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3: found 3 cells, expected 2"):
        table(tmp_path, "a.csv", "text,label\na,x\nb, really,y\n")


def test_unclosed_quote_names_the_line_where_it_opens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3: the record that starts here"):
        table(tmp_path, "a.csv", 'text,label\na,x\n"b,y\nc,z\n')


def test_tsv_reads_quotes_as_any_character(tmp_path: Path) -> None:
    read = table(tmp_path, "a.tsv", 'text\tlabel\n"a\t1\n`` b "" \t0\r\n')
    assert read.columns == {"text": ['"a', '`` b "" '], "label": ["1", "0"]}


def test_tsv_does_not_end_a_line_at_unicode_separators(tmp_path: Path) -> None:
    odd = "a\u2028b\x0bc\x85d"
    assert table(tmp_path, "a.tsv", f"text\tlabel\n{odd}\tx\n").columns["text"] == [odd]


def test_ragged_tsv_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tsv:4: found 1 cells, expected 2"):
        table(tmp_path, "a.tsv", "text\tlabel\n\na\tx\nb\n")


def test_missing_column_lists_those_found_and_guesses(tmp_path: Path) -> None:
    read = table(tmp_path, "a.csv", "texts,label\na,x\n")
    with pytest.raises(DataError, match=r"no column 'text', found label, texts.*data\.text\. Did you mean 'texts'\?"):
        read.column("text", "data.text")


def test_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1: the column 'label' stands twice"):
        table(tmp_path, "a.csv", "text,label,label\na,x,y\n")


def test_column_that_stands_twice_but_is_not_needed_is_no_matter(tmp_path: Path) -> None:
    assert table(tmp_path, "a.csv", "text,label,n,n\na,x,1,2\n").columns["label"] == ["x"]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_empty_file_is_refused(tmp_path: Path, form: str, content: str) -> None:
    with pytest.raises(DataError, match=r"is empty|holds no examples"):
        table(tmp_path, f"a.{form}", content)


def test_header_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no examples"):
        table(tmp_path, "a.csv", "text,label\n")


def test_text_that_is_not_utf8_is_named_by_line_and_byte(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:3: is not UTF-8 text \(found the byte 0xe9\)"):
        table(tmp_path, "a.csv", b"text,label\na,x\ncaf\xe9,y\n")
    with pytest.raises(DataError, match=r"a\.tsv:1: is not UTF-8 text \(found the byte 0xff\)"):
        table(tmp_path, "a.tsv", "text\tlabel\n".encode("utf-16"))


def test_gzipped_table_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"text,label\n" + b"a,x\n" * 100)
    assert len(table(tmp_path, "a.csv", packed).rows) == 100
    for damaged in (packed[:-9], packed[:12] + b"\xff\xff\xff" + packed[15:]):
        with pytest.raises(DataError, match="damaged gzip file"):
            table(tmp_path, "b.csv", damaged)


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"trian\.csv: no such file. The folder holds train\.csv\. Did you mean"):
        read_table(tmp_path / "trian.csv", "csv", WANTED)
    with pytest.raises(DataError, match="There is no folder"):
        read_table(tmp_path / "deep" / "train.csv", "csv", WANTED)
    with pytest.raises(DataError, match="this is a folder, expected a file"):
        read_table(tmp_path, "csv", WANTED)


def test_json_lines_are_read_with_their_types(tmp_path: Path) -> None:
    read = table(tmp_path, "a.jsonl", '{"text": "a\\u00e9", "label": 1}\n\n{"label": true, "text": "b", "more": []}\n')
    assert read.columns == {"text": ["aé", "b"], "label": [1, True]}
    assert read.names == ["text", "label", "more"]
    assert read.rows == [1, 3]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "b"', r"a\.jsonl:2: is not valid JSON"),
        ('[{"text": "b"},', r"a\.jsonl:2: is not valid JSON .*Write one object per line"),
        ("[1]", r"a\.jsonl:2: found \[1\], expected one JSON object"),
        ("[" * 100_000, r"a\.jsonl:2: "),
        ('{"text": ' + "9" * 5000 + "}", r"a\.jsonl:2: holds a JSON value that cannot be read"),
    ],
)
def test_bad_json_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        table(tmp_path, "a.jsonl", f'{{"text": "a", "label": 0}}\n{line}\n')


def test_parquet_reads_only_wanted_columns_and_lists_all(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = pa.array(["a", "b"]).dictionary_encode()
    pq.write_table(pa.table({"text": words, "label": [0, 1], "id": [7, 8]}), path)
    read = read_table(path, "parquet", WANTED)
    assert read.columns == {"text": ["a", "b"], "label": [0, 1]}
    assert read.names == ["text", "label", "id"]
    assert read.place(1) == f"{path}: row 2"


def test_parquet_without_a_wanted_column_is_not_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"sentence": ["a"], "class": [0]}), path)
    with pytest.raises(DataError, match="no column 'text', found class, sentence"):
        read_table(path, "parquet", WANTED).column("text", "data.text")


def test_parquet_gives_the_class_names_that_datasets_wrote(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    rows.to_parquet(str(tmp_path / "a.parquet"))
    assert read_table(tmp_path / "a.parquet", "parquet", WANTED).class_names == {"label": ["no", "yes"]}


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams_are_read_as_parquet_is(tmp_path: Path, new: Any) -> None:
    path, content = tmp_path / "a.arrow", pa.table({"text": ["a", "b"], "label": [0, 1], "id": [7, 8]})
    with new(path, content.schema) as writer:
        writer.write_table(content)
    read = read_table(path, "arrow", WANTED)
    assert (read.columns, read.names) == ({"text": ["a", "b"], "label": [0, 1]}, ["text", "label", "id"])
    assert read.place(1) == f"{path}: row 2"
    whole = path.read_bytes()
    for data in (b"", b"ARROW1", b"text,label\n", whole[: len(whole) // 2], whole[:200] + whole[240:]):
        with pytest.raises(DataError, match="is not a readable Arrow file"):
            table(tmp_path, "b.arrow", data)


def test_arrow_offsets_that_lead_out_of_the_file_are_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "a.arrow", pa.table({"text": ["ab", "cd"], "label": [0, 1]})
    with pa.ipc.new_stream(path, content.schema) as writer:
        writer.write_table(content)
    offsets = np.array([0, 2, 4], dtype="<i4").tobytes()
    far = np.array([0, 2, 2**30], dtype="<i4").tobytes()
    assert path.read_bytes().count(offsets) == 1
    with pytest.raises(DataError, match="is not a readable Arrow file"):
        table(tmp_path, "b.arrow", path.read_bytes().replace(offsets, far))


def test_an_arrow_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    content = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pa.ipc.new_file(tmp_path / "a.arrow", content.schema) as writer:
        writer.write_table(content)
    with pytest.raises(DataError, match="the column 'text' stands twice"):
        read_table(tmp_path / "a.arrow", "arrow", WANTED)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 500, "label": [0, 1] * 500}), path, compression="snappy")
    whole = path.read_bytes()
    for data in (b"", b"PAR1", b"text,label\n", whole[: len(whole) // 2], whole[:4] + b"\xff" * 200 + whole[204:]):
        with pytest.raises(DataError, match="is not a readable Parquet file"):
            table(tmp_path, "b.parquet", data)


@unhurried
@given(rows=st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
def test_csv_gives_back_what_the_csv_module_wrote(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("round") / "a.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([WANTED, *rows])
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(DataError, match="is not UTF-8"):
            read_table(path, "csv", WANTED)
        return
    read = read_table(path, "csv", WANTED)
    assert list(zip(read.columns["text"], read.columns["label"], strict=True)) == rows


@unhurried
@given(data=st.binary(max_size=300), form=st.sampled_from(["csv", "tsv", "jsonl", "parquet", "arrow"]))
def test_any_bytes_are_a_table_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, form: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    for content in (data, b"text,label\n" + data, json.dumps({"text": data.hex()}).encode() + b"\n" + data):
        path.write_bytes(content)
        with suppress(InputError):
            assert read_table(path, form, WANTED).rows
