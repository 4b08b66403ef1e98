"""What every benchmark leaves: a table to read and the numbers behind it, with machine, versions and command."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.plan import BenchPlan
from edgekd.bench.session import measure_pairs
from edgekd.hosts.base import Host
from edgekd.record import HostFacts, PairedRun

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("edgekd", "torch", "transformers", "onnx", "onnxruntime")


def paired(host: Host, model: Path, other: Path, plan: BenchPlan, pairs: int) -> tuple[PairedRun, HostFacts]:
    """`model` timed in turns with `other` in one process, and the host it ran on."""
    (record,) = measure_pairs(host, [(model, artifact_from_file(model))], other, plan, pairs=pairs)
    return record.run, record.host


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _portable(word: str) -> str:
    """A word of the command line as others may type it: where this machine keeps a folder is nothing to them."""
    path, root = Path(word), RESULTS.parents[1]
    if not path.is_absolute():
        return word
    return str(path.relative_to(root)) if path.is_relative_to(root) else "FOLDER"


def write_results(name: str, title: str, text: str, numbers: dict[str, Any], host: HostFacts) -> None:
    """Store results/NAME/README.md and results/NAME/result.json, and print the former."""
    command, date = shlex.join(["python", *map(_portable, sys.argv)]), datetime.now(UTC).date().isoformat()
    versions = {"python": platform.python_version(), **{library: version(library) for library in LIBRARIES}}
    processor = f"{host.cpu or 'unknown processor'} ({host.machine}, {host.cores} cores)"
    used = ", ".join(f"{library} {found}" for library, found in versions.items())
    page = (
        f"# {title}\n\n{text}\n\n"
        f"Made by `{command}` on {date}, one thread: {processor}, {host.system}, {used}. Numbers: result.json.\n"
    )
    made = {"command": command, "date": date, "machine": processor, "system": host.system, "versions": versions}
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page, encoding="utf-8")
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in {**made, **numbers}.items()]
    (folder / "result.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(page)
