from __future__ import annotations

from typing import Any

import pytest

from edgekd.bench.health import WARNINGS, code_of, host_warnings, warnings_for, was_throttled
from edgekd.record import HostFacts, ProcessRun

FINE = {
    "name": "board",
    "machine": "aarch64",
    "system": "Linux",
    "python": "3.11",
    "cores": 4,
    "governor": "performance",
    "load_before": 0.1,
    "temperature_c_before": 40.0,
    "temperature_c_after": 50.0,
    "throttled_before": "0x0",
    "throttled_after": "0x0",
}
MODES = {"power_mode_before": "15W", "power_mode_after": "25W"}


def _watched(*ticks: dict[str, Any], **changed: Any) -> list[dict[str, Any]]:
    return [{"cores": [0], "ticks": [{"at_s": float(at), **tick} for at, tick in enumerate(ticks)], **changed}]


SLOWER = [{"clock_hz": hertz} for hertz in (9, 100, 50, 100, 9)]
GOVERNORS = [{"governor": "performance"}, {"governor": "\x1b[2J"}]


def _codes(samples: list[int] | None = None, **changed: Any) -> list[str]:
    run = ProcessRun(load_ns=1, first_ns=1, warmup_ns=[], samples_ns=samples or [100] * 30)
    found = warnings_for(HostFacts(**{**FINE, **changed}), [run], min_samples=30)
    return [code_of(warning) for warning in found]


def test_quiet_board_and_steady_run_give_no_warning() -> None:
    assert _codes() == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"governor": "powersave"}, "governor"),
        ({"governor": None}, "governor"),
        ({"load_before": 1.1}, "load"),
        ({"throttled_after": "0x50005"}, "throttled"),
        ({"vitals": _watched({}, {"throttled": "0x4"}, {})}, "throttled"),
        ({"vitals": _watched({}, {"thermal_status": 1}, {})}, "throttled"),
        ({"vitals": _watched(*SLOWER)}, "clock"),
        ({"vitals": _watched(*GOVERNORS)}, "governor-changed"),
        ({"vitals": _watched({}, suspended_s=0.2)}, "suspended"),
        ({"vitals": _watched({}, **MODES)}, "power-mode-changed"),
        ({"tuned": []}, "tune"),
        ({"temperature_c_after": None}, "temperature"),
        ({"temperature_c_before": None, "temperature_c_after": None}, "temperature"),
        ({"governor": None, "temperature_c_before": None, "temperature_c_after": None}, "unknown"),
        ({"samples": [100] * 29}, "short"),
        ({"samples": [100] * 10 + [102] * 10 + [104] * 10}, "drift"),
        ({"samples": [104] * 10 + [102] * 10 + [100] * 10}, "drift"),
    ],
)
def test_each_trouble_has_its_own_warning(changed: dict[str, Any], code: str) -> None:
    assert _codes(**changed) == [code]


def test_drift_below_the_limit_is_no_warning() -> None:
    assert _codes(samples=[1000] * 10 + [1010] * 10 + [1029] * 10) == []


def test_every_warning_ends_with_its_remedy() -> None:
    run = ProcessRun(load_ns=1, first_ns=1, warmup_ns=[], samples_ns=[1, 1, 1, 2, 2, 2, 3, 3, 3])
    troubled = {
        **FINE,
        "governor": "\x1b[2J",
        "load_before": 9.0,
        "throttled_after": "0xf",
        "temperature_c_after": None,
        "vitals": _watched(*SLOWER, *GOVERNORS, suspended_s=3.0, **MODES),
        "tuned": [],
    }
    found = warnings_for(HostFacts(**troubled), [run], min_samples=10)
    assert [code_of(warning) for warning in found] == [code for code, remedy in WARNINGS.items() if remedy]
    assert all(warning.endswith(f"{WARNINGS[code_of(warning)]}.") for warning in found)
    assert not any("\x1b" in warning for warning in found)


def test_host_that_tells_neither_governor_nor_temperature_gets_one_short_note() -> None:
    silent = {**FINE, "governor": None, "temperature_c_before": None, "temperature_c_after": None}
    assert host_warnings(HostFacts(**silent)) == ["unknown: governor and temperature are unknown on this host."]
    half = {**silent, "temperature_c_before": 40.0}
    assert [code_of(warning) for warning in host_warnings(HostFacts(**half))] == ["governor", "temperature"]


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        ("0x0", "0x0", False),
        ("0x50000", "0x50000", False),
        ("0x0", "0x40000", True),
        ("0x50000", "0x50004", True),
        ("0x4", "0x0", True),
        ("3 throttle events", "3 throttle events", False),
        ("3 throttle events", "4 throttle events", True),
        (None, "0xf", False),
    ],
)
def test_throttling_is_what_happened_in_between(before: str | None, after: str, throttled: bool) -> None:
    assert was_throttled(before, after) is throttled
