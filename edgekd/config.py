"""The user's YAML files, read strictly: what you see is what you get, and every error names its line.

YAML 1.1 turns `no` into False, `12:30` into 750, `1e1` into a string and keeps the last of two equal keys. Here each of
these is an error. Anchors, aliases, tags and several documents are refused: no file of ours needs them.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from edgekd.errors import InputError, UnitError
from edgekd.files import read_bytes
from edgekd.text import did_you_mean, listing, printable
from edgekd.units import bytes_from_text, duration_s_from_text, joules_from_text, share_from_text

MAX_YAML_BYTES = 256 * 1024
MAX_DEPTH = 32
Path_ = tuple[str | int, ...]

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_SURPRISES = (
    (re.compile(r"(?i)y|n|yes|no|on|off"), "which YAML 1.1 reads as true or false", "Write true or false, or quote it"),
    (re.compile(r"(?i)true|false|null|~"), "an unusual spelling", "Write true, false or null in lower case, or quote it"),
    (re.compile(r"[-+]?[0-9]+(:[0-9]{1,2})+(\.[0-9]*)?"), "which YAML 1.1 reads as a number in base 60", "Quote it"),
    (re.compile(r"[-+]?[0-9]+(\.)?[eE][-+]?[0-9]+"), "which YAML reads as text, not as a number", "Write it with a point, such as 1.0e1"),
    (re.compile(r"[-+]?0[0-9]+"), "which YAML 1.1 reads as an octal number", "Write it without the leading zero, or quote it"),
    (re.compile(r"[-+]?0[xob][0-9a-fA-F]+"), "a number in another base", "Write it in decimal, or quote it"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"), "which YAML 1.1 reads as a number", "Write it without underscores, or quote it"),
    (re.compile(r"(?i)[-+]?\.(inf|nan)"), "which is no finite number", "Write a finite number"),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.)([eE][-+]?[0-9]+)?|\+[0-9.]+"), "an unusual spelling of a number", "Write it like 0.5, 3 or 2.0e-4"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "which YAML 1.1 reads as a date", "Quote it"),
    (re.compile(r"="), "which has a meaning of its own in YAML 1.1", "Quote it"),
)  # fmt: skip


class Model(BaseModel):
    """Base of every model read from a user's file: frozen, unknown keys refused, no silent conversion, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _quantity(parse: Any, example: str) -> Any:
    def validate(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return parse(value)
            except UnitError as error:
                raise ValueError(str(error)) from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"found the bare number {value}, expected one with its unit, such as '{example}'")
        raise ValueError(f"found {value!r}, expected a number with its unit, such as '{example}'")

    return validate


def _share(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"found {value!r}, expected a share such as '2 %' or 0.02")
    try:
        return share_from_text(value) if isinstance(value, str) else share_from_text(f"{value:f}")
    except UnitError as error:
        raise ValueError(str(error)) from None


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": f"a number with its unit, such as '{example}'"})


Seconds = Annotated[float, BeforeValidator(_quantity(duration_s_from_text, "5 ms")), _schema("5 ms")]
Bytes = Annotated[int, BeforeValidator(_quantity(bytes_from_text, "200 MB")), _schema("200 MB")]
Joules = Annotated[float, BeforeValidator(_quantity(joules_from_text, "20 mJ")), _schema("20 mJ")]
Share = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"type": ["string", "number"], "description": "a share, such as '2 %' or 0.02"}),
]
Number = Annotated[float, BeforeValidator(_float)]


@dataclass(frozen=True)
class Source:
    """A parsed file: its plain value and the line where each key stands."""

    name: str
    value: Any
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def place(self, path: Path_) -> str:
        """'recipe.yaml:12' for the deepest known part of `path`."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line == 0:
                return "--set " + ".".join(str(part) for part in path[:end])
            if line is not None:
                return f"{self.name}:{line}"
        return self.name


def read_source(path: Path, error: type[InputError] = InputError) -> Source:
    """The YAML file at `path`. Errors: InputError when unreadable, `error` naming the line for anything unusual."""
    data = read_bytes(path, max_bytes=MAX_YAML_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text, expected YAML") from None
    return source_from_text(text, str(path), error)


def source_from_text(text: str, name: str, error: type[InputError] = InputError) -> Source:
    """YAML `text`, with `name` for its errors. Errors: `error`, naming the line."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            _refuse_event(event, name, error)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH + 1:  # here, since the whole of a very deep file takes minutes to read
                raise _too_deep(event, name, error)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        said = printable(problem.problem or "cannot be read", 200)
        raise error(f"{name}:{line}: is not valid YAML ({said})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise error(f"{name}: is not valid YAML ({printable(str(problem).splitlines()[0], 200)})") from None
    if node is None:
        raise error(f"{name}: is empty, expected keys and values")
    lines: dict[Path_, int] = {}
    return Source(name, _plain(node, (), lines, name, error), lines)


def _refuse_event(event: Any, name: str, error: type[InputError]) -> None:
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise error(f"{name}:{line}: found an anchor or alias (& or *), expected plain values. Write the value out")
    tag = getattr(event, "tag", None)
    if tag is not None and isinstance(event, yaml.NodeEvent):
        raise error(f"{name}:{line}: found the tag {printable(str(tag), 80)!r}, expected a plain value. Remove the tag")


def _too_deep(place: Any, name: str, error: type[InputError]) -> InputError:
    return error(f"{name}:{place.start_mark.line + 1}: is nested more than {MAX_DEPTH} levels deep")


def _plain(node: Any, path: Path_, lines: dict[Path_, int], name: str, error: type[InputError]) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if len(path) > MAX_DEPTH:
        raise _too_deep(node, name, error)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, name, error) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, name, error)
            key_line = key_node.start_mark.line + 1
            if key in table:
                first = lines[(*path, key)]
                raise error(f"{name}:{key_line}: the key {key!r} stands twice, first in line {first}. Keep one of them")
            lines[(*path, key)] = key_line
            table[key] = _plain(value_node, (*path, key), lines, name, error)
        return table
    if node.style is not None:
        return node.value
    return _scalar(node.value, f"{name}:{line}", error)


