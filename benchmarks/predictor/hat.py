"""How few measured models tell the latency of the others? HAT's public tables of 2000 measured Transformers each.

    python benchmarks/predictor/hat.py [--csv FILE ...] [--n 10 20 50] [--seeds 20] [--write]

A table of the encoder or the decoder alone is judged by what it holds; `timed` in the answer says which it was.
Stretches of a table that were measured under another condition are found and dropped first. Then n random rows train
each method and the others judge it, on the same splits for all. Prints JSON; with --write leaves
results/predictor_hat. Without --csv it takes all tables under --folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from hat_table import Measured, read_table
from numpy.typing import NDArray
from regressors import REGRESSORS, predicted

from edgekd.cost.calibrate import LEAST_SAMPLES, ONE, Sample, fit
from edgekd.cost.drift import Window, drifted_samples
from edgekd.cost.nnls import nnls
from edgekd.errors import DataError, EdgekdError

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT.parent / "shared" / "data" / "latency_hat"
OURS, PLAIN, SLOW = "edgekd", "plain NNLS", "3 x 400 network"
SLOW_SEEDS = 5  # the network takes seconds to train, so it is judged on the first few splits only
LEAST_TESTED = 20


@dataclass(frozen=True)
class Table:
    """The rows of a file that are left when drifted ones are dropped, with the matrix of their terms."""

    name: str
    read: Measured
    windows: list[Window]
    samples: list[Sample]
    shapes: Floats
    terms: Floats
    latencies: Floats


@dataclass(frozen=True)
class Score:
    """How well a method told the latencies it had not seen; `covered` and `width` where it gives an interval."""

    hit_10: float
    hit_5: float
    median_error: float
    p90_error: float
    covered: float | None = None
    width: float | None = None


def main() -> int:
    """Run the benchmark; the exit code is that of the error, if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, nargs="+", help="tables of HAT's form")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where *_all.csv are, without --csv")
    parser.add_argument("--n", type=int, nargs="+", default=[10, 20, 50], help="how many rows train")
    parser.add_argument("--seeds", type=int, default=20, help="how many random splits")
    parser.add_argument("--write", action="store_true", help="leave results/predictor_hat")
    asked = parser.parse_args()
    try:
        if min(asked.n) < LEAST_SAMPLES or asked.seeds < 1:
            raise DataError(f"--n {asked.n} --seeds {asked.seeds}: expected n of at least {LEAST_SAMPLES} and a seed")
        paths = asked.csv or sorted(asked.folder.glob("*_all.csv"))
        if not paths:
            raise DataError(
                f"{asked.folder}: holds no *_all.csv. Name a table with --csv, or their folder with --folder"
            )
        found = [_judged(_table(path), asked.n, asked.seeds) for path in paths]
    except EdgekdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if asked.write:
        _write(found, asked.seeds)
    else:
        print(json.dumps(found, indent=1))
    return 0


def _table(path: Path) -> Table:
    read = read_table(path)
    samples = read.samples
    if len(samples) < LEAST_SAMPLES + LEAST_TESTED:
        raise DataError(f"{path}: has {len(samples)} rows, expected {LEAST_SAMPLES + LEAST_TESTED} at least")
    terms, windows = read.terms, drifted_samples(samples, read.terms, read.backbone)
    dropped = {row for window in windows for row in window.rows}
    kept = [row for row in range(len(samples)) if row not in dropped]
    left = [samples[row] for row in kept]
    matrix = np.array([[1.0 if term == ONE else sample.features[term] for term in terms] for sample in left])
    latencies = np.array([sample.value for sample in left])
    return Table(path.name, read, windows, left, np.array(read.shapes)[kept], matrix, latencies)


def _judged(table: Table, numbers: Sequence[int], seeds: int) -> dict[str, Any]:
    """What is printed of one table."""
    count = len(table.samples)
    results = []
    for number in numbers:
        if count < number + LEAST_TESTED:
            raise DataError(f"{table.name}: {count} rows are left, expected {number + LEAST_TESTED} for --n {number}")
        splits = [np.random.default_rng(seed).permutation(count) for seed in range(seeds)]
        for method in (OURS, PLAIN, *REGRESSORS):
            some = splits[:SLOW_SEEDS] if method == SLOW else splits
            scores = [_score(table, method, split[:number], split[number:]) for split in some]
            results.append({"method": method, "n": number, "splits": len(some), **_means(scores)})
    return {
        "file": table.name,
        "timed": table.read.timed,
        "rows": len(table.read.samples),
        "kept": count,
        "drifted": [asdict(window) for window in table.windows],
        "results": results,
    }


