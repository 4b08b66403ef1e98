"""A recipe that takes seconds: the quickstart with everything small, and limits that every student keeps by far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekd.files import sha256_of_file
from edgekd.pipeline.run import Outcome, run

TINY = (
    "name=tiny",
    "teacher.architecture={type: vit, layers: 2, hidden: 32, heads: 2, ffn: 64, patch_size: 4}",
    "teacher.fine_tune={epochs: 5, learning_rate: 5.0e-3, batch_size: 64, patience: 5}",
    "data.max_train_examples=600",
    "space={layers: [1], hidden: [16, 32], ffn_ratio: [1.0, 2.0]}",
    "search={calibrate: 3, finalists: 1, pairs: 5}",
    "sla={latency: {p50: 50 ms}, memory: 2 GB, size: 4 MB, accuracy: 20 %}",
    "distill={epochs: 2, learning_rate: 5.0e-3, batch_size: 64, patience: 2}",
    "bench={processes: 3, duration: 100 ms, warmup: 50 ms, samples: 20}",
    "budget.attempts=1",
)


class Heard:
    """Progress that remembers which steps had work to do, and what was said."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.current: list[str] = []
        self.said: list[str] = []
        self.warned: list[str] = []
        self.summaries: dict[str, str] = {}

    def begin(self, step: str, *, current: bool) -> None:
        (self.current if current else self.ran).append(step)

    def update(self, text: str, share: float | None = None) -> None:
        assert share is None or 0 <= share <= 1
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def end(self, step: str, summary: str) -> None:
        self.summaries[step] = summary


def run_tiny(
    root: Path, *extra: str, only: str | None = None, again: Sequence[str] = (), name: str = "quickstart"
) -> tuple[Outcome, Heard]:
    """One call of the pipeline over the run folder `root`, and what was heard of it."""
    heard = Heard()
    return run(name, [*TINY, *extra], root, only=only, again=again, progress=heard), heard


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """Time and hash of every file under `root`."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, sha256_of_file(path)) for path in files}


def hashes(root: Path, names: Sequence[str]) -> list[str]:
    return [sha256_of_file(root / name) for name in names]
