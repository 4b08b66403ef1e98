"""What a board said about throttling, and which records may be set side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.gate.conditions import cautions, differences, throttling

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


def test_what_a_record_says_itself_is_not_said_again(latency_record: Make) -> None:
    assert cautions([latency_record([[1], [2]], warnings=["load: the load was 2.00 on 4 cores"])]) == []
