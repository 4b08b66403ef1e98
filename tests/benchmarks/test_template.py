"""The benchmark of templates: it goes through in every precision that a graph has, on one tiny student each."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgekd.hosts.local import LocalHost
from edgekd.student import PRECISIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for folder in ("benchmarks", "benchmarks/predictor"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    found = importlib.import_module("template")
    monkeypatch.setattr(found, "PAIRS", 2)
    monkeypatch.setattr(found, "PROCESSES", 2)
    return found


def test_every_graph_is_compared_in_every_precision_that_it_has(template: ModuleType) -> None:
    assert template.precisions_of("bert") == list(PRECISIONS)
    assert template.precisions_of("llama") == ["fp32", "fp16", "int8", "int4"]


@pytest.mark.parametrize(
    ("name", "kind", "precision"),
    [("bert", "text", "int8-fused"), ("llama", "decode", "int4"), ("vit", "image", "fp32")],
)
def test_a_student_is_compared_with_its_export(
    name: str, kind: str, precision: str, template: ModuleType, tmp_path: Path
) -> None:
    with LocalHost(tmp_path / "host") as host:
        stand = template.Stand(tmp_path, host)
        (found,) = template._compared(stand, name, kind, precision, [(1, 2)])
    assert found["student"].startswith("L1-H128-")
    assert found["size_ratio"] == pytest.approx(1, rel=1e-2)
    assert found["shrinks_to"] < 0.2 < found["real_shrinks_to"]
    assert found["latency"]["low"] <= found["latency"]["ratio"] <= found["latency"]["high"]
    assert found["memory_ratio"] == pytest.approx(1, rel=0.2)
    assert (found["itself"] is not None) == (precision == "fp32")
    row: list[Any] = template._row(found)
    assert len(row) == len(template.COLUMNS)


def test_a_summary_tells_the_worst_ratio(template: ModuleType) -> None:
    latency = [{"ratio": ratio, "low": ratio, "high": ratio} for ratio in (0.98, 1.01, 1.0)]
    found = [
        {"export_s": 2.0, "write_s": 0.1, "latency": one, "itself": latency[2], "memory_ratio": 1.001}
        for one in latency
    ]
    said = template._summary(found)
    assert "1/20 of the time" in said
    assert "1.0% in the median and 2.0% at most" in said
    assert "0.1% at most" in said
