"""Is this ONNX file safe to open, and what does it take and give? Answered from the bytes, before any runtime loads it.

A model file may name other files that hold its weights. Such a name comes from whoever wrote the model: an absolute
path, a `..`, a link or onnxruntime's marker for a memory address would make the loader read what the user never meant
to hand over. Here every such name is checked first, and anything but a plain file beside the model is refused.
Source: CVE-2022-25882, CVE-2024-27318, CVE-2026-27489 (onnx, external data that leaves the model's folder).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.config import Model
from edgekd.errors import InputError, SecurityError
from edgekd.export.libraries import library
from edgekd.files import read_bytes
from edgekd.text import printable

MAX_MODEL_BYTES = 2**31 - 1

_LOCATION_PART = re.compile(r"[A-Za-z0-9_.:+-]{1,255}")
_WHOLE = re.compile(r"[0-9]{1,18}")
_KNOWN_KEYS = {"location", "offset", "length", "checksum"}


class TensorInfo(Model):
    """One input or output: a dimension is a number, or the name of one that may change from call to call."""

    name: str
    dtype: str
    dims: list[int | str]


class ModelDescription(Model):
    """What an ONNX file takes and gives."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    opset: int
    producer: str


def check_model_file(path: Path) -> tuple[Path, ...]:
    """The files with weights that the ONNX file at `path` names, all of them safe to open; empty for most models.

    Errors: InputError when it is no whole ONNX model; SecurityError when it names a file it has no business with.
    """
    return _external_files(parsed_model(path), path)


def describe(path: Path) -> ModelDescription:
    """Inputs, outputs, opset and producer of the ONNX file at `path`. Errors: as check_model_file."""
    proto = parsed_model(path)
    _external_files(proto, path)
    return description(proto)


def safe_model(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """The bytes of the ONNX file at `path` after its check, and the files with weights it names.

    A runtime that is given these bytes runs what was checked, even when the file changes meanwhile.
    Errors: as check_model_file.
    """
    data = _model_bytes(path)
    return data, _external_files(_model_from_bytes(data, path), path)


def parsed_model(path: Path) -> Any:
    """The ModelProto in the file at `path`; no other file is touched. Errors: InputError when it is no whole model."""
    return _model_from_bytes(_model_bytes(path), path)


def description(proto: Any) -> ModelDescription:
    """Inputs, outputs, opset and producer of a ModelProto."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return ModelDescription(
        inputs=[_tensor_info(value) for value in proto.graph.input if value.name not in weights],
        outputs=[_tensor_info(value) for value in proto.graph.output],
        opset=_opset(proto),
        producer=printable(f"{proto.producer_name} {proto.producer_version}".strip() or "unknown", 100),
    )


def _model_bytes(path: Path) -> bytes:
    return read_bytes(path, max_bytes=MAX_MODEL_BYTES)


def _model_from_bytes(data: bytes, path: Path) -> Any:
    proto = library("onnx").ModelProto()
    try:
        proto.ParseFromString(data)
    except library("google.protobuf.message").DecodeError:
        raise InputError(f"{path}: is not a whole ONNX model ({len(data)} bytes). Export it again") from None
    # Protobuf happily reads a prefix, or another message altogether: a model needs these.
    for there, part in ((proto.ir_version, "version"), (proto.graph.output, "graph"), (_opset(proto), "opset")):
        if not there:
            raise InputError(f"{path}: is not a whole ONNX model, it has no {part}. Export it again")
    return proto


def _opset(proto: Any) -> int:
    return next((int(item.version) for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)


def _tensor_info(value: Any) -> TensorInfo:
    onnx = library("onnx")
    kind = value.type.tensor_type
    dims: list[int | str] = [
        int(dim.dim_value) if dim.HasField("dim_value") else printable(dim.dim_param or "?", 100)
        for dim in kind.shape.dim
    ]
    known = kind.elem_type in onnx.TensorProto.DataType.values()
    dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if known else "undefined"
    return TensorInfo(
        name=printable(value.name, 200), dtype={"float": "float32", "double": "float64"}.get(dtype, dtype), dims=dims
    )


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor anywhere in the model: weights, constants, those of subgraphs, functions and training graphs."""
    graphs, nodes = [proto.graph], [node for function in proto.functions for node in function.node]
    for training in proto.training_info:
        graphs += [training.initialization, training.algorithm]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from _dense(graph.sparse_initializer)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from _dense((attribute.sparse_tensor, *attribute.sparse_tensors))
            graphs += [graph for graph in (attribute.g, *attribute.graphs) if graph.ByteSize()]


def _dense(sparse: Any) -> Iterator[Any]:
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _external_files(proto: Any, path: Path) -> tuple[Path, ...]:
    external = library("onnx").TensorProto.EXTERNAL
    found: dict[Path, None] = {}
    for tensor in _tensors(proto):
        if tensor.data_location == external or tensor.external_data:
            found[_external_file(tensor, path)] = None
    if found and path.is_symlink():
        raise SecurityError(f"{path}: is a link, and its weights are in other files. Give the path of the file itself")
    return tuple(found)


def _external_file(tensor: Any, path: Path) -> Path:
    """The file that `tensor` says its values are in. Errors: SecurityError unless it is a plain one beside `path`."""
    keys = [entry.key for entry in tensor.external_data]
    table = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{path}: the tensor {printable(tensor.name or '(unnamed)', 80)!r}"
    location = table.get("location", "")
    shown = printable(location, 120)
    if len(table) != len(keys) or not set(table) <= _KNOWN_KEYS:
        raise SecurityError(f"{where} describes its file in an unknown way ({printable(', '.join(keys), 120)})")
    parts = location.split("/")
    if any(part in ("", ".", "..") or not _LOCATION_PART.fullmatch(part) for part in parts):
        raise SecurityError(f"{where} names the file {shown!r}, expected a plain relative path inside its folder")
    target = path.parent
    for index, part in enumerate(parts):
        target = target / part
        _require_plain(target, last=index == len(parts) - 1, where=where, shown=shown)
    _require_inside(table, target, where, shown)
    return target


def _require_plain(target: Path, *, last: bool, where: str, shown: str) -> None:
    try:
        state = target.lstat()
    except OSError as error:
        raise InputError(f"{where} needs the file {shown!r}, which cannot be read ({error.strerror})") from None
    if stat.S_ISLNK(state.st_mode):
        raise SecurityError(f"{where} names the file {shown!r}, which is behind a symbolic link. Copy the file there")
    if not last:
        return
    if not stat.S_ISREG(state.st_mode):
        raise SecurityError(f"{where} names {shown!r}, which is no regular file")
    if state.st_nlink != 1:
        raise SecurityError(f"{where} names the file {shown!r}, which is a hard link. Copy the file there")


def _require_inside(table: dict[str, str], target: Path, where: str, shown: str) -> None:
    offset, length = table.get("offset", "0"), table.get("length", "0")
    if not _WHOLE.fullmatch(offset) or not _WHOLE.fullmatch(length):
        raise SecurityError(f"{where} has the offset {printable(offset, 40)!r} and length {printable(length, 40)!r}")
    size = target.stat().st_size
    if int(offset) + int(length) > size:
        end = int(offset) + int(length)
        raise InputError(f"{where} ends at byte {end} of {shown!r}, which has {size}. Copy that file again")
