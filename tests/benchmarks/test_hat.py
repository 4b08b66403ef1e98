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
from edgekd.errors import DataError

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


PARTS = ("encoder", "decoder")
COLUMNS = ("latency_mean_encoder", "latency_mean_decoder")


def made_table(rows: int) -> str:
    """A table of HAT's form whose latencies follow from layers and widths, the first 60 rows ten times too slow."""
    rng = np.random.default_rng(0)
    table = importlib.import_module("hat_table")
    lines = [",".join(table.SHAPE + COLUMNS)]
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


def without(text: str, dropped: str) -> str:
    """The table in `text` without the columns whose name holds the word `dropped`."""
    rows = [line.split(",") for line in text.splitlines()]
    kept = [place for place, name in enumerate(rows[0]) if dropped not in name]
    return "\n".join(",".join(row[place] for place in kept) for row in rows) + "\n"


def wide_table(rows: int) -> str:
    """A table of models of many widths and depths, with attention as wide as the model, and 2 % of noise."""
    rng = np.random.default_rng(1)
    lines = [",".join(importlib.import_module("hat_table").SHAPE + COLUMNS)]
    for _ in range(rows):
        width, out = rng.choice([128, 256, 512, 1024], 2)
        depth, layers = rng.choice([2, 4, 6, 12]), rng.choice([1, 2, 4, 6, 8])
        inner, outer = rng.integers(256, 4096, 2)
        encoder = depth * (5 + 2e-5 * width * width + 1e-5 * width * inner)
        decoder = 5 + layers * (3 + 1e-5 * out * out + 5e-6 * out * outer)
        shape = [width, depth, inner, 4, out, layers, outer, 4, 4, 2]
        noise = np.exp(rng.normal(0, 0.02, 2))
        lines.append(",".join(map(str, [*shape, encoder * noise[0], decoder * noise[1]])))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("dropped", "timed"),
    [("decoder", ("encoder",)), ("encoder", ("decoder",)), ("mean_encoder", ("decoder",)), ("nothing", tuple(PARTS))],
)
def test_table_of_one_part_is_judged_by_what_it_tells(
    hat: ModuleType, tmp_path: Path, dropped: str, timed: tuple[str, ...]
) -> None:
    path = tmp_path / "part.csv"
    path.write_text(without(wide_table(300), dropped), encoding="utf-8")
    table = hat._table(path)
    assert table.read.timed == timed
    assert not table.windows
    splits = [np.random.default_rng(seed).permutation(300) for seed in range(5)]
    assert np.mean([hat._score(table, hat.OURS, split[:20], split[20:]).hit_10 for split in splits]) > 0.9


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_found(hat: ModuleType, tmp_path: Path, separator: str) -> None:
    path, other = tmp_path / "some.csv", tmp_path / "other.csv"
    path.write_text(made_table(200), encoding="utf-8")
    other.write_text(made_table(200).replace(",", separator), encoding="utf-8")
    assert hat.read_table(other) == hat.read_table(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("decoder_embed_dim,{}", "decoder_embed_dim more than once"),
        ("latency_mean_encoder,{}", "latency_mean_encoder more than once"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(hat: ModuleType, tmp_path: Path, header: str, words: str) -> None:
    path = tmp_path / "twice.csv"
    first, *rows = made_table(40).splitlines()
    path.write_text("\n".join([header.format(first), *(f"7,{row}" for row in rows)]), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        hat.read_table(path)


def test_a_table_without_any_latency_or_with_half_a_shape_is_refused(hat: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text(without(made_table(40), "latency"), encoding="utf-8")
    with pytest.raises(DataError, match="lacks the columns latency_mean_decoder, latency_mean_encoder"):
        hat.read_table(path)
    path.write_text(without(made_table(40), "encoder_layer_num"), encoding="utf-8")
    with pytest.raises(DataError, match="lacks the columns encoder_layer_num,"):
        hat.read_table(path)


@with_tables
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("wmt14ende_cpu_raspberrypi_all.csv", 0, 120), ("wmt14ende_gpu_titanxp_all.csv", 1263, 1499)],
)
def test_the_stretches_that_spoil_the_tables_are_found(hat: ModuleType, name: str, first: int, last: int) -> None:
    read = hat.read_table(TABLES / name)
    windows = drifted_samples(read.samples, read.terms, read.backbone)
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
        windows = drifted_samples([table.samples[row] for row in order], table.read.terms, table.read.backbone)
        flagged.append(sum(len(one.rows) for one in windows))
    assert sum(flagged) < 0.002 * 5 * len(table.samples)


@with_tables
def test_a_table_is_fitted_whole_too(hat: ModuleType) -> None:
    table = hat._table(TABLES / "wmt14ende_cpu_raspberrypi_all.csv")
    found = fit(table.samples[:400], table.read.terms, table.read.backbone)
    assert found.samples > 380
    assert found.half_width < 0.06