def _score(table: Table, method: str, train: NDArray[np.int64], test: NDArray[np.int64]) -> Score:
    truth = table.latencies[test]
    covered = width = None
    if method == OURS:
        made = fit([table.samples[row] for row in train], table.read.terms, table.read.backbone)
        found = made.predict_many(dict(zip(table.read.terms, table.terms[test].T, strict=True)))
        expected = found.mid
        covered = float(np.mean((found.low <= truth) & (truth <= found.high)))
        width = float(np.mean((found.high - found.low) / found.mid))
    elif method == PLAIN:
        expected = table.terms[test] @ _plain(table.terms[train], table.latencies[train])
    else:
        expected = predicted(method, table.shapes[train], table.latencies[train], table.shapes[test])
    errors = np.abs(expected / truth - 1)
    p90 = float(np.quantile(errors, 0.9))
    return Score(_share(errors, 0.1), _share(errors, 0.05), float(np.median(errors)), p90, covered, width)


def _share(errors: Floats, limit: float) -> float:
    return float(np.mean(errors <= limit))


def _plain(terms: Floats, latencies: Floats) -> Floats:
    """Prices by non-negative least squares on relative errors, and nothing more."""
    relative = terms / latencies[:, None]
    scales = np.linalg.norm(relative, axis=0)
    columns = relative / scales
    gram = columns.T @ columns + 1e-9 * np.eye(len(scales))
    return np.asarray(nnls(gram[None], columns.sum(axis=0)[None])[0] / scales)


def _means(scores: Sequence[Score]) -> dict[str, float | None]:
    return {
        name: None if getattr(scores[0], name) is None else round(fmean(getattr(score, name) for score in scores), 4)
        for name in Score.__dataclass_fields__
    }


def _write(found: list[dict[str, Any]], seeds: int) -> None:
    sys.path.append(str(Path(__file__).parents[1]))
    from evidence import table_text, write_results

    from edgekd.record import HostFacts

    columns = ("n", "method", "within 10 %", "within 5 %", "median error", "p90 error", "90 % interval holds", "width")
    intro = (
        "Latency (encoder and decoder together) of random translation models, told from n other measured ones of the "
        f"same table. Means over {seeds} random splits ({SLOW_SEEDS} for the network), the same for every method; the "
        "width of an interval is (high - low) / mid.\n\nStretches that were measured under another condition are "
        "dropped before anything is scored, for every method alike. They are found by the errors of our own terms, "
        "and the rows that are left are easier for that. The terms follow what the model computes. Their backbone, the "
        "constants of the shrinkage, the least shift that counts as drift (6 %, after 5 % and 7 % were tried too) and "
        "the settings of the regressors were all chosen while looking at these three tables: expect somewhat less on "
        "others. Layers of the encoder and squares of widths became terms for tables of other ranges; what they do "
        "here is in the noise. "
        "`plain NNLS` has the same terms without shrinkage."
    )
    parts = [intro]
    for table in found:
        windows = [f"{one['first']} to {one['last']} ({np.expm1(one['shift']):+.0%})" for one in table["drifted"]]
        dropped = f"Dropped rows: {', '.join(windows) or 'none'}; {table['kept']} of {table['rows']} are left."
        parts.append(f"## {table['file']}\n\n{dropped}\n\n" + table_text(columns, list(map(_line, table["results"]))))
    numbers = {"tables": found, "numpy": version("numpy"), "scikit-learn": version("scikit-learn")}
    host = HostFacts(
        name="local",
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        cpu=_processor(),
        cores=os.cpu_count(),
    )
    title = "How few measurements tell a latency: HAT's tables"
    write_results("predictor_hat", title, "\n\n".join(parts), numbers, host)


def _line(result: dict[str, Any]) -> list[str]:
    shares = [f"{result[key]:.1%}" for key in ("hit_10", "hit_5", "median_error", "p90_error")]
    interval = ["" if result[key] is None else f"{result[key]:.1%}" for key in ("covered", "width")]
    return [str(result["n"]), result["method"], *shares, *interval]


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


if __name__ == "__main__":
    sys.exit(main())
