"""What the untrained students of a calibration send over a slow link, whole as it was and compressed as it is.

    python benchmarks/runner/untrained.py --like bert --pairs 3 --write

In turns for one student of each precision, the smallest, for which the link counts least; then, compressed, all
students that a calibration measures, once each. A calibration sends each of them once in every round. The link has the
rate and the delay of a wireless one, bytes are counted by its proxy, and the board that expands and verifies is this
machine. The same student with random weights shows why whatever does not repeat is sent as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from evidence import table_text, write_results
from loopback import Loopback, loopback, this_machine
from upload import WIRELESS

from edgekd.export.check import parsed_model
from edgekd.hosts.by_shell import ByShell
from edgekd.hosts.upload import bring, content_of
from edgekd.pipeline.calibrate import USUAL
from edgekd.pipeline.pool import Pool, reference_of
from edgekd.units import text_from_bytes, text_from_s
from tests.lab.chaos import ChaosProxy

PLACE = "blobs/student.onnx"
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Sent:
    """One upload: bytes on the way up, and seconds until the board had verified it."""

    sent_bytes: int
    took_s: float


@dataclass
class Turns:
    """One student of `size` bytes, sent whole and compressed in turns."""

    name: str
    size: int
    whole: list[Sent] = field(default_factory=list)
    packed: list[Sent] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """What is stored."""
        ratios = [before.took_s / after.took_s for before, after in zip(self.whole, self.packed, strict=True)]
        found: dict[str, Any] = {"name": self.name, "size_bytes": self.size}
        for way, sent in (("whole", self.whole), ("packed", self.packed)):
            found[f"{way}_bytes"] = median(one.sent_bytes for one in sent)
            found[f"{way}_s"] = [one.took_s for one in sent]
        return {**found, "faster": median(ratios), "low": min(ratios), "high": max(ratios)}


def sent(host: ByShell, proxy: ChaosProxy, path: Path, *, whole: bool) -> Sent:
    """Send the file, `whole` or as edgekd does, and remove it again as a campaign does."""
    before, start = proxy.passed["up"], time.perf_counter()
    if whole:
        with path.open("rb") as stream:
            bring(host, content_of(stream), PLACE, timeout_s=TIMEOUT_S)
    else:
        host.put(path, PLACE, timeout_s=TIMEOUT_S)
    found = Sent(proxy.passed["up"] - before, time.perf_counter() - start)
    host.remove(PLACE)
    return found


def in_turns(host: ByShell, proxy: ChaosProxy, name: str, path: Path, pairs: int) -> Turns:
    """The file sent both ways, each as often first as the other."""
    found = Turns(name, path.stat().st_size)
    for pair in range(pairs):
        for whole in (True, False) if pair % 2 else (False, True):
            (found.whole if whole else found.packed).append(sent(host, proxy, path, whole=whole))
    return found


def random_weights(path: Path) -> dict[str, float]:
    """How far zlib gets, and how fast, where the weights of the fp32 file at `path` are random."""
    proto, draw = parsed_model(path), np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        if tensor.data_type == tensor.FLOAT:
            count = len(tensor.raw_data) // 4
            tensor.raw_data = (0.02 * draw.standard_normal(count, np.float32)).tobytes()
    data = proto.SerializeToString()
    start = time.perf_counter()
    packed = zlib.compress(data, 1)
    return {"shrinks_to": len(packed) / len(data), "bytes_per_s": len(data) / (time.perf_counter() - start)}


def whole_round(host: ByShell, proxy: ChaosProxy, pool: Pool, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """All students `names` sent compressed, one after another."""
    sizes, found = [], []
    for name in dict.fromkeys(names):
        path = pool.written(name, folder)
        sizes.append(path.stat().st_size)
        found.append(sent(host, proxy, path, whole=False))
        path.unlink()
    return {
        "students": len(found), "size_bytes": sum(sizes),
        "sent_bytes": sum(one.sent_bytes for one in found), "took_s": sum(one.took_s for one in found),
    }  # fmt: skip


def measured(place: Loopback, like: str, students: int, pairs: int) -> dict[str, Any]:
    """All numbers: turns of one student per precision, one round of all students, and random weights."""
    pool = Pool(reference_of(like, Path()), USUAL, 1)
    random: dict[str, float] = {}
    turns, rounds = [], {}
    with ChaosProxy(place.board.port, WIRELESS) as proxy, place.open("untrained", port=proxy.port) as host:
        if not isinstance(host, ByShell):
            raise SystemExit("the board is not reached by its shell")
        for precision in USUAL:
            names = pool.designed(precision, students)
            smallest = min(names, key=lambda name: pool.features(name)["weight_bytes"])
            path = pool.written(smallest, place.folder)
            turns.append(in_turns(host, proxy, smallest, path, pairs).numbers())
            print(turns[-1], file=sys.stderr, flush=True)
            random = random or random_weights(path)
            rounds[precision] = whole_round(host, proxy, pool, names, place.folder)
    return {"like": like, "pairs": pairs, "turns": turns, "rounds": rounds, "random_weights": random}


def text_of(found: dict[str, Any]) -> str:
    """The page."""
    turns = [
        [
            one["name"],
            text_from_bytes(one["size_bytes"]),
            f"{text_from_bytes(one['whole_bytes'])} in {text_from_s(median(one['whole_s']))}",
            f"{text_from_bytes(one['packed_bytes'])} in {text_from_s(median(one['packed_s']))}",
            f"{one['faster']:.1f} ({one['low']:.1f} to {one['high']:.1f})",
        ]
        for one in found["turns"]
    ]
    rounds = [
        [
            precision,
            str(one["students"]),
            text_from_bytes(one["size_bytes"]),
            text_from_bytes(one["sent_bytes"]),
            text_from_s(one["took_s"]),
        ]
        for precision, one in found["rounds"].items()
    ]
    random = found["random_weights"]
    told = (
        f"Over a link of {text_from_bytes(WIRELESS.bytes_per_s or 0)}/s with 20 ms for a round trip. Whole and"
        f" compressed in turns, medians of {found['pairs']} pairs; the time ends when the board has verified the file."
    )
    plain = (
        f"With random weights the fp32 file of the table shrinks to {random['shrinks_to']:.0%}, packed at"
        f" {text_from_bytes(random['bytes_per_s'])}/s."
    )
    parts = (
        told,
        table_text(("student", "size", "whole", "compressed", "times as fast (range)"), turns),
        f"All students that `edgekd devices calibrate --like {found['like']}` measures, compressed, once each:",
        table_text(("precision", "students", "size", "sent", "time"), rounds),
        plain,
    )
    return "\n\n".join(parts)


def main() -> None:
    """Compare, print, and with --write store results/runner_untrained."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--like", default="bert", help="a family, as of edgekd devices calibrate")
    parser.add_argument("--students", type=int, default=20, help="per precision, as of edgekd devices calibrate")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with loopback() as place:
        found = measured(place, asked.like, asked.students, asked.pairs)
    text = text_of(found)
    if asked.write:
        write_results("runner_untrained", "Untrained students on their way to a board", text, found, this_machine())
    else:
        print(text)


if __name__ == "__main__":
    main()
