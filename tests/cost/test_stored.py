"""Calibrations on disk: what was stored comes back, and what cannot be one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.cost.calibrate import ONE, Sample, fit
from edgekd.cost.stored import (
    Calibration,
    LeftOut,
    SentinelLevel,
    SizeSensitivity,
    read_calibrations,
    with_calibration,
    write_calibrations,
)
from edgekd.errors import InputError, RecordError
from edgekd.record import HostFacts, Runtime

FIT = fit([Sample(str(x), {"macs": float(x)}, 1.0 + x) for x in range(1, 12)], (ONE, "macs"))


def calibration(**changed: Any) -> Calibration:
    table: dict[str, Any] = {
        "architecture": "bert", "precision": "fp32", "batch": 1, "threads": 1, "sequences": [64],
        "measured": "2026-11-25",
        "host": HostFacts(name="board", machine="aarch64", system="Linux", python="3.11", cores=4),
        "runtime": Runtime(name="onnxruntime", version="1", providers=["CPUExecutionProvider"], threads=1),
        "quiet_sentinel_s": 3e-4, "quiet_error": 0.01, "sensitivity": 0.5, "latency": FIT.to_dict(), "memory": None,
        "left_out": LeftOut(students=11, within_10=1.0, within_5=0.9, median_error=0.01, covered=0.9),
        "records": "visits/x", "notes": [],
    }  # fmt: skip
    return Calibration(**(table | changed))


def test_what_was_stored_comes_back(tmp_path: Path) -> None:
    both = [calibration(), calibration(precision="int8", memory=FIT.to_dict())]
    write_calibrations(both, tmp_path / "c.json")
    assert read_calibrations(tmp_path / "c.json") == both
    assert both[0].latency_fit == FIT
    assert (both[0].memory_fit, both[1].memory_fit) == (None, FIT)


def test_a_newer_calibration_of_the_same_kind_takes_the_place_of_the_older() -> None:
    old, other, new = calibration(), calibration(threads=2), calibration(measured="2026-11-26")
    assert with_calibration([old, other], [new]) == [new, other]


def test_energy_is_stored_with_its_rail_and_older_files_know_none(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    energy = fit([Sample(str(x), {"latency_s": float(x), "macs": 1.0}, 5.0 * x) for x in range(1, 12)], ("latency_s",))
    write_calibrations([calibration(energy=energy.to_dict(), rail="VDD_IN")], path)
    (found,) = read_calibrations(path)
    assert (found.energy_fit, found.rail) == (energy, "VDD_IN")
    table = json.loads(path.read_text())
    for name in ("energy", "rail", "energy_left_out"):
        del table["calibrations"][0][name]
    path.write_text(json.dumps(table | {"schema_version": "1.1"}))
    assert read_calibrations(path)[0].energy_fit is None
    table["calibrations"][0]["energy"] = energy.to_dict() | {"half_width": -1}
    path.write_text(json.dumps(table))
    with pytest.raises(RecordError, match="half_width"):
        read_calibrations(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"kind": "sizing"}, "is no calibration file"),
        ({"schema_version": "9.0"}, "this edgekd reads 1.2"),
        ({"calibrations": [{}]}, "architecture"),
        ({"calibrations": None}, "calibrations"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_way_out(damage: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_calibrations([calibration()], path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(RecordError, match=said) as caught:
        read_calibrations(path)
    assert str(path) in str(caught.value)


def test_impossible_prices_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(InputError, match="no such file"):
        read_calibrations(path)
    write_calibrations([calibration()], path)
    table = json.loads(path.read_text())
    table["calibrations"][0]["latency"]["prices"]["macs"] = -1
    path.write_text(json.dumps(table))
    with pytest.raises(RecordError, match="not negative"):
        read_calibrations(path)


def test_a_file_from_before_levels_were_kept_is_read(tmp_path: Path) -> None:
    path, level = tmp_path / "c.json", SentinelLevel(low=-8.2, rise=0.3, middle=-5.0, floor=-8.2)
    write_calibrations([calibration(level=level)], path)
    assert read_calibrations(path)[0].level == level
    table = json.loads(path.read_text())
    del table["calibrations"][0]["level"]
    path.write_text(json.dumps(table | {"schema_version": "1.0"}))
    assert read_calibrations(path) == [calibration()]


def test_sensitivities_by_size_come_back_and_files_from_before_have_none(tmp_path: Path) -> None:
    sizes = [SizeSensitivity(log_s=-7.0, power=0.4), SizeSensitivity(log_s=-5.0, power=1.3)]
    level = SentinelLevel(low=-8.2, rise=0.3, middle=-5.0, floor=-8.2, by_size=sizes)
    path = tmp_path / "c.json"
    write_calibrations([calibration(level=level)], path)
    table = json.loads(path.read_text())
    assert table["schema_version"] == "1.2"
    assert read_calibrations(path)[0].level == level
    del table["calibrations"][0]["level"]["by_size"]
    path.write_text(json.dumps(table | {"schema_version": "1.1"}))
    before = read_calibrations(path)[0].level
    assert before is not None
    assert before == SentinelLevel(low=-8.2, rise=0.3, middle=-5.0, floor=-8.2)
