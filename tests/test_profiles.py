"""The committed device profiles: each loads, and each number in them says where it comes from."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgekd.device import ARM_FEATURES, PRECISIONS, X86_FEATURES, load_profile, profile_names

FOLDER = Path(__file__).parents[1] / "device_profiles"
FILES = sorted(FOLDER.iterdir())
NAMES = [path.stem for path in FILES]
REQUIRED = {
    "raspberry-pi-zero-2w", "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5",
    "jetson-nano", "jetson-orin-nano-super", "jetson-orin-nx", "jetson-agx-orin", "jetson-agx-thor",
    "pixel-8", "galaxy-s24", "mid-range-phone", "generic-x86-64", "generic-aarch64",
}  # fmt: skip


def numbers_without_source(item: Any, path: str = "") -> list[str]:
    """Paths of numbers, or texts that begin with one and a unit, that no enclosing table gives a source."""
    if isinstance(item, dict):
        if "source" in item:
            return []
        return [found for key, value in item.items() for found in numbers_without_source(value, f"{path}.{key}")]
    if isinstance(item, list):
        return [found for index, value in enumerate(item) for found in numbers_without_source(value, f"{path}.{index}")]
    is_number = isinstance(item, int | float) and not isinstance(item, bool)
    is_quantity = isinstance(item, str) and re.fullmatch(r"[\d.]+ ?\S{1,6}", item) and not path.endswith(".name")
    return [path] if is_number or is_quantity else []


def test_every_required_profile_is_there_and_nothing_but_profiles() -> None:
    assert set(NAMES) >= REQUIRED
    assert {path.suffix for path in FILES} == {".yaml"}
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_profile_loads_and_is_called_like_its_file(name: str) -> None:
    assert load_profile(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_profile_begins_with_a_comment_on_what_the_board_is(name: str) -> None:
    first = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# \S.{20,}\.", first)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_in_the_file_stands_beside_a_source(name: str) -> None:
    raw = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    notes = raw.pop("notes", [])
    assert notes, "a profile says what it leaves out, and why"
    assert numbers_without_source(raw) == []


def test_check_for_numbers_without_source_finds_them() -> None:
    raw = {"a": {"value": 4, "source": "x"}, "b": 4, "c": [{"clock": "2.4 GHz"}], "d": {"name": "5W"}}
    assert numbers_without_source(raw) == [".b", ".c.0.clock"]


@pytest.mark.parametrize("name", NAMES)
def test_every_source_is_an_address_or_a_dated_measurement(name: str) -> None:
    facts = list(load_profile(name).sources())
    assert facts
    for path, _, source in facts:
        dated = re.match(r"measured (\d{4}-\d{2}-\d{2}): .{20,}", source)
        assert source.startswith("https://") or (dated and date.fromisoformat(dated[1])), path


@pytest.mark.parametrize("name", NAMES)
def test_every_rate_per_cycle_says_how_it_was_derived(name: str) -> None:
    for cluster in load_profile(name).clusters:
        for fact in cluster.macs_per_cycle.values():
            assert fact.derived, cluster.core


@pytest.mark.parametrize("name", NAMES)
def test_features_belong_to_the_isa_and_agree_with_the_peaks(name: str) -> None:
    profile = load_profile(name)
    features = set(profile.features.value) if profile.features else set()
    assert features <= (ARM_FEATURES if profile.isa == "aarch64" else X86_FEATURES)
    if profile.isa == "aarch64":
        assert "neon" in features
        assert ("fp16" in profile.precisions) == ("fp16" in features)
    rates = {p: profile.peak_macs_per_s(p) for p in PRECISIONS}
    if rates["fp32"] and rates["int8"] and profile.isa == "aarch64":
        factor = 8 if "i8mm" in features else 4 if "dotprod" in features else 2
        assert rates["int8"] == factor * rates["fp32"]


@pytest.mark.parametrize("name", NAMES)
def test_clusters_sum_to_the_cores_and_peaks_grow_with_threads(name: str) -> None:
    profile = load_profile(name)
    assert sum(cluster.count.value for cluster in profile.clusters) == profile.cores
    for precision in profile.precisions:
        peaks = [profile.peak_macs_per_s(precision, threads) for threads in range(1, profile.cores + 2)]
        known = [peak for peak in peaks if peak is not None]
        assert peaks[: len(known)] == known, "a peak is known up to a number of threads, and from there on not"
        assert known == sorted(known)
        if len(known) == len(peaks):
            assert peaks[-1] == peaks[-2]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("raspberry-pi")])
def test_raspberry_pi_reads_all_bits_of_get_throttled(name: str) -> None:
    sensors = {sensor.name: sensor for sensor in load_profile(name).sensors}
    assert sensors["throttled"].command == ["vcgencmd", "get_throttled"]
    assert set(sensors["throttled"].meanings) == {"0", "1", "2", "3", "16", "17", "18", "19"}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("jetson")])
def test_jetson_asks_for_its_power_mode(name: str) -> None:
    commands = [sensor.command for sensor in load_profile(name).sensors if sensor.kind == "power-mode"]
    assert commands == [["nvpmodel", "-q"]]


@pytest.mark.parametrize("name", ["pixel-8", "galaxy-s24", "mid-range-phone"])
def test_phone_knows_the_seven_thermal_states_of_android(name: str) -> None:
    status = next(sensor for sensor in load_profile(name).sensors if sensor.name == "thermal-status")
    assert list(status.meanings) == [str(code) for code in range(7)]


def test_super_profile_keeps_the_mode_before_super_with_its_lower_bandwidth() -> None:
    profile = load_profile("jetson-orin-nano-super")
    modes = {mode.name: mode for mode in profile.power_modes}
    before = modes["15W"].bandwidth
    assert before is not None
    assert before.value == 68e9
    assert profile.memory_bandwidth_bytes_per_s == 102e9


def test_peaks_of_the_raspberry_pi_5_are_those_its_maker_and_benchmarks_give() -> None:
    profile = load_profile("raspberry-pi-5")
    assert profile.peak_macs_per_s("fp32") == pytest.approx(38.37e9 / 2, rel=0.01)
    assert profile.peak_macs_per_s("int8", threads=4) == pytest.approx(614e9 / 2, rel=0.01)
    assert profile.memory_bandwidth_bytes_per_s == 17e9
    assert profile.memory_bytes == 2**30


def test_generic_arm_machine_claims_no_number_but_one_core() -> None:
    profile = load_profile("generic-aarch64")
    assert profile.precisions == ()
    assert profile.memory_bytes is None
    assert profile.memory_bandwidth_bytes_per_s is None