def _key(node: Any, name: str, error: type[InputError]) -> str:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        raise error(f"{name}:{line}: found a list or table as a key, expected a word")
    if node.value == "<<":
        raise error(f"{name}:{line}: found a merge key '<<', expected plain keys. Write the values out")
    return str(node.value)


def _scalar(text: str, place: str, error: type[InputError]) -> Any:
    if text in ("", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INT.fullmatch(text) and len(text) <= 19:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    for pattern, meaning, mend in _SURPRISES:
        if pattern.fullmatch(text):
            raise error(f"{place}: found {text}, {meaning}. {mend}")
    return text


def with_overrides(source: Source, overrides: typing.Sequence[str], error: type[InputError] = InputError) -> Source:
    """`source` with each 'a.b=value' of `overrides` applied in order. Errors: `error` naming the override."""
    value, lines = source.value, dict(source.lines)
    if not overrides:
        return source
    if not isinstance(value, dict):
        raise error(f"{source.name}: holds no keys, so --set has nothing to override")
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise error(f"--set {override}: expected KEY=VALUE, such as --set distill.epochs=3")
        place = f"--set {key.strip()}"
        parsed = source_from_text(text, place, error).value if text.strip() else None
        value = _replaced(value, parts, parsed, place, error)
        for known in [path for path in lines if path[: len(parts)] == tuple(parts)]:
            del lines[known]
        for end in range(1, len(parts)):
            lines.setdefault(tuple(parts[:end]), 0)
        lines[tuple(parts)] = 0
    return Source(source.name, value, lines)


def _replaced(table: Any, parts: list[str], value: Any, place: str, error: type[InputError]) -> dict[str, Any]:
    if table is None:
        table = {}
    if not isinstance(table, dict):
        raise error(f"{place}: {parts[0]!r} would stand inside a value that is no table")
    if len(parts) == 1:
        return {**table, parts[0]: value}
    return {**table, parts[0]: _replaced(table.get(parts[0]), parts[1:], value, place, error)}


M = TypeVar("M", bound=BaseModel)


def validated(source: Source, model: type[M], error: type[InputError] = InputError) -> M:
    """`source` as a `model`. Errors: `error`; the first problem in full, with file and line, and how many follow."""
    if not isinstance(source.value, dict):
        raise error(f"{source.place(())}: found {_kind(source.value)}, expected keys and values")
    try:
        return model.model_validate(source.value)
    except ValidationError as problems:
        found = sorted(problems.errors(), key=lambda item: source.lines.get(_known(source, item["loc"]), 0))
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise error(_explain(source, model, dict(found[0])) + more) from None


def _known(source: Source, loc: Path_) -> Path_:
    """The longest part of pydantic's `loc` that stands in the file: it puts names of union members in between."""
    path: Path_ = ()
    for part in loc:
        if (*path, part) in source.lines:
            path = (*path, part)
    return path


def _explain(source: Source, model: type[BaseModel], problem: dict[str, Any]) -> str:
    loc: Path_ = tuple(problem["loc"])
    path = _known(source, loc)
    kind, name = problem["type"], " ".join(printable(".".join(str(part) for part in path), 200).split())
    place = source.place(path)
    if kind == "extra_forbidden":
        # A table that --set gives has one place for all of its keys.
        key, table = str(loc[-1]), path[:-1] if path[-1:] == loc[-1:] else path
        fields = _fields_at(model, table)
        inside = f" in {'.'.join(map(str, table))}" if table else ""
        hint = did_you_mean(key, fields)
        return f"{place}: unknown key {printable(key, 80)!r}{inside}, expected one of {listing(fields, 20)}.{hint}"
    if kind == "missing":
        where = f" in {name}" if name else ""
        return f"{place}: the key {str(loc[-1])!r} is missing{where}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return f"{place}: {name}: {message}" if name else f"{place}: {message}"
    expected = message.removeprefix("Input should be ")
    if kind in {"dict_type", "model_type"}:
        expected = "keys and values"
    if kind == "too_short":
        found, least = problem["ctx"]["actual_length"], problem["ctx"]["min_length"]
        return f"{place}: {name}: found {found} entries, expected at least {least}"
    return f"{place}: {name}: found {_kind(problem['input'])}, expected {expected[:1].lower() + expected[1:]}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return printable(repr(value), 80)


def _fields_at(model: type[BaseModel], path: Path_) -> list[str]:
    """The keys that are allowed at `path` inside `model`."""
    current: list[type[BaseModel]] = [model]
    for part in path:
        # A number is a place in a list, an unknown word the user's own name in a table of models.
        if isinstance(part, int) or not any(str(part) in m.model_fields for m in current):
            continue
        inner = [m.model_fields[str(part)].annotation for m in current if str(part) in m.model_fields]
        current = [found for annotation in inner for found in _models_in(annotation)]
    return sorted({info.alias or key for found in current for key, info in found.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, BeforeValidator):  # what is read may be wider than what is kept
        return _models_in(annotation.json_schema_input_type)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [found for arg in typing.get_args(annotation) for found in _models_in(arg)]
    return []


def load(path: Path, model: type[M], error: type[InputError] = InputError, overrides: typing.Sequence[str] = ()) -> M:
    """The YAML file at `path` as a `model`, after `overrides`. Errors: InputError, or `error` with the line."""
    return validated(with_overrides(read_source(path, error), overrides, error), model, error)
