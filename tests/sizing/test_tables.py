from __future__ import annotations

import json
import math
from typing import Any

import pytest

from edgekd.errors import RecordError
from edgekd.sizing.tables import (
    FORECAST_COLUMNS,
    WITHOUT_ENERGY,
    forecast_table,
    lines_text,
    rows_in,
    student_columns,
    student_table,
)

TEACHER = {"layers": 6, "hidden": 64, "heads": 4, "head_dim": 16, "kv_heads": 4, "ffn": 128, "labels": 2}
ROW = ["L2-H32-A2-F64", 2, 32, 2, 16, 2, 64, 24, 500, 300, 9000, *(1, 2, 3, 4, 0.5, 1.0, 2.0, "memory")]


def test_text_is_json_with_a_line_for_each_student() -> None:
    table = {"students": [["L1", 1, None], ["L2", 2, 0.5]], "b": {"y": {"z": 1}, "x": []}, "a": "ä\n", "none": []}
    text = lines_text(table)
    assert json.loads(text) == table
    assert text.splitlines() == [
        "{",
        '"a": "ä\\n",',
        '"b": {',
        ' "x": [],',
        ' "y": {"z": 1}',
        "},",
        '"none": [],',
        '"students": [',
        ' ["L1", 1, null],',
        ' ["L2", 2, 0.5]',
        "]",
        "}",
    ]


def test_equal_tables_are_equal_text_whatever_the_order() -> None:
    one = {"b": {"d": {"f": 1, "e": 2}, "c": 3}, "a": 4}
    other = {"a": 4, "b": {"c": 3, "d": {"e": 2, "f": 1}}}
    assert lines_text(one) == lines_text(other)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_does_not_know_is_refused(value: float) -> None:
    with pytest.raises(RecordError, match="cannot be stored"):
        lines_text({"students": [[value]]})


def test_columns_name_each_precision() -> None:
    columns = student_columns(["int8", "fp32"])
    assert len(columns) == len(set(columns)) == 11 + 2 * 8
    assert columns.index("int8.bound") + 1 == columns.index("fp32.weight_bytes")


def test_what_a_row_leaves_out_comes_from_the_teacher() -> None:
    table = student_table(ROW, TEACHER, 20_000, {"fp32": "a note"})
    assert table["spec"] == {**TEACHER, "layers": 2, "hidden": 32, "heads": 2, "kv_heads": 2, "ffn": 64}
    assert table["share"] == 500 / 20_000
    assert table["sequence"] == 24
    assert "2.5 %" in table["warnings"][0]
    assert table["prices"]["fp32"]["roofline"] == {
        "low_s": 0.5, "mid_s": 1.0, "high_s": 2.0, "bound": "memory", "note": "a note"
    }  # fmt: skip
    assert student_table(ROW, TEACHER, 1000, {"fp32": ""})["warnings"] == []


@pytest.mark.parametrize("latency", [[1.0, 2.0, 3.0], [None, None, None]])
def test_a_forecast_is_an_object_again(latency: list[float | None]) -> None:
    row = [*latency, 4, 5, 6, 7, 8, 9]
    known = {
        "latency_s": {"low": 1.0, "mid": 2.0, "high": 3.0} if latency[0] else None,
        "memory_bytes": {"low": 4, "mid": 5, "high": 6},
        "size_bytes": {"low": 7, "mid": 8, "high": 9},
    }
    energies: list[list[float | None]] = [[0.1, 0.2, 0.3], [None] * 3]
    for energy in energies:
        whole = [*row, *energy]
        assert len(whole) == len(FORECAST_COLUMNS)
        found = {"low": 0.1, "mid": 0.2, "high": 0.3} if energy[0] else None
        assert forecast_table(whole) == known | {"energy_j": found}
    assert len(row) == len(WITHOUT_ENERGY)
    assert forecast_table(row) == known | {"energy_j": None}


@pytest.mark.parametrize("value", [None, {}, [1], [[1]], [[1, 2], [1, 2, 3]]])
def test_rows_of_another_form_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="students"):
        rows_in(value, ("a", "b"), "students")
