"""The result of a run under a manifest, so that whoever reads it knows that it is whole and of this run."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any, Dict, Optional

from .folder import MANIFEST, RESULT, replace_file, write_table

BLOCK_BYTES, MOST_BLOCKS = 4096, 50000
MANIFEST_FORMAT = 1


def samples_in(result: Dict[str, Any]) -> int:
    """How many times `result` holds: the lengths of all its lists together."""
    return sum(len(value) for one in result["runs"] for value in one["run"].values() if isinstance(value, list))


def manifest_of(
    data: bytes, result: Dict[str, Any], *, run: str, boot: Optional[str], begun_ns: int, ended_ns: int
) -> Dict[str, Any]:
    """What `data`, which says `result`, must be. Times are those of CLOCK_MONOTONIC, from the board's start.

    The hash says whether all is well, the sums of blocks where it is not.
    """
    size = BLOCK_BYTES
    while len(data) > size * MOST_BLOCKS:
        size *= 2
    return {
        "format": MANIFEST_FORMAT,
        "run": run,
        "boot_id": boot,
        "begun_ns": begun_ns,
        "ended_ns": ended_ns,
        "samples": samples_in(result),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "block_bytes": size,
        "crc32": [zlib.crc32(data[at : at + size]) for at in range(0, len(data), size)],
    }


def seal(folder: str, result: Dict[str, Any], *, run: str, boot: Optional[str], begun_ns: int, ended_ns: int) -> None:
    """Write `result` and its manifest, in this order. Errors: OSError, as on a full disk."""
    data = json.dumps(result).encode()
    replace_file("%s/%s" % (folder, RESULT), data)
    manifest = manifest_of(data, result, run=run, boot=boot, begun_ns=begun_ns, ended_ns=ended_ns)
    write_table("%s/%s" % (folder, MANIFEST), manifest)
