from __future__ import annotations

import time
from pathlib import Path

from edgekd.files import read_json
from edgekd.trials.meter import Meter


def test_time_goes_on_where_it_stood(tmp_path: Path) -> None:
    first = Meter.at(tmp_path / "used.json", "one", 100.0)
    first.started_s -= 30
    first.save()
    again = Meter.at(tmp_path / "used.json", "one", 100.0)
    assert 30 <= again.used_s < 31
    assert 69 < again.left_s <= 70
    assert not again.over
    assert Meter.at(tmp_path / "used.json", "one", 30.0).over
    assert read_json(tmp_path / "used.json")["study"] == "one"


def test_another_study_begins_at_nothing(tmp_path: Path) -> None:
    first = Meter.at(tmp_path / "used.json", "one", 100.0)
    first.started_s -= 30
    first.save()
    assert Meter.at(tmp_path / "used.json", "two", 100.0).used_s < 1


def test_the_share_is_at_most_the_whole(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "used.json", "one", 0.01)
    time.sleep(0.02)
    assert meter.share == 1
    assert meter.over


def test_a_restart_forgets_the_call_and_not_what_was_before(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "used.json", "one", 100.0, before_s=5.0)
    meter.started_s -= 30
    meter.restart()
    assert 5 <= meter.used_s < 6
