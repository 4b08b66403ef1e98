"""What a run brought home, believed only when its manifest says that it is whole and of this run.

The payload is the result in JSON that the agent has always written. Its manifest protects every byte, so a second,
binary form of the samples would protect nothing more, and would have to be read by code of its own.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd.errors import Corrupt, RecordError
from edgekd.files import json_from_bytes, sha256_of_bytes
from edgekd.text import printable

MAX_MANIFEST_BYTES = 1 << 20
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class Manifest(BaseModel):
    """What the agent says its result is: `samples` times in `bytes` bytes; when it was taken, in ns after the boot."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    run: str
    boot_id: str | None
    begun_ns: _Count
    ended_ns: _Count
    samples: _Count
    bytes: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    block_bytes: Annotated[int, Field(ge=4096, le=2**30)]
    crc32: list[Annotated[int, Field(ge=0, lt=2**32)]]


def manifest_for(result: bytes, manifest: bytes, *, run: str, boot_id: str | None, where: str) -> Manifest:
    """The manifest, when it is that of `result`, and of `run` since the boot `boot_id`. Errors: Corrupt."""
    try:
        found = Manifest.model_validate(json_from_bytes(manifest, where=f"{where}: manifest"))
    except RecordError as error:
        raise Corrupt(f"{error}. The run is not used; run again") from None
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _corrupt(where, f"its manifest cannot be true: {place}: {first['msg']}") from None
    if found.run != run or found.boot_id != boot_id:
        raise _corrupt(where, "its manifest is of another run or boot")
    if found.ended_ns < found.begun_ns:
        raise _corrupt(where, "it ended before it began")
    if found.bytes != len(result):
        raise _corrupt(where, f"it has {len(result)} bytes, expected {found.bytes}")
    bad = [at for at, block in enumerate(_blocks(result, found.block_bytes)) if _sum_at(found, at) != zlib.crc32(block)]
    if bad:
        raise _corrupt(where, f"{len(bad)} of its blocks of {found.block_bytes} bytes are damaged, first {bad[0]}")
    if len(found.crc32) != -(-found.bytes // found.block_bytes) or sha256_of_bytes(result) != found.sha256:
        raise _corrupt(where, f"its SHA-256 is {sha256_of_bytes(result)[:12]}…, expected {found.sha256[:12]}…")
    return found


def _blocks(data: bytes, size: int) -> list[memoryview]:
    view = memoryview(data)
    return [view[at : at + size] for at in range(0, len(data), size)]


def _sum_at(manifest: Manifest, index: int) -> int | None:
    return manifest.crc32[index] if index < len(manifest.crc32) else None


def _corrupt(where: str, said: str) -> Corrupt:
    return Corrupt(f"{where}: the board's result is damaged: {printable(said, 300)}. It is not used; run again")
