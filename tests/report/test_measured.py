"""Records by artifact, and how two artifacts compare in words."""

import pytest

from edgekd.report.measured import measured, points_text, rise_text, share_text, speed_text
from edgekd.report.run import RunFolder


def test_a_record_given_twice_counts_once(whole: RunFolder) -> None:
    once, twice = measured(whole.latency), measured([*whole.latency, *whole.latency])
    assert [found.samples_ns for found in twice] == [found.samples_ns for found in once]


def test_an_unknown_peak_makes_the_peak_unknown(whole: RunFolder) -> None:
    record = whole.latency[0]
    blind = record.model_copy(update={"runs": [record.runs[0].model_copy(update={"peak_memory_bytes": None})]})
    assert measured([record])[0].peak_memory_bytes is not None
    assert measured([blind])[0].peak_memory_bytes is None


def test_an_artifact_without_latency_has_no_quantile(whole: RunFolder) -> None:
    found = measured(whole.accuracy)
    assert all(each.quantile_s(0.5) is None and each.answers is not None for each in found)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "3.4x faster"), (3.4, "as fast"), (3.42, "as fast"), (6.8, "2.0x slower")]
)
def test_speed_is_said_against_the_reference(value: float, text: str) -> None:
    assert speed_text(value, 3.4) == text


def test_shares_and_points() -> None:
    assert share_text(28, 100) == "28 %"
    assert share_text(1, 35) == "2.9 %"
    assert points_text(0.9744, 0.98) == "-0.56 points"
    assert points_text(0.98, 0.9744) == "+0.56 points"
    assert points_text(0.98, 0.98) == "equal"


def test_a_rise_is_said_in_percent() -> None:
    assert [rise_text(value, 20.0) for value in (21.0, 20.0, 15.0)] == ["+5.0 %", "+0.0 %", "-25.0 %"]
