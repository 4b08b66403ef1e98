"""A drafted profile loads, whatever the board called itself, and every number in it names the board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged_boards import pi_facts

from edgekd.config import source_from_text, validated
from edgekd.device import DeviceProfile, load_profile
from edgekd.errors import HostError
from edgekd.probe.compare import differences
from edgekd.probe.draft import draft_text
from edgekd.probe.facts import facts_from_json

DAY = "2026-02-03"


def _draft(**changed: Any) -> DeviceProfile:
    text = draft_text(facts_from_json(pi_facts(**changed), "fake"), "pi@pi5.lan:22", DAY)
    return validated(source_from_text(text, "draft"), DeviceProfile)


def test_a_draft_holds_what_the_board_said_and_where_it_comes_from(tmp_path: Path) -> None:
    facts = facts_from_json(pi_facts(), "fake")
    (tmp_path / "pi.yaml").write_text(draft_text(facts, "pi@pi5.lan:22", DAY))
    profile = load_profile(str(tmp_path / "pi.yaml"))
    assert (profile.name, profile.title) == ("raspberry-pi-5-model-b-rev-1-0", "Raspberry Pi 5 Model B Rev 1.0")
    assert (profile.cores, profile.clusters[0].clock_hz, profile.memory_bytes) == (4, 2.4e9, 8254000 * 1024)
    assert {source for _, _, source in profile.sources()} == {f"probed {DAY} pi@pi5.lan:22"}
    assert [sensor.name for sensor in profile.sensors] == ["temperatures", "cpu-clock", "throttled"]
    assert profile.peak_macs_per_s("fp32") is None
    assert differences(profile, facts) == []


def test_clusters_of_one_kind_and_clock_are_one() -> None:
    """A Jetson has two clusters of the same cores, of which the kernel may give another capacity."""
    one = {"core": "Cortex-A78AE", "clock_hz": 1_510_400_000}
    clusters = [{**one, "cpus": [0, 1, 2, 3], "capacity": 1024}, {**one, "cpus": [4, 5], "capacity": 400}]
    profile = _draft(hardware={"clusters": clusters}, sensors={"power_mode": "15W", "rails": ["VDD_IN"]})
    assert [(cluster.core, cluster.count.value) for cluster in profile.clusters] == [("Cortex-A78AE", 6)]
    assert [mode.name for mode in profile.power_modes] == ["15W"]
    assert "power is measured on the rails VDD_IN" in profile.notes


def test_a_phone_is_a_phone() -> None:
    android = {"android": {"ro.product.model": "Pixel 8"}}
    profile = _draft(hardware={"model": None}, system=android, sensors={"thermal_status": 0})
    assert (profile.name, profile.title, profile.kind) == ("pixel-8", "Pixel 8", "phone")
    assert "thermal-status" in [sensor.name for sensor in profile.sensors]
    assert any("ro.product.model Pixel 8" in note for note in profile.notes)


def test_a_board_that_says_next_to_nothing_still_gives_a_draft() -> None:
    silent = {"core": None, "cpus": [0], "clock_hz": None, "capacity": None}
    profile = _draft(hardware={"model": None, "clusters": [silent], "features": None, "memory_bytes": None})
    assert (profile.name, profile.clusters[0].core, profile.memory_bytes) == ("aarch64-board", "unknown core", None)


@pytest.mark.parametrize("hardware", [{"machine": "armv7l"}, {"machine": "riscv64"}, {"clusters": []}])
def test_a_processor_of_no_profile_is_an_error(hardware: dict[str, Any]) -> None:
    with pytest.raises(HostError, match="a profile is of an aarch64 or x86_64 processor"):
        _draft(hardware=hardware)


def test_features_of_another_processor_are_an_error_and_no_draft() -> None:
    with pytest.raises(HostError, match="no profile can be drafted from what it says"):
        _draft(hardware={"features": ["avx2"]})


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=30))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_name_of_a_board_gives_a_draft_that_loads(model: str, core: str, mode: str) -> None:
    cluster = {"core": core or None, "cpus": [0], "clock_hz": 1000, "capacity": None}
    changed = {"model": model or None, "clusters": [cluster]}
    try:
        profile = _draft(hardware=changed, sensors={"power_mode": mode or None, "rails": [mode]})
    except HostError as error:
        assert "no profile can be drafted" in str(error)
        return
    assert profile.cores == 1
