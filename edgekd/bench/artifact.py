"""A model file, looked at before it travels: is it whole, and is it ONNX at all?

The outermost layer of a protobuf message is walked without reading what it holds, so that neither onnx nor memory for
the whole file is needed. Source: onnx.proto, message ModelProto; protobuf encoding, wire types 0, 1, 2 and 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

from edgekd.errors import InputError
from edgekd.files import open_or_fail, sha256_of_file
from edgekd.record import Artifact
from edgekd.text import printable

_IR_VERSION, _GRAPH = 1, 7
# ir_version … opset_import, metadata_props, training_info, functions, configuration.
_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class _NotOnnx(Exception):
    """The bytes are no ModelProto."""


class _Truncated(Exception):
    """The bytes begin like one and end too early."""


def artifact_from_file(
    path: Path,
    *,
    name: str | None = None,
    precision: str = "unknown",
    role: Literal["student", "teacher", "other"] = "other",
) -> Artifact:
    """The ONNX model in the file at `path`, named as the file unless `name` is given.

    Errors: InputError when it is missing, a folder, empty, cut short or no ONNX.
    """
    with open_or_fail(path) as stream:
        size = path.stat().st_size
        _check_onnx(path, stream, size)
    return Artifact(
        name=name or path.stem, sha256=sha256_of_file(path), size_bytes=size, precision=precision, role=role
    )


def _check_onnx(path: Path, stream: BinaryIO, size: int) -> None:
    if size == 0:
        raise InputError(f"{path}: is empty, expected an ONNX model. Export it again")
    try:
        kinds = _fields(stream, size)
    except _Truncated:
        raise InputError(
            f"{path}: ends too early for an ONNX model, at {size} bytes. Copy or export it again"
        ) from None
    except _NotOnnx:
        kinds = set()
    if {_IR_VERSION, _GRAPH} <= kinds:
        return
    stream.seek(0)
    start = stream.read(40)
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: is a Git LFS pointer, not the model itself. Run: git lfs pull")
    raise InputError(
        f"{path}: is no ONNX model, it begins with {printable(repr(start), 80)}. Export one: edgekd export"
    )


def _fields(stream: BinaryIO, size: int) -> set[int]:
    """The numbers of the fields in the message that the whole file is."""
    found: set[int] = set()
    while stream.tell() < size:
        try:
            key = _varint(stream)
            number, wire = key >> 3, key & 7
            if number not in _FIELDS:
                raise _NotOnnx
            found.add(number)
            _skip(stream, wire, size)
        except _Truncated:
            # Text and other formats end in nonsense too; only what began as a model was cut short.
            raise (_Truncated if _IR_VERSION in found else _NotOnnx) from None
    return found


def _skip(stream: BinaryIO, wire: int, size: int) -> None:
    if wire == _VARINT:
        _varint(stream)
        return
    if wire not in (_FIXED64, _LENGTH, _FIXED32):
        raise _NotOnnx
    length = _varint(stream) if wire == _LENGTH else (8 if wire == _FIXED64 else 4)
    if stream.tell() + length > size:
        raise _Truncated
    stream.seek(length, 1)


def _varint(stream: BinaryIO) -> int:
    value = 0
    for position in range(_MAX_VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            raise _Truncated
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    raise _NotOnnx
