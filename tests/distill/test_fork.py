from typing import Any

import pytest

from edgekd.distill.fork import judged
from edgekd.distill.settings import EpochRecord


def record(epoch: int, accuracy: float, loss: float, error: float, chance: float = 0.0) -> Any:
    return EpochRecord(epoch, epoch, 1.0, loss, accuracy, 0.9, 1e-3, error, chance)


BEFORE = record(4, 0.9, 0.3, 0.05)


@pytest.mark.parametrize(
    ("after", "kept", "reason"),
    [
        (record(5, 0.91, 0.3, 0.06), True, "better"),  # exactly 1.2 times the error
        (record(5, 0.91, 0.3, 0.0601), False, "worse_calibrated"),
        (record(5, 0.91, 0.3, 0.0601, chance=0.07), True, "better"),  # no more than chance
        (record(5, 0.91, 0.3, 0.08, chance=0.07), False, "worse_calibrated"),
        (record(5, 0.91, 0.9, 0.01), True, "better"),  # accuracy comes first
        (record(5, 0.9, 0.29, 0.05), True, "better"),
        (record(5, 0.9, 0.3, 0.01), False, "no_better"),  # as good: the earlier one stays
        (record(5, 0.9, 0.31, 0.01), False, "no_better"),
        (record(5, 0.89, 0.1, 0.5), False, "no_better"),
    ],
)
def test_a_fork_is_kept_when_it_is_better_and_hardly_less_calibrated(after: Any, kept: bool, reason: str) -> None:
    found = judged(BEFORE, after)
    assert (found.epoch, found.kept, found.reason) == (5, kept, reason)


def test_the_record_says_what_was_compared() -> None:
    found = judged(BEFORE, record(5, 0.91, 0.3, 0.08, chance=0.07))
    assert (found.calibration_error_before, found.calibration_error) == (0.05, 0.08)
    assert found.most_calibration_error == 0.07
    assert judged(BEFORE, record(5, 0.91, 0.3, 0.08)).most_calibration_error == pytest.approx(0.06)


def test_after_a_perfect_calibration_chance_alone_is_allowed() -> None:
    perfect = record(4, 0.9, 0.3, 0.0)
    assert judged(perfect, record(5, 0.91, 0.3, 0.01, chance=0.02)).kept
    assert not judged(perfect, record(5, 0.91, 0.3, 0.03, chance=0.02)).kept
