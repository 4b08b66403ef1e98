"""The fit and the drift detector on HAT's public tables, where they are at hand; the benchmark's manners everywhere."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgekd.cost.calibrate import fit
from edgekd.cost.drift import drifted_samples

pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
TABLES = ROOT.parent / "shared" / "data" / "latency_hat"

with_tables = pytest.mark.skipif(not TABLES.is_dir(), reason=f"no {TABLES.name} beside the repository")


@pytest.fixture
def hat(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "predictor"))
    return importlib.import_module("hat")


def run(hat: ModuleType, monkeypatch: pytest.MonkeyPatch, *argv: object) -> int:
    monkeypatch.setattr("sys.argv", ["hat.py", *map(str, argv)])
    return int(hat.main())


def made_table(rows: int) -> str:
    """A table of HAT's form whose latencies follow from layers and widths, the first 60 rows ten times too slow."""
    rng = np.random.default_rng(0)
    table = importlib.import_module("hat_table")
    lines = [",".join(table.SHAPE + table.LATENCIES)]
    for row in range(rows):
        width, out, layers = rng.choice([512, 640]), rng.choice([512, 640]), rng.integers(1, 7)
        shape = [width, 6, rng.integers(512, 3072), rng.integers(2, 9), out, layers, rng.integers(512, 3072), 4, 4, 2]
        decoder = (20 + 0.1 * out + 30 * layers + 1e-4 * layers * out * shape[6]) * np.exp(rng.normal(0, 0.02))
        slow = 10 if row < 60 else 1
        lines.append(",".join(map(str, [*shape, 0.02 * width * slow, decoder * slow])))
    return "\n".join(lines) + "\n"


def test_every_method_is_judged_on_the_rows_that_did_not_drift(
    hat: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.csv"
    path.write_text(made_table(400), encoding="utf-8")
    monkeypatch.setattr(hat, "SLOW_SEEDS", 1)
    assert run(hat, monkeypatch, "--csv", path, "--n", 12, "--seeds", 2) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["kept"]) == (400, 340)
    assert [(one["first"], one["last"]) for one in found["drifted"]] == [(0, 59)]
    scores = {one["method"]: one for one in found["results"]}
    assert set(scores) == {"edgekd", "plain NNLS", "random forest", "gradient boosting", "3 x 400 network"}
    assert scores["edgekd"]["hit_10"] > 0.95
    assert scores["edgekd"]["hit_10"] > scores["random forest"]["hit_10"]
    assert 0.5 < scores["edgekd"]["covered"] <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "lacks the columns"),
        (b"a,b\n1,2\n", "lacks the columns"),
        ("short", "rows"),
        ("ragged", "has 3 values"),
        ("word", "latency_mean_decoder is 'quick'"),
        ("negative", "expected a positive number"),
        ("nan", "expected a positive number"),
    ],
)
def test_bad_table_ends_in_one_clear_line(
    hat: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: bytes | str | None,
    words: str,
) -> None:
    path = tmp_path / "bad.csv"
    good = made_table(40).splitlines()
    spoilt = {"ragged": "1,2,3", "word": "quick", "negative": "-5", "nan": "nan"}
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text == "short":
        path.write_text("\n".join(good[:6]), encoding="utf-8")
    elif text is not None:
        last = spoilt[text] if text == "ragged" else good[-1].rpartition(",")[0] + "," + spoilt[text]
        path.write_text("\n".join([*good[:-1], last]), encoding="utf-8")
    assert run(hat, monkeypatch, "--csv", path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {path}")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--n", "2"], ["--n", "390"], ["--seeds", "0"]])
def test_numbers_that_a_table_cannot_serve_are_refused(
    hat: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
) -> None:
    path = tmp_path / "some.csv"
    path.write_text(made_table(400), encoding="utf-8")
    assert run(hat, monkeypatch, "--csv", path, *argv) == 2
    assert capsys.readouterr().err.startswith("error: ")


@with_tables
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("wmt14ende_cpu_raspberrypi_all.csv", 0, 120), ("wmt14ende_gpu_titanxp_all.csv", 1263, 1499)],
)
def test_the_stretches_that_spoil_the_tables_are_found(hat: ModuleType, name: str, first: int, last: int) -> None:
    samples, _ = hat.read_table(TABLES / name)
    windows = drifted_samples(samples, hat.TERMS, hat.BACKBONE)
    widest = max(windows, key=lambda one: len(one.rows))
    assert abs(widest.first - first) <= 5
    assert abs(widest.last - last) <= 5
    assert sum(len(one.rows) for one in windows) < 1.15 * len(widest.rows)


@with_tables
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("wmt14ende_cpu_raspberrypi_all.csv", 0.97),
        ("wmt14ende_cpu_xeon_all.csv", 0.88),
        ("wmt14ende_gpu_titanxp_all.csv", 0.97),
    ],
)
def test_twenty_rows_tell_the_others(hat: ModuleType, name: str, least: float) -> None:
    table = hat._table(TABLES / name)
    scores = [
        hat._score(table, hat.OURS, split[:20], split[20:])
        for split in (np.random.default_rng(seed).permutation(len(table.samples)) for seed in range(20))
    ]
    assert np.mean([score.hit_10 for score in scores]) >= least
    assert 0.85 <= np.mean([score.covered for score in scores]) <= 0.97


@with_tables
def test_rows_in_shuffled_order_have_no_drift(hat: ModuleType) -> None:
    table = hat._table(TABLES / "wmt14ende_cpu_raspberrypi_all.csv")
    flagged = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(table.samples))
        windows = drifted_samples([table.samples[row] for row in order], hat.TERMS, hat.BACKBONE)
        flagged.append(sum(len(one.rows) for one in windows))
    assert sum(flagged) < 0.002 * 5 * len(table.samples)


@with_tables
def test_a_table_is_fitted_whole_too(hat: ModuleType) -> None:
    table = hat._table(TABLES / "wmt14ende_cpu_raspberrypi_all.csv")
    found = fit(table.samples[:400], hat.TERMS, hat.BACKBONE)
    assert found.samples > 380
    assert found.half_width < 0.06
