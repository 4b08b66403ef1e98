"""The tables inside the files of a sizing: a list for each student or forecast, and the text they are stored as.

A student's list has STUDENT_COLUMNS, then PRICE_COLUMNS for each precision; a forecast's has FORECAST_COLUMNS. Left out
are the dimensions that all students of a space have from the teacher, the share of its parameters, the warning that
follows from that, and the roofline's note, which is the same for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekd.errors import RecordError
from edgekd.sizing.price import warnings_from_share

DIMENSIONS = ("layers", "hidden", "heads", "head_dim", "kv_heads", "ffn")
STUDENT_COLUMNS = ("id", *DIMENSIONS, "sequence", "parameters", "capacity", "macs")
BYTES = ("weight_bytes", "activation_bytes", "peak_activation_bytes", "memory_bytes")
ROOFLINE = ("low_s", "mid_s", "high_s", "bound")
PRICE_COLUMNS = (*BYTES, *ROOFLINE)
QUANTITIES = ("latency_s", "memory_bytes", "size_bytes", "energy_j")
ENDS = ("low", "mid", "high")
FORECAST_COLUMNS = tuple(f"{quantity}.{end}" for quantity in QUANTITIES for end in ENDS)
WITHOUT_ENERGY = FORECAST_COLUMNS[:9]  # of files before 3.2

MOST_PARAMETERS = 2**63


def student_columns(precisions: Sequence[str]) -> list[str]:
    """The columns of a student with prices in `precisions`."""
    return [*STUDENT_COLUMNS, *(f"{precision}.{name}" for precision in precisions for name in PRICE_COLUMNS)]


def student_table(
    row: Sequence[Any], teacher: Mapping[str, Any], teacher_parameters: int, notes: Mapping[str, str]
) -> dict[str, Any]:
    """A student as an object again: what its row leaves out is in the teacher's spec and the `notes` by precision."""
    own, prices = dict(zip(STUDENT_COLUMNS, row, strict=False)), row[len(STUDENT_COLUMNS) :]
    spec = {**teacher, **{name: own.pop(name) for name in DIMENSIONS}}
    parameters = own["parameters"]
    # What is no possible number is refused when the object is checked, and must not stop the division before.
    possible = isinstance(parameters, int) and 0 < parameters < MOST_PARAMETERS
    share = parameters / teacher_parameters if possible else 0.0
    size = len(PRICE_COLUMNS)
    by_precision = {
        precision: _price_from_row(prices[index * size : (index + 1) * size], note)
        for index, (precision, note) in enumerate(notes.items())
    }
    return {**own, "spec": spec, "share": share, "prices": by_precision, "warnings": list(warnings_from_share(share))}


def forecast_table(row: Sequence[Any]) -> dict[str, Any]:
    """A forecast as an object again; its latency and its energy are None where nothing is known of them."""
    parts = {quantity: list(row[3 * index : 3 * index + 3]) for index, quantity in enumerate(QUANTITIES)}
    unknown = [name for name in ("latency_s", "energy_j") if parts[name] in ([None] * 3, [])]
    found: dict[str, Any] = {name: dict(zip(ENDS, part, strict=False)) for name, part in parts.items()}
    return found | dict.fromkeys(unknown)


def rows_in(value: Any, columns: Sequence[str], where: str) -> list[list[Any]]:
    """`value` as lists of one value per column. Errors: ValueError, which pydantic turns into one of its own."""
    if not isinstance(value, list):
        raise ValueError(f"{where} is no list")
    for index, row in enumerate(value):
        if not isinstance(row, list) or len(row) != len(columns):
            raise ValueError(f"{where}: entry {index} is no list of {len(columns)} values, one for each of columns")
    return value


def _price_from_row(row: Sequence[Any], note: str) -> dict[str, Any]:
    taken = dict(zip(PRICE_COLUMNS, row, strict=True))
    return {
        **{name: taken[name] for name in BYTES},
        "roofline": {**{name: taken[name] for name in ROOFLINE}, "note": note},
    }


def lines_text(table: Mapping[str, Any]) -> str:
    """`table` as JSON with sorted keys; what its lists and objects hold stands in a line each."""
    return "{\n" + ",\n".join(f"{_json(key)}: {_block(table[key])}" for key in sorted(table)) + "\n}\n"


def _block(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        return _enclosed("{", (f"{_json(key)}: {_json(value[key])}" for key in sorted(value)), "}")
    if isinstance(value, list | tuple) and value:
        return _enclosed("[", map(_json, value), "]")
    return _json(value)


def _enclosed(begin: str, lines: Iterable[str], end: str) -> str:
    return f"{begin}\n " + ",\n ".join(lines) + f"\n{end}"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise RecordError(f"a sizing holds a number that cannot be stored ({error})") from None
