"""What a board said about throttling, and which records may be set side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.gate.conditions import cautions, differences, power_mode, spoiled, throttling
from edgekd.gate.verdict import Reason

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("throttled=0x0", "throttled=0x0", None),
        ("0x0", "0x0", None),
        (None, None, None),
        (None, "0x0", None),
        ("0x0", None, None),
        ("0x50000", "0x50000", None),
        ("0x0", "0x1", "it reported under-voltage"),
        ("0x2", "0x0", "it reported frequency capped"),
        ("0x0", "0x40000", "it reported throttled"),
        ("0x50000", "0xd0000", "it reported soft temperature limit"),
        (None, "0x10000", "it reported under-voltage"),
        ("0x0", "0xf", "it reported under-voltage, frequency capped, throttled, soft temperature limit"),
        ("idle", "idle", None),
        ("idle", "hot", "its throttle state went from idle to hot"),
        ("idle", "0x0", "its throttle state went from idle to 0x0"),
        (None, "hot", "its throttle state went from unknown to hot"),
        ("0x0", "0x100000", None),
    ],
)
def test_throttling_is_read_from_the_bits(
    before: str | None, after: str | None, said: str | None, latency_record: Make
) -> None:
    record = latency_record([[1]], host={"throttled_before": before, "throttled_after": after})
    assert throttling(record.host) == said


@pytest.mark.parametrize(
    ("part", "change", "name"),
    [
        ("host", {"cpu": "A53"}, "cpu"),
        ("host", {"cpu": None}, "cpu"),
        ("host", {"machine": "x86_64"}, "machine"),
        ("host", {"cores": 8}, "cores"),
        ("host", {"affinity": [0]}, "affinity"),
        ("host", {"governor": "powersave"}, "governor"),
        ("runtime", {"version": "1.25"}, "runtime"),
        ("runtime", {"threads": 1}, "threads"),
        ("runtime", {"providers": ["XnnpackExecutionProvider"]}, "providers"),
        ("protocol", {"shapes": {"input_ids": [1, 64]}}, "shapes"),
        ("protocol", {"warmup_s": 2.0}, "warm-up"),
        ("protocol", {"min_duration_s": 2.0}, "shortest run"),
        ("protocol", {"clock": "other"}, "clock"),
    ],
)
def test_each_condition_that_changed_is_named(
    part: str, change: dict[str, Any], name: str, latency_record: Make
) -> None:
    found = differences(latency_record([[1]]), latency_record([[1]], **{part: change}))
    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")


def test_same_conditions_have_no_difference_even_with_more_runs(latency_record: Make) -> None:
    other = latency_record([[1], [2]], host={"name": "board-2", "boot_id": "b", "temperature_c_before": 50.0})
    assert differences(latency_record([[1]]), other) == []
    assert differences(latency_record([[1]]), latency_record([[1]], device="jetson")) == ["device: rpi5 and jetson"]


def test_cautions_are_said_once_each(latency_record: Make) -> None:
    fine = latency_record([[1], [2]])
    assert cautions([fine]) == []
    worn = latency_record([[1], [2]], host={"throttled_before": "0x50000", "throttled_after": "0x50000"})
    short = latency_record([[1]])
    found = cautions([worn, worn, short, short])
    assert len(found) == 2
    assert "restart the board" in found[0]
    assert "One process run only" in found[1]
    unknown = latency_record([[1], [2]], host={"throttled_after": None})
    assert cautions([unknown]) == ["Whether the board was throttled is not known."]


def test_what_nobody_watched_is_said_to_be_unknown(latency_record: Make) -> None:
    """As of records made before boards were watched, and of boards that cannot tell."""
    older = latency_record([[1], [2]], host={"vitals": []})
    assert cautions([older, older]) == [
        "Whether the clock was steady while measuring is not known.",
        "Whether the board slept while measuring is not known.",
    ]
    once = latency_record([[1], [2]], host={"vitals": [_vitals()]})
    assert cautions([once]) == ["Whether the clock was steady while measuring is not known."]
    silent = latency_record([[1], [2]], host={"vitals": [_vitals(clocks=(None, None, None))] * 2})
    assert cautions([silent]) == ["Whether the clock was steady while measuring is not known."]


def _vitals(clocks: tuple[int | None, ...] = (9, 9, 9), **changed: Any) -> dict[str, Any]:
    ticks = [{"at_s": float(at), "clock_hz": clock} for at, clock in enumerate(clocks)]
    return {"cores": [0], "ticks": ticks, "suspended_s": 0.0, **changed}


@pytest.mark.parametrize(
    ("vitals", "reason", "said"),
    [
        (_vitals(), None, ""),
        (_vitals((1, *[100] * 12, 84, 1)), None, ""),  # the ends do not count, and one look of 13 is no fall
        (_vitals((100, 100, 100, 84, 100)), Reason.CLOCK_FELL, "its clock was down to 84% of the highest, 33%"),
        (_vitals((100, 100, 100, 85, 100)), None, ""),
        (_vitals(suspended_s=2.0), Reason.SUSPENDED, "it was suspended for 2.0 s"),
        (_vitals(power_mode_before="15W", power_mode_after="15W"), None, ""),
        (
            _vitals(power_mode_before="15W", power_mode_after="25W"),
            Reason.POWER_MODE,
            "its power mode changed (15W, 25W)",
        ),
        (_vitals(power_mode_before="15W"), Reason.POWER_MODE, "its power mode changed (15W, unknown)"),
        (
            _vitals(ticks=[{"at_s": 0.0, "governor": "performance"}, {"at_s": 1.0, "governor": "powersave"}]),
            Reason.GOVERNOR_CHANGED,
            "its governor changed (performance, powersave)",
        ),
    ],
)
def test_what_a_board_went_through_is_named(
    vitals: dict[str, Any], reason: Reason | None, said: str, latency_record: Make
) -> None:
    found = spoiled(latency_record([[1]], host={"vitals": [vitals]}).host)
    assert (found and found[0]) == reason
    assert found is None or found[1].startswith(said)


def test_a_clock_that_falls_between_two_runs_is_a_fall(latency_record: Make) -> None:
    host = latency_record([[1], [2]], host={"vitals": [_vitals((5, 100, 5)), _vitals((5, 50, 5))]}).host
    found = spoiled(host)
    assert found is not None
    assert found[0] is Reason.CLOCK_FELL


def test_power_mode_that_is_asked_for_must_be_told(latency_record: Make) -> None:
    right = latency_record([[1]], host={"vitals": [_vitals(power_mode_before="15W", power_mode_after="15W")]})
    assert power_mode(right.host) == "15W"
    assert spoiled(right.host, "15W") is None
    found = spoiled(right.host, "25W")
    assert found == (Reason.POWER_MODE, "its power mode is 15W, the SLA asks for 25W")
    for unknown in ([], [_vitals()]):
        found = spoiled(latency_record([[1]], host={"vitals": unknown}).host, "15W")
        assert found == (Reason.POWER_MODE, "its power mode is unknown, the SLA asks for 15W")
    assert differences(right, latency_record([[1]])) == ["power mode: 15W and unknown"]


def test_throttling_between_before_and_after_is_seen_by_the_side_process(latency_record: Make) -> None:
    hot = _vitals(ticks=[{"at_s": 0.0, "throttled": "0x0"}, {"at_s": 1.0, "throttled": "0x6"}])
    phone = _vitals(ticks=[{"at_s": 0.0, "thermal_status": 2}])
    for before, after in (("0x0", "0x0"), (None, None)):
        facts = {"throttled_before": before, "throttled_after": after}
        assert throttling(latency_record([[1]], host={**facts, "vitals": [hot]}).host) == (
            "it reported frequency capped, throttled"
        )
        assert throttling(latency_record([[1]], host={**facts, "vitals": [phone]}).host) == (
            "it reported thermal status moderate"
        )


def test_what_a_record_says_itself_is_not_said_again(latency_record: Make) -> None:
    assert cautions([latency_record([[1], [2]], warnings=["load: the load was 2.00 on 4 cores"])]) == []
