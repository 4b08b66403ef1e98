"""The SLA: limits with units, and nothing that could be kept by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekd.config import source_from_text, validated
from edgekd.errors import InputError, SlaError
from edgekd.sla import Sla, load_sla, quantile_from_name

FULL = """\
latency:
  p50: 3 ms
  p99.9: 20 ms
memory: 200 MiB
size: 40 MB
accuracy: 90 %
accuracy_drop: 0.01
energy: 20 mJ
power_mode: 15W
confidence: 0.99
"""


def _load(text: str) -> Sla:
    return validated(source_from_text(text, "sla.yaml", SlaError), Sla, SlaError)


def test_full_file_is_read_in_si_units(tmp_path: Path) -> None:
    path = tmp_path / "sla.yaml"
    path.write_text(FULL)
    sla = load_sla(path)
    assert sla.latency == {"p50": pytest.approx(0.003), "p99.9": pytest.approx(0.02)}
    assert (sla.memory, sla.size, sla.accuracy_drop, sla.confidence) == (200 * 2**20, 40_000_000, 0.01, 0.99)
    assert sla.accuracy == pytest.approx(0.9)
    assert (sla.energy, sla.power_mode) == (pytest.approx(0.02), "15W")


@pytest.mark.parametrize("text", ["energy: 0 mJ", "energy: 20", "energy: 20 W", "power_mode: 15W", "energy: -1 J"])
def test_energy_has_a_unit_and_is_a_limit_while_a_power_mode_is_none(text: str) -> None:
    with pytest.raises(SlaError):
        _load(text)


def test_absent_limits_are_not_judged_and_confidence_has_a_default() -> None:
    sla = _load("size: 1 MB")
    assert (sla.latency, sla.memory, sla.accuracy, sla.accuracy_drop, sla.confidence) == ({}, None, None, None, 0.95)


@pytest.mark.parametrize(
    ("name", "p"), [("p50", 0.5), ("p5", 0.05), ("p99.9", 0.999), ("p99.999", 0.99999), ("p1", 0.01)]
)
def test_percentile_names(name: str, p: float) -> None:
    assert quantile_from_name(name) == pytest.approx(p)


@pytest.mark.parametrize(
    "name", ["p0", "p100", "p", "95", "P95", "p-5", "p1e1", "p95 ", "p99.", "mean", "p0.0", "p٩٩x"]
)
def test_other_spellings_of_a_percentile_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a percentile"):
        quantile_from_name(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("confidence: 0.95", "no limit is set"),
        ("latency:\n  p95: 5", "bare number 5"),
        ("latency:\n  p95: 0 ms", "which no model can keep"),
        ("memory: 0 MB", "which no model can keep"),
        ("size: 0 B", "which no model can keep"),
        ("accuracy: 0 %", "which no model can keep"),
        ("latency:\n  p95: -5 ms", "expected a positive number"),
        ("latency:\n  p95: 5 parsecs", "the unit 'parsecs'"),
        ("latency:\n  p95: 5 MB", "the unit 'MB'"),
        ("latency:\n  p95: true", "found True"),
        ("latency:\n  p95:", "expected a number with its unit"),
        ("latency:\n  p95: .nan", "no finite number"),
        ("latency:\n  mean: 5 ms", "expected a percentile"),
        ("latency:\n  p95: 5 ms\n  p95: 6 ms", "stands twice"),
        ("latency:\n  p50: 9 ms\n  p95: 5 ms", "the limit of p50 is above that of p95"),
        ("latency: 5 ms", "latency"),
        ("accuracy: 101 %", "between 0 and 1"),
        ("accuracy: true", "found True"),
        ("accuracy_drop: -0.1", "expected a positive number"),
        ("size: 1 MB\nconfidence: 0.5", "confidence"),
        ("size: 1 MB\nconfidence: 1", "confidence"),
        ("size: 1 MB\nconfidence: true", "confidence"),
        ("size: 1 MB\nlatencyy: 1", "Did you mean 'latency'"),
        ("- size", "expected keys and values"),
        ("", "is empty"),
    ],
)
def test_wrong_file_is_an_sla_error_that_names_the_file(text: str, message: str) -> None:
    with pytest.raises(SlaError, match=message) as caught:
        _load(text)
    assert str(caught.value).startswith("sla.yaml")
    assert "\n" not in str(caught.value)


def test_error_names_the_line() -> None:
    with pytest.raises(SlaError, match=r"^sla\.yaml:3: "):
        _load("size: 1 MB\nlatency:\n  p95: 5 weeks\n")


def test_equal_limits_of_two_percentiles_are_allowed_and_a_drop_of_zero_too() -> None:
    sla = _load("latency:\n  p50: 5 ms\n  p95: 5 ms\naccuracy_drop: 0 %")
    assert (sla.latency["p50"], sla.accuracy_drop) == (sla.latency["p95"], 0)


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_sla(tmp_path / "none.yaml")


def test_sla_cannot_be_changed() -> None:
    sla = _load("size: 1 MB")
    with pytest.raises(ValidationError):
        sla.size = 5


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_mutated_file_gives_an_sla_or_a_typed_error(data: Any) -> None:
    raw = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.sampled_from(b"\n\t :-[]{}&*!|>'\"%@`#0123456789abpnN.\x00"))
    try:
        sla = _load(raw.decode())
    except SlaError:
        return
    assert all(limit > 0 for limit in sla.latency.values())
    assert 0.5 < sla.confidence < 1


def test_perplexity_is_a_number_of_one_and_more_and_its_rise_a_share() -> None:
    sla = _load("perplexity: 23.5\nperplexity_rise: 0 %")
    assert (sla.perplexity, sla.perplexity_rise) == (23.5, 0)
    with pytest.raises(SlaError, match=r"perplexity is 0\.5"):
        _load("perplexity: 0.5")
    assert _load("perplexity_rise: 5 %").perplexity_rise == 0.05
