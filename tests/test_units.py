"""Quantities are read with their unit or not at all, and shown as a person would write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import units
from edgekd.errors import UnitError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5 ms", 0.005), ("5ms", 0.005), ("1.5 s", 1.5), ("250 us", 250e-6), ("250 µs", 250e-6), ("3 min", 180), ("2 h", 7200)],
)  # fmt: skip
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert units.duration_s_from_text(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("200 MB", 200_000_000), ("200 MiB", 209_715_200), ("12 B", 12), ("1.5 kB", 1500), ("4 GiB", 4 * 2**30)],
)
def test_sizes_are_read_in_bytes(text: str, size: int) -> None:
    assert units.bytes_from_text(text) == size


@pytest.mark.parametrize(("text", "joules"), [("20 mJ", 0.02), ("1.5 J", 1.5), ("7 uJ", 7e-6), ("7 µJ", 7e-6)])
def test_energies_are_read_in_joules_and_shown_in_the_unit_a_person_would_choose(text: str, joules: float) -> None:
    assert units.joules_from_text(text) == pytest.approx(joules)
    assert units.joules_from_text(units.text_from_j(joules)) == pytest.approx(joules)
    assert units.text_from_j(float("inf")) == "unknown"
    with pytest.raises(UnitError, match="mJ"):
        units.joules_from_text("20 mW")


@pytest.mark.parametrize(("text", "share"), [("2 %", 0.02), ("0.02", 0.02), ("100%", 1.0), ("0", 0.0)])
def test_shares_are_read_with_or_without_percent(text: str, share: float) -> None:
    assert units.share_from_text(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "5 parsecs", "ms", "-5 ms", "5 MS", "nan ms", "", "1e3 ms", "5 ms 3"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match="expected"):
        units.duration_s_from_text(text)


@pytest.mark.parametrize("text", ["101 %", "1.5", "-1 %", "x"])
def test_a_share_above_one_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        units.share_from_text(text)


def test_an_endless_number_is_refused() -> None:
    with pytest.raises(UnitError, match="finite"):
        units.duration_s_from_text("9" * 400 + " s")


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(0.00123, "1.23 ms"), (45e-6, "45.0 µs"), (2.5, "2.50 s"), (200, "3 min 20 s"), (5e-9, "5.00 ns"), (0.123456, "123 ms")],
)  # fmt: skip
def test_seconds_are_shown_in_the_unit_a_person_would_choose(value_s: float, text: str) -> None:
    assert units.text_from_s(value_s) == text


@pytest.mark.parametrize(("value", "text"), [(12, "12 B"), (4000, "4.00 kB"), (1_230_000, "1.23 MB"), (5e9, "5.00 GB")])
def test_bytes_are_shown_in_powers_of_ten(value: float, text: str) -> None:
    assert units.text_from_bytes(value) == text


def test_counts_and_shares_are_shown_short() -> None:
    assert units.text_from_count(22_713_216) == "22.7 M"
    assert units.text_from_count(35) == "35"
    assert units.text_from_share(0.973) == "97.3 %"
    assert units.text_from_share(float("nan")) == "unknown"
    assert units.text_from_s(float("inf")) == "unknown"


@given(st.floats(min_value=1e-9, max_value=90))
def test_what_is_shown_reads_back_within_one_percent(value_s: float) -> None:
    assert units.duration_s_from_text(units.text_from_s(value_s)) == pytest.approx(value_s, rel=0.01)
