"""What the quickstart promises, checked on a run folder that `scripts/quickstart` has left.

    scripts/quickstart && .venv/bin/python benchmarks/quickstart.py [--run runs/quickstart]

The student keeps at least 97 % of the teacher's accuracy with at most 40 % of its parameters and is measured faster,
and the same command again computes nothing. Exit code 1 when one of these does not hold.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from edgekd.files import read_json
from edgekd.gate.files import read_verdict
from edgekd.pipeline.run import run
from edgekd.record import AccuracyRecord, LatencyRecord, read_records
from edgekd.stats import quantile

LEAST_RETENTION, MOST_SHARE, MOST_AGAIN_S = 0.97, 0.40, 5.0


def main() -> int:
    """Check each promise and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    root: Path = parser.parse_args().run
    selected = read_verdict(root / "verdict.json").sha256
    accuracy: dict[str, float] = {}
    median_ns: dict[str, int] = {}
    for _, record in read_records([root / "records"]):
        name = "student" if record.artifact.sha256 == selected else record.artifact.role
        if name == "student" and record.artifact.sha256 != selected:
            continue
        if isinstance(record, AccuracyRecord):
            accuracy[name] = record.accuracy
        elif isinstance(record, LatencyRecord):
            median_ns[name] = quantile(record.samples_ns, 0.5)
    retention = accuracy["student"] / accuracy["teacher"]
    share = read_json(root / "student.json")["parameters"] / read_json(root / "teacher.json")["parameters"]
    speed = median_ns["teacher"] / median_ns["student"]
    device = str(read_json(root / "recipe.json")["device"])
    start = time.monotonic()
    run("quickstart", [f"device={device}"], root)
    again_s = time.monotonic() - start
    checks = (
        (f"accuracy kept {retention:.1%}, at least {LEAST_RETENTION:.0%}", retention >= LEAST_RETENTION),
        (f"parameters {share:.1%}, at most {MOST_SHARE:.0%}", share <= MOST_SHARE),
        (f"{speed:.2f} times as fast as the teacher, more than 1", speed > 1),
        (f"again in {again_s:.1f} s, less than {MOST_AGAIN_S:g} s", again_s < MOST_AGAIN_S),
    )
    for text, holds in checks:
        print(f"{'holds' if holds else 'MISSED'}: {text}")
    return 0 if all(holds for _, holds in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
