"""A board beside its profile: what they say differently, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from staged_boards import pi_facts

from edgekd.device import load_profile
from edgekd.probe.compare import Difference, differences, runtime_text
from edgekd.probe.facts import facts_from_json

PI = load_profile("raspberry-pi-5")


def _found(device: str = "raspberry-pi-5", **changed: Any) -> list[Difference]:
    return differences(load_profile(device), facts_from_json(pi_facts(**changed), "fake"))


def _cluster(**changed: Any) -> dict[str, Any]:
    return {"core": "Cortex-A76", "cpus": [0, 1, 2, 3], "clock_hz": 2_400_000_000, "capacity": None, **changed}


def test_a_board_of_its_kind_differs_in_nothing() -> None:
    assert _found() == []


@pytest.mark.parametrize(
    ("changed", "what", "profile", "board"),
    [
        ({"hardware": {"machine": "armv7l"}}, "instruction set", "aarch64", "armv7l"),
        ({"hardware": {"clusters": [_cluster(cpus=[0])]}}, "cores", "4", "1"),
        ({"hardware": {"clusters": [_cluster(core="Cortex-A72")]}}, "kinds of core", "Cortex-A76", "Cortex-A72"),
        ({"hardware": {"clusters": [_cluster(clock_hz=1_500_000_000)]}}, "highest clock", "2400 MHz", "1500 MHz"),
        ({"hardware": {"features": ["neon"]}}, "features", "dotprod, fp16, neon", "neon"),
        ({"runtimes": {"onnxruntime": {"state": "killed", "version": None, "providers": [], "said": "SIGILL"}}},
         "onnxruntime", "published for it", "killed by SIGILL"),
        ({"runtimes": {"onnxruntime": {"state": "fine", "version": "1", "providers": ["X\x1b"], "said": None}}},
         "onnxruntime providers", "CPUExecutionProvider", "X\\x1b"),
        ({"sensors": {"throttled": None}}, "sensor of throttle", "can be read", "does not tell it"),
    ],
)  # fmt: skip
def test_each_difference_says_what_either_says(changed: Any, what: str, profile: str, board: str) -> None:
    assert _found(**changed) == [Difference(what, profile, board)]


def test_memory_may_miss_what_the_kernel_keeps_and_no_more() -> None:
    (found,) = _found(hardware={"memory_bytes": 5 * 10**9})
    assert (found.what, found.board) == ("memory", "5.00 GB")
    assert found.profile.startswith("1.07 GB or 2.15 GB or ")
    assert _found(hardware={"memory_bytes": int(0.95 * 2**32)}) == []


def test_what_a_board_does_not_tell_is_no_difference() -> None:
    silent = _cluster(core=None, clock_hz=None)
    assert _found(hardware={"clusters": [silent], "features": None, "memory_bytes": None}) == []
    assert [one.what for one in _found(hardware={"clusters": []})] == []


def test_a_power_mode_that_the_profile_does_not_name_is_a_difference() -> None:
    found = _found("jetson-orin-nano-super", sensors={"power_mode": "10W"})
    assert [(one.profile, one.board) for one in found if one.what == "power mode"] == [
        ("MAXN_SUPER or 25W or 15W or 7W", "10W")
    ]
    assert "power mode" not in [one.what for one in _found("jetson-orin-nano-super", sensors={"power_mode": "15W"})]
    assert "tensorrt" in [one.what for one in found]


def test_a_board_may_have_more_than_a_generic_profile_counts_on() -> None:
    generic = load_profile("generic-aarch64")
    assert generic.kind == "generic"
    found = _found("generic-aarch64", hardware={"features": ["bf16", "dotprod", "fp16", "i8mm", "neon"]})
    assert "features" not in [one.what for one in found]
    assert "kinds of core" not in [one.what for one in found]


@pytest.mark.parametrize(
    ("state", "said", "text"),
    [("missing", None, "missing"), ("killed", "SIGILL", "killed by SIGILL"), ("failed", "a\nb", "failed (a b)")],
)
def test_how_a_runtime_did_is_said_in_one_line(state: str, said: str | None, text: str) -> None:
    assert runtime_text(state, said) == text
