"""What the runner costs: the same agent with the same orders, run by edgekd and by hand, in turns.

    python benchmarks/runner/overhead.py --pairs 20 --write

By hand means that the agent that edgekd sent is started by subprocess on this machine, with the orders that edgekd
wrote a moment before. Two things are compared pair by pair: the time a run takes beyond the agent's own, here and over
a private SSH server on loopback; and the median latency that both report, which the way of starting must not change.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence import table_text, write_results
from loopback import Loopback, loopback, this_machine

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.packed import packed_agent
from edgekd.bench.plan import BenchPlan
from edgekd.bench.session import measure
from edgekd.files import sha256_of_bytes
from edgekd.hosts.base import Host
from edgekd.hosts.local import LocalHost
from edgekd.units import text_from_s

PLAN = BenchPlan(processes=1, warmup_s=0.2, min_duration_s=1.0, min_samples=200, dims={"batch": 1, "sequence": 32})
WAYS = ("here", "over SSH")

# The agent's own measuring, out of the very file that edgekd sent, without whatever edgekd puts around it.
_BY_HAND = "import sys; sys.path.insert(0, sys.argv[1]); from agent.work import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Overheard:
    """A host that is used as it is, and of which the last orders are remembered."""

    host: Host
    orders: bytes = b""

    def __post_init__(self) -> None:
        write = self.host.write

        def writing(remote: str, data: bytes) -> None:
            if remote.endswith("spec.json"):
                self.orders = data
            write(remote, data)

        self.host.write = writing  # type: ignore[method-assign]

    def by_hand(self, workspace: Path) -> tuple[float, int]:
        """The seconds and the median latency in ns of the same agent with the same orders, started from here."""
        folder = workspace / "by-hand"
        folder.mkdir(exist_ok=True)
        (folder / "spec.json").write_bytes(self.orders)
        agent = f"blobs/{sha256_of_bytes(packed_agent())}.pyz"
        argv = [self.host.python, "-c", _BY_HAND, agent, "by-hand/spec.json", "by-hand/result.json"]
        start = time.perf_counter()
        subprocess.run(argv, cwd=workspace, check=True, capture_output=True)
        took_s = time.perf_counter() - start
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return took_s, round(median(result["runs"][0]["run"]["samples_ns"]))


@dataclass
class Pairs:
    """Seconds and median latencies of runs by edgekd and by hand, pair by pair."""

    runner_s: list[float] = field(default_factory=list)
    hand_s: list[float] = field(default_factory=list)
    runner_ns: list[float] = field(default_factory=list)
    hand_ns: list[float] = field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """What is stored: all of it, and the middle of the differences and ratios."""
        beyond = [ours - theirs for ours, theirs in zip(self.runner_s, self.hand_s, strict=True)]
        ratios = [ours / theirs for ours, theirs in zip(self.runner_ns, self.hand_ns, strict=True)]
        return {
            "overhead_s": median(beyond), "overhead_low_s": min(beyond), "overhead_high_s": max(beyond),
            "overhead_share": median(beyond) / median(self.hand_s), "hand_s": median(self.hand_s),
            "latency_ratio": median(ratios), "latency_low": min(ratios), "latency_high": max(ratios),
            "runner_seconds": self.runner_s, "hand_seconds": self.hand_s,
            "runner_median_ns": self.runner_ns, "hand_median_ns": self.hand_ns,
        }  # fmt: skip


def paired(host: Host, workspace: Path, model: Path, pairs: int, plan: BenchPlan = PLAN) -> Pairs:
    """`pairs` runs by edgekd on `host` and as many by hand, in turns; which comes first changes from pair to pair."""
    heard, found = Overheard(host), Pairs()
    artifact = artifact_from_file(model)

    def by_edgekd() -> tuple[float, float]:
        start = time.perf_counter()
        (record,) = measure(host, [(model, artifact)], plan)
        return time.perf_counter() - start, median(record.samples_ns)

    by_edgekd()  # sends everything once, and tells the orders
    for pair in range(pairs):
        if pair % 2:
            hand, ours = heard.by_hand(workspace), by_edgekd()
        else:
            ours, hand = by_edgekd(), heard.by_hand(workspace)
        found.runner_s.append(ours[0])
        found.runner_ns.append(ours[1])
        found.hand_s.append(hand[0])
        found.hand_ns.append(hand[1])
    return found


def both_ways(place: Loopback, pairs: int, plan: BenchPlan = PLAN) -> dict[str, Pairs]:
    """The pairs of WAYS: on this machine directly, and over SSH to the same machine."""
    here = place.workspace("here")
    with LocalHost(here) as host:
        direct = paired(host, here, place.model, pairs, plan)
    with place.open("ssh") as host:
        return dict(zip(WAYS, (direct, paired(host, place.workspace("ssh"), place.model, pairs, plan)), strict=True))


def _range_text(words: Iterable[str]) -> str:
    middle, low, high = words
    return f"{middle} ({low} to {high})"


def main() -> None:
    """Compare, print, and with --write store results/runner_overhead."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with loopback() as place:
        numbers = {way: found.numbers() for way, found in both_ways(place, asked.pairs).items()}
    rows = [
        [
            way,
            _range_text(text_from_s(one[f"overhead{end}_s"]) for end in ("", "_low", "_high")),
            f"{one['overhead_share']:.1%} of {text_from_s(one['hand_s'])}",
            _range_text(f"{one[f'latency_{end}']:.3f}" for end in ("ratio", "low", "high")),
        ]
        for way, one in numbers.items()
    ]
    table = table_text(("edgekd's run", "longer than by hand", "share of a run by hand", "latency over by hand"), rows)
    text = f"Medians (range) of {asked.pairs} pairs, by edgekd and by hand in turns, one process run each.\n\n{table}"
    if asked.write:
        title = "What the runner costs"
        write_results("runner_overhead", title, text, {"pairs": asked.pairs, **numbers}, this_machine())
    else:
        print(text)


if __name__ == "__main__":
    main()
