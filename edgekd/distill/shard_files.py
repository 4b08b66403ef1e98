"""The files of a cache: shards of rows, each written whole or not at all, and `cache.json`, which vouches for them.

Of several processes each writes its share of the shards that are missing, and checks its share of all of them. What a
shard holds follows from its rows alone, whoever writes it: after a kill any number of processes goes on with what is
there, and the files are those that one process would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.distill import processes
from edgekd.errors import InputError, RecordError
from edgekd.files import content_hash, make_folder, read_json, sha256_of_bytes, sha256_of_file, write_bytes, write_json

INDEX = "cache.json"
# Small enough that several processes find work, large enough that texts of one length come together. Our choice.
LEAST_ROWS, MOST_ROWS, USUAL_SHARDS = 256, 1024, 32

OnRows = Callable[[int, int], None]


@dataclass(frozen=True)
class Shard:
    """The rows of a data set from `start` to before `stop`; `name` is that of their file."""

    start: int
    stop: int
    name: str


@dataclass(frozen=True)
class Plan:
    """What a cache in the folder `home` is to hold: the answers to `identity` about the rows numbered `rows`.

    `content` gives the bytes of a shard. Shapes: rows [rows of the data set].
    """

    home: Path
    identity: dict[str, Any]
    rows: NDArray[np.int64]
    shard_rows: int
    content: Callable[[Shard], bytes]


def usual_shard_rows(rows: int) -> int:
    """How many rows a shard has, of so many rows in all."""
    return min(MOST_ROWS, max(LEAST_ROWS, -(-rows // USUAL_SHARDS)))


def shard_files(plan: Plan, on_rows: OnRows | None = None) -> list[Path]:
    """The files of the cache, in the order of its rows, whole and unchanged; those that are missing are written first.

    `on_rows` is told the rows done and the rows in all after each shard, in the first process.
    Errors: RecordError when a file is missing or has changed since it was written, or the cache is of something else;
    InputError when the processes plan different things or see different folders. What `content` raises in one process
    is raised in all of them.
    """
    if not processes.all_say_the_same(content_hash([plan.home.name, plan.shard_rows])):
        raise InputError(
            "teacher cache: the processes were given different teachers or data, expected the same in all. Load the "
            "same files in each"
        )
    shards = _shards(plan)
    missing = processes.done_by_first(lambda: _missing(plan, shards))
    if missing is not None:
        own = missing[processes.rank() :: processes.count()]
        processes.done_by_all(lambda: _write(plan, own, shards, on_rows))
        names = [shard.name for shard in shards]
        processes.done_by_all(lambda: _check_seen(plan.home, names))
        hashes = _hashes(plan.home, names)
        processes.done_by_first(lambda: write_json(plan.home / INDEX, {**plan.identity, "shards": hashes}))
        return [plan.home / name for name in names]
    expected = processes.done_by_first(lambda: _index(plan))
    found = _hashes(plan.home, sorted(expected))
    changed = next((name for name in sorted(expected) if found[name] != expected[name]), None)
    if changed is not None:
        raise damaged(plan.home, f"{changed} is missing or has changed since it was written")
    return [plan.home / name for name in sorted(expected)]


def damaged(home: Path, found: str) -> RecordError:
    """The error for a cache of which `found` is true."""
    return RecordError(f"{home}: this teacher cache cannot be used: {found}. Delete the folder and run again")


def _shards(plan: Plan) -> list[Shard]:
    found = []
    for start in range(0, len(plan.rows), plan.shard_rows):
        part = plan.rows[start : start + plan.shard_rows]
        # The rows are in the name: a shard of an earlier, killed call counts only if it holds exactly these.
        name = f"shard-{start:09d}-{sha256_of_bytes(part.tobytes())[:16]}.arrow"
        found.append(Shard(start, start + len(part), name))
    return found


def _missing(plan: Plan, shards: Sequence[Shard]) -> list[Shard] | None:
    """The shards that are still to be written; None where all of them have been vouched for."""
    if (make_folder(plan.home) / INDEX).is_file():
        return None
    return [shard for shard in shards if not (plan.home / shard.name).is_file()]


def _write(plan: Plan, own: Sequence[Shard], shards: Sequence[Shard], on_rows: OnRows | None) -> None:
    for shard in own:
        write_bytes(plan.home / shard.name, plan.content(shard))
        if on_rows is not None and processes.is_first():
            # The others write, too: what is there tells how far all have come.
            done = sum(each.stop - each.start for each in shards if (plan.home / each.name).is_file())
            on_rows(done, len(plan.rows))


def _check_seen(home: Path, names: Sequence[str]) -> None:
    unseen = next((name for name in names if not (home / name).is_file()), None)
    if unseen is not None:
        raise InputError(
            f"{home / unseen}: was written and is not there for process {processes.rank()}, expected a folder that all "
            "processes see. Put the cache on a disk that they share"
        )


def _hashes(home: Path, names: Sequence[str]) -> dict[str, str | None]:
    """The SHA-256 of each file, None where it is missing; each process reads its share."""
    own = names[processes.rank() :: processes.count()]
    found: dict[str, str | None] = {}
    for part in processes.done_by_all(lambda: {name: _hash(home, name) for name in own}):
        found |= part
    return found


def _hash(home: Path, name: str) -> str | None:
    path = home / name
    return sha256_of_file(path) if path.name == name and path.is_file() else None


def _index(plan: Plan) -> dict[str, str]:
    index = read_json(plan.home / INDEX)
    shards = index.get("shards") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or {**plan.identity, "shards": shards} != index:
        raise damaged(plan.home, f"{INDEX} does not describe this teacher and these rows")
    return shards
