"""Reading a specification from a table of plain values, as JSON holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edgekd.errors import SpecError

Kind = TypeVar("Kind")


def from_table(kind: type[Kind], table: Mapping[str, Any], what: str) -> Kind:
    """The dataclass `kind` with the values of `table`, which describes `what`; lists become tuples.

    Errors: SpecError for unknown, missing or mistyped keys.
    """
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise SpecError(f"unknown key {unknown[0]!r} in {what}, expected {', '.join(sorted(known))}")
    missing = [name for name, item in known.items() if item.default is MISSING and name not in table]
    if missing:
        raise SpecError(f"{what} lacks {missing[0]!r}, expected {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    return kind(**{name: _checked(name, value, hints[name], what) for name, value in table.items()})


def _checked(name: str, value: Any, wanted: Any, what: str) -> Any:
    if get_origin(wanted) is tuple:
        inner = get_args(wanted)[0]
        if not isinstance(value, list | tuple) or any(type(item) is not inner for item in value):
            raise SpecError(f"{name} is {value!r} in {what}, expected a list of {inner.__name__}")
        return tuple(value)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise SpecError(f"{name} is {value!r} in {what}, expected {wanted.__name__}")
    return value
