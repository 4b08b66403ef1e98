"""Files of ours: written whole or not at all, hashed, and read back without trust."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from edgekd.errors import EdgekdError, InputError, RecordError, StorageError

MAX_JSON_BYTES = 256 * 2**20
_UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # the names that `write_bytes` gives while it writes

_LITTER = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name is what systems and archives leave behind, and never data."""
    return name.lower() in _LITTER or name.startswith("._")


def sha256_of_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of the file at `path`."""
    with open_or_fail(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_or_fail(path: Path) -> Any:
    """`path` opened for reading bytes. Errors: InputError naming what stands in the way."""
    try:
        return path.open("rb")
    except OSError as error:
        raise _read_error(path, error) from None


def read_bytes(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The bytes of `path`. Errors: InputError when it is missing, a folder, unreadable or longer than `max_bytes`."""
    with open_or_fail(path) as stream:
        data: bytes = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(f"{path}: longer than {max_bytes} bytes, which no file of this kind should be")
    return data


def _read_error(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: this is a folder, expected a file")
    if isinstance(error, PermissionError):
        return InputError(f"{path}: no permission to read it")
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


def write_error(path: Path, error: OSError) -> EdgekdError:
    """The typed error for a failed write at `path`: InputError for a place nobody may write to, else StorageError."""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return InputError(f"{path}: no permission to write there. Choose another folder with --out")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return InputError(f"{path}: a file stands where a folder is needed. Choose another folder with --out")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: the disk is full; nothing was changed there. Free some space and run again")
    return StorageError(f"{path}: cannot be written ({error.strerror or error})")


def make_folder(path: Path) -> Path:
    """`path` as an existing folder. Errors: InputError or StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all (temporary file, fsync, rename).

    Errors: InputError where nobody may write, StorageError when the disk is full.
    """
    make_folder(path.parent)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_unfinished(root: Path) -> None:
    """Remove what a killed `write_bytes` left anywhere below `root`; nobody else may be writing there meanwhile.

    Errors: InputError or StorageError where a file cannot be removed.
    """
    for path in [path for path in root.rglob(".*.part") if _UNFINISHED.fullmatch(path.name) and path.is_file()]:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from None


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON with sorted keys and no NaN, so that equal values are equal files."""
    write_text(path, json_text(value) + "\n")


def json_text(value: Any) -> str:
    """Canonical JSON of `value`. Errors: RecordError for NaN or infinity, which JSON does not know."""
    try:
        return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise RecordError(f"a result holds a number that cannot be stored ({error})") from None


def content_hash(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return sha256_of_bytes(json_text(value).encode())


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The JSON value in `path`. Errors: InputError when unreadable; RecordError for bad JSON, NaN or duplicate keys."""
    return json_from_bytes(read_bytes(path, max_bytes=max_bytes), where=str(path))


def json_from_bytes(data: bytes, *, where: str) -> Any:
    """The JSON value in `data`; `where` names its origin in errors. Errors: RecordError."""

    def refuse(word: str) -> NoReturn:
        raise RecordError(f"{where}: holds the number {word}, which is no measurement")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(items)
        if len(table) != len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise RecordError(f"{where}: the key {twice!r} stands twice in one object")
        return table

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse, object_pairs_hook=pairs)
    except UnicodeDecodeError:
        raise RecordError(f"{where}: is not UTF-8 text, expected JSON") from None
    except json.JSONDecodeError as error:
        raise RecordError(f"{where}:{error.lineno}: is not valid JSON ({error.msg})") from None
    except RecursionError:
        raise RecordError(f"{where}: is nested too deeply to be one of ours") from None
    except ValueError as error:
        raise RecordError(f"{where}: holds a number that cannot be read ({error})") from None
