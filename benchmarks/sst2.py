"""The table of the README: `edgekd run sst2` end to end, its report, verdict and evidence in benchmarks/results/sst2.

    python benchmarks/sst2.py [--out runs/sst2]

A run folder that is already complete is only read, as `edgekd run` always does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from edgekd.export.manifest import installed_versions
from edgekd.files import read_json, write_text
from edgekd.pipeline.run import run
from edgekd.record import AccuracyRecord, LatencyRecord, read_records
from edgekd.stats import quantile
from edgekd.units import seconds_from_ns, text_from_bytes, text_from_count, text_from_s, text_from_share

# What a reader has to know of the recipe and the data; the numbers above it come from the run.
CAVEATS = """\
## How far these numbers go

- The recipe was not fixed beforehand. Its limits were set after a look at latencies on such a machine, and
  `max_share: 80 %` and at most 4 layers were added after a first sizing that chose 5 layers, to leave room for the
  machine's noise. So PASS shows that the steps work together, not that a limit given by somebody else was met.
- One seed, one run. Among 872 sentences a difference of 0.1 or 0.2 points is one or two answers: the accuracies of
  teacher and students cannot be told apart. The teacher saw 20,000 of 60,614 training phrases, twice.
"""

RESULTS = Path(__file__).parent / "results" / "sst2"
KEPT = ("report.html", "verdict.json", "students.json", "sizing.json", "teacher.json", "student.json", "recipe.json",
        "junit.xml", "summary.md", "artifacts/manifest.json")  # fmt: skip


def table(root: Path) -> list[str]:
    """A row per measured artifact, the teacher first, as Markdown."""
    parameters = {role: read_json(root / f"{role}.json")["parameters"] for role in ("teacher", "student")}
    accuracy: dict[str, AccuracyRecord] = {}
    latency: list[LatencyRecord] = []
    for _, record in read_records([root / "records"]):
        if isinstance(record, AccuracyRecord):
            accuracy[record.artifact.sha256] = record
        elif isinstance(record, LatencyRecord):
            latency.append(record)
    lines = [
        "| model | parameters | file | accuracy on 872 | p50 | p95 | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    teacher_s = 0.0
    for record in sorted(latency, key=lambda item: (item.artifact.role != "teacher", item.artifact.name)):
        artifact, samples = record.artifact, record.samples_ns
        p50, p95 = (seconds_from_ns(quantile(samples, p)) for p in (0.5, 0.95))
        teacher_s = teacher_s or p50
        faster = "" if artifact.role == "teacher" else f" ({teacher_s / p50:.1f}x faster)"
        peak = record.peak_memory_bytes
        cells = (
            f"{artifact.role}, {artifact.precision}", text_from_count(parameters[artifact.role]),
            text_from_bytes(artifact.size_bytes), text_from_share(accuracy[artifact.sha256].accuracy, 2),
            text_from_s(p50) + faster, text_from_s(p95), "unknown" if peak is None else text_from_bytes(peak),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(root: Path) -> str:
    """The README of the results."""
    first = next(record for _, record in read_records([root / "records"]) if isinstance(record, LatencyRecord))
    verdict = read_json(root / "verdict.json")
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().model_dump().items())
    host = f"{first.host.cpu}, {first.host.cores} cores, {first.host.system}, Python {first.host.python}"
    return "\n".join([
        "# SST-2: MiniLM and the student that fits",
        "",
        "`python benchmarks/sst2.py` runs `edgekd run sst2` and writes this page. The 872 sentences are the",
        "GLUE development set; training and selection saw only parts of the GLUE training set.",
        "",
        *table(root),
        "",
        f"Verdict: {verdict['outcome'].upper()}. Latency: batch 1, 64 tokens, one thread, onnxruntime;",
        f"{len(first.runs)} processes per model, taking turns.",
        "",
        f"Machine: {host}. Versions: {versions}.",
        "",
        CAVEATS,
    ])  # fmt: skip


def main() -> int:
    """Run, copy what is worth keeping, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sst2"))
    root: Path = parser.parse_args().out
    outcome = run("sst2", (), root)
    shutil.rmtree(RESULTS, ignore_errors=True)
    (RESULTS / "records").mkdir(parents=True)
    for name in KEPT:
        shutil.copy2(root / name, RESULTS / Path(name).name)
    for path in sorted((root / "records").glob("*.json")):
        shutil.copy2(path, RESULTS / "records" / path.name)
    write_text(RESULTS / "README.md", page(root))
    print("\n".join(table(root)))
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
