"""What follows from the traces of a board, and that nothing follows from what was not seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.vitals import (
    Vitals,
    clock_fall,
    clock_known,
    energy_j,
    governors,
    input_power_w,
    power_modes,
    suspended_s,
    throttle_bits,
    throttled_now,
)


def _vitals(*ticks: dict[str, Any], **changed: Any) -> Vitals:
    table = [{"at_s": float(at), **tick} for at, tick in enumerate(ticks)]
    return Vitals.model_validate({"cores": [0], "ticks": table, **changed})


def test_nothing_is_known_of_a_board_that_nobody_watched() -> None:
    for none in ([], [_vitals()], [_vitals({}, {}, {})]):
        assert clock_fall(none) is None
        assert not clock_known(none)
        assert governors(none) == []
        assert suspended_s(none) is None
        assert throttled_now(none) == []
        assert input_power_w(none) is None
    assert power_modes([_vitals()]) == [None]


def test_a_fall_of_the_clock_is_told_with_its_share_and_depth() -> None:
    steady = [{"clock_hz": 1000}] * 8
    assert clock_fall([_vitals(*steady, {"clock_hz": 500}, {"clock_hz": 500}, {"clock_hz": 1})]) == (2 / 9, 0.5)
    assert clock_fall([_vitals({"clock_hz": 500}, *steady, {"clock_hz": 500})]) is None


def test_a_sleep_is_known_only_when_every_call_could_tell() -> None:
    assert suspended_s([_vitals(suspended_s=0.0), _vitals(suspended_s=2.5)]) == 2.5
    assert suspended_s([_vitals(suspended_s=2.5), _vitals()]) is None


@pytest.mark.parametrize(
    ("text", "bits"),
    [("0x50005", 0x50005), ("throttled=0x4", 4), ("3 throttle events", None), ("", None), (None, None)],
)
def test_bits_are_read_from_what_boards_said_of_old_and_say_now(text: str | None, bits: int | None) -> None:
    assert throttle_bits(text) == bits


def test_throttling_is_named_whenever_it_was_seen() -> None:
    seen = [_vitals({"throttled": "0x50000"}), _vitals({"throttled": "0x1"}, {"throttled": "0x4", "thermal_status": 3})]
    assert throttled_now(seen) == ["under-voltage", "throttled", "thermal status severe"]
    assert throttled_now(seen[:1]) == []


def test_energy_is_the_area_under_the_power_of_each_rail() -> None:
    watched = _vitals(
        {"rails_w": {"VDD_IN": 4.0, "VDD_SOC": 1.0}},
        {"rails_w": {"VDD_IN": 8.0, "VDD_SOC": 1.0}},
        {"at_s": 3.0, "rails_w": {"VDD_IN": 8.0, "VDD_SOC": 3.0}},
    )
    assert energy_j(watched) == {"VDD_IN": 6.0 + 16.0, "VDD_SOC": 1.0 + 4.0}
    assert input_power_w([watched, watched]) == ("VDD_IN", pytest.approx(22 / 3))


def test_energy_is_unknown_where_one_look_or_call_missed_the_rails() -> None:
    whole = _vitals({"rails_w": {"VDD_IN": 4.0}}, {"rails_w": {"VDD_IN": 4.0}})
    torn = _vitals({"rails_w": {"VDD_IN": 4.0}}, {}, {"rails_w": {"VDD_IN": 4.0}})
    assert energy_j(torn) is None
    assert energy_j(_vitals({"rails_w": {"VDD_IN": 4.0}})) is None
    assert input_power_w([whole, torn]) is None
    part = _vitals({"rails_w": {"VDD_SOC": 4.0}}, {"rails_w": {"VDD_SOC": 4.0}})
    assert input_power_w([part]) is None, "a part of the board is not the board"


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_word_is_bits_or_unknown(text: str) -> None:
    assert throttle_bits(text) is None or isinstance(throttle_bits(text), int)
