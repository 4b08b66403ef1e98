"""How fast files reach a board, against scp in turns, and what a second upload of the same file sends.

    python benchmarks/runner/upload.py --megabytes 64 --pairs 7 --write

Once over bare loopback, where only the programs' own work takes time, and once through a proxy with the rate and the
delay of a wireless link. Bytes are counted by the proxy, keys and hand-shake included. Our upload is verified by a hash
made on the board, scp's is not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence import table_text, write_results
from loopback import Loopback, loopback, this_machine

from edgekd.units import text_from_bytes
from tests.lab.chaos import NONE, ChaosProxy, Faults

WIRELESS = Faults(bytes_per_s=5e6, delay_s=0.01, jitter_s=0.002)
LINKS = {"loopback": NONE, "5 MB/s, 20 ms round trip": WIRELESS}
SCP = shutil.which("scp") or "scp"
_RATE_PARTS = 16  # of the file that is sent over bare loopback, so that a slow link is tried in a like time


@dataclass(frozen=True)
class Upload:
    """Rates of pairs of uploads over one link, in bytes per second, and the bytes on the wire."""

    size: int
    ours: list[float]
    scp: list[float]
    first_bytes: int
    again_bytes: int

    def numbers(self) -> dict[str, Any]:
        """What is stored."""
        ratios = [ours / theirs for ours, theirs in zip(self.ours, self.scp, strict=True)]
        return {
            "size_bytes": self.size, "ours_bytes_per_s": self.ours, "scp_bytes_per_s": self.scp,
            "ratio": median(ratios), "low": min(ratios), "high": max(ratios),
            "first_upload_bytes": self.first_bytes, "second_upload_bytes": self.again_bytes,
        }  # fmt: skip


def uploaded(place: Loopback, faults: Faults, size: int, pairs: int) -> Upload:
    """`pairs` new files of `size` bytes sent by edgekd and by scp in turns; the last one once more by edgekd."""
    ours: list[float] = []
    theirs: list[float] = []
    with ChaosProxy(place.board.port, faults) as proxy, place.open("upload", port=proxy.port) as host:
        for pair in range(pairs):
            local = place.folder / "random"
            local.write_bytes(os.urandom(size))  # nothing can be saved by compressing or finding it again
            turns: list[tuple[list[float], Callable[[], object]]] = [
                (ours, lambda local=local, pair=pair: host.put(local, f"file-{pair}")),  # type: ignore[misc]
                (theirs, lambda local=local: scp(place, proxy.port, local)),  # type: ignore[misc]
            ]
            for rates, send in turns if pair % 2 else reversed(turns):
                start = time.perf_counter()
                send()
                rates.append(size / (time.perf_counter() - start))
        before = proxy.passed["up"]
        host.put(local, "once")
        first = proxy.passed["up"] - before
        host.put(local, "once")
        again = proxy.passed["up"] - before - first
    return Upload(size, ours, theirs, first, again)


def scp(place: Loopback, port: int, local: Path) -> None:
    """Send `local` by OpenSSH's scp over the SFTP protocol, as it does by default since 9.0."""
    target = place.workspace("upload") / "by-scp"
    options = ("-F", "none", "-q", "-i", str(place.board.key), "-o", f"UserKnownHostsFile={place.folder}/known-{port}")
    there = f"{place.board.user}@127.0.0.1:{target}"
    subprocess.run([SCP, *options, "-P", str(port), str(local), there], check=True, timeout=600)


def main() -> None:
    """Compare, print, and with --write store results/runner_upload."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    size = asked.megabytes * 10**6
    with loopback() as place:
        found = {
            name: uploaded(place, faults, size if faults is NONE else size // _RATE_PARTS, asked.pairs).numbers()
            for name, faults in LINKS.items()
        }
    rows = [
        [
            f"{name}, {text_from_bytes(one['size_bytes'])}",
            f"{text_from_bytes(median(one['ours_bytes_per_s']))}/s",
            f"{text_from_bytes(median(one['scp_bytes_per_s']))}/s",
            f"{one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})",
            text_from_bytes(one["second_upload_bytes"]),
        ]
        for name, one in found.items()
    ]
    columns = ("link", "edgekd", "scp", "edgekd over scp", "second upload sends")
    text = f"Medians (range) of {asked.pairs} pairs of uploads in turns.\n\n{table_text(columns, rows)}"
    if asked.write:
        title = "Uploads to a board"
        write_results("runner_upload", title, text, {"pairs": asked.pairs, "links": found}, this_machine())
    else:
        print(text)


if __name__ == "__main__":
    main()
