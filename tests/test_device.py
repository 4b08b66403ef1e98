"""A device profile is refused, with its line, unless every number in it is possible and has a source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.device import DeviceProfile, load_profile, profile_names
from edgekd.errors import InputError, ProfileError

URL = "https://example.org/datasheet.pdf"
GOOD = f"""\
name: my-board
title: My board
kind: module
isa: aarch64
clusters:
  - core: Cortex-X4
    count: {{value: 1, source: {URL}}}
    clock: {{value: "3 GHz", source: {URL}}}
    macs_per_cycle:
      fp32: {{value: 16, source: {URL}, derived: four FMLA}}
  - core: Cortex-A720
    count: {{value: 2, source: {URL}}}
    macs_per_s:
      fp32: {{value: "20 GMAC/s", source: "measured 2026-11-22: a gemm of size 512"}}
  - core: Cortex-A520
    count: {{value: 4, source: {URL}}}
features: {{value: [neon, dotprod], source: {URL}}}
memory:
  sizes:
    - {{value: "8 GiB", source: {URL}}}
    - {{value: "512 MB", source: {URL}}}
  bandwidth: {{value: "17.1 GB/s", source: {URL}}}
  core_bandwidth: {{value: "9 GB/s", source: {URL}}}
sensors:
  - {{name: cpu, kind: temperature, path: /sys/class/thermal/thermal_zone0/temp, unit: mdegC, source: {URL}}}
"""


def profile_from(tmp_path: Path, text: str) -> DeviceProfile:
    path = tmp_path / "board.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(str(path))


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


def test_user_profile_gives_si_numbers(tmp_path: Path) -> None:
    profile = profile_from(tmp_path, GOOD)
    assert profile.cores == 7
    assert profile.precisions == ("fp32",)
    assert profile.clusters[0].clock_hz == 3e9
    assert profile.clusters[2].clock_hz is None
    assert profile.memory_bytes == 512_000_000
    assert profile.memory_bandwidth_bytes_per_s == 17_100_000_000
    assert profile.core_bandwidth_bytes_per_s == 9_000_000_000


def test_peak_adds_the_fastest_cores_and_ends_where_a_core_is_not_documented(tmp_path: Path) -> None:
    profile = profile_from(tmp_path, GOOD)
    assert [profile.peak_macs_per_s("fp32", threads) for threads in (1, 2, 3, 4, 99)] == [48e9, 68e9, 88e9, None, None]
    assert profile.peak_macs_per_s("int8") is None


def test_more_threads_than_cores_give_the_peak_of_all_cores(tmp_path: Path) -> None:
    tail = GOOD[GOOD.index("  - core: Cortex-A520") : GOOD.index("features:")]
    assert profile_from(tmp_path, changed(tail, "")).peak_macs_per_s("fp32", 99) == 88e9


def test_peak_refuses_an_unknown_precision_and_no_thread(tmp_path: Path) -> None:
    profile = profile_from(tmp_path, GOOD)
    with pytest.raises(InputError, match=r"'fp8', expected one of fp16, fp32, int8"):
        profile.peak_macs_per_s("fp8")
    with pytest.raises(InputError, match="threads is 0"):
        profile.peak_macs_per_s("fp32", 0)


def test_sources_name_every_fact_with_its_path(tmp_path: Path) -> None:
    facts = {path: (value, source) for path, value, source in profile_from(tmp_path, GOOD).sources()}
    assert facts["clusters.0.clock"] == (3e9, URL)
    assert facts["clusters.1.macs_per_s.fp32"] == (20e9, "measured 2026-11-22: a gemm of size 512")
    assert facts["memory.sizes.1"] == (512_000_000, URL)
    assert facts["features"] == (["neon", "dotprod"], URL)
    assert facts["sensors.0"] == ("cpu", URL)
    assert len(facts) == 12


def test_unknown_name_lists_the_profiles_and_guesses() -> None:
    with pytest.raises(ProfileError, match=r"raspberry-pi-4.*Did you mean 'raspberry-pi-5'\?"):
        load_profile("rasberry-pi-5")


def test_missing_file_and_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_profile(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="this is a folder"):
        load_profile(str(tmp_path))


def test_profile_is_frozen() -> None:
    profile = load_profile("raspberry-pi-5")
    with pytest.raises(ValueError, match="frozen"):
        profile.title = "another"  # type: ignore[misc]


CLOCK = 'clock: {value: "3 GHz", source: ' + URL + "}"
COUNT = "count: {value: 1, source: " + URL + "}"
FP32 = "fp32: {value: 16, source: " + URL + ", derived: four FMLA}"
BANDWIDTH = 'bandwidth: {value: "17.1 GB/s", source: ' + URL + "}"
SENSOR_PATH = "path: /sys/class/thermal/thermal_zone0/temp, "
DUPLICATE = "  - core: Cortex-A520\n    count: {value: 4, source: " + URL + "}\n"
WRONG = {
    "a bare number": (COUNT, "count: 4", 7, "found 4 without a source"),
    "a bare quantity": (CLOCK, 'clock: "3 GHz"', 8, "found '3 GHz' without a source"),
    "no source": (CLOCK, 'clock: {value: "3 GHz"}', 8, "the key 'source' is missing in clusters.0.clock"),
    "no value": (CLOCK, "clock: {source: " + URL + "}", 8, "the key 'value' is missing"),
    "an empty source": (COUNT, 'count: {value: 1, source: ""}', 7, "expected the address of a document"),
    "a vague source": (COUNT, "count: {value: 1, source: the data sheet}", 7, "expected the address of a document"),
    "a file as source": (COUNT, "count: {value: 1, source: file:///tmp/x}", 7, "expected the address"),
    "a measurement without date": (COUNT, 'count: {value: 1, source: "measured: so"}', 7, "'measured YYYY-MM-DD: how'"),
    "an impossible date": (COUNT, 'count: {value: 1, source: "measured 2026-02-30: so"}', 7, "'measured YYYY-MM-DD"),
    "a measurement without how": (COUNT, 'count: {value: 1, source: "measured 2026-02-03"}', 7, "YYYY-MM-DD: how"),
    "an unknown key": (COUNT, COUNT + "\n    clok: 3", 8, "unknown key 'clok'.*Did you mean 'clock'"),
    "an unknown key in a fact": (COUNT, COUNT[:-1] + ", urls: x}", 7, "unknown key 'urls'"),
    "an unknown precision": (FP32, FP32.replace("fp32", "fp64"), 10, "fp64"),
    "a wrong unit": (CLOCK, CLOCK.replace("3 GHz", "3 GB"), 8, "found '3 GB', expected a number with one of the units"),
    "no unit": (CLOCK, CLOCK.replace('"3 GHz"', "3000000000"), 8, "units Hz, kHz, MHz, GHz"),
    "zero": (CLOCK, CLOCK.replace("3 GHz", "0 GHz"), 8, "greater than 0"),
    "a negative clock": (CLOCK, CLOCK.replace("3 GHz", "-3 GHz"), 8, "found '-3 GHz'"),
    "a negative count": (COUNT, COUNT.replace("1", "-1", 1), 7, "found -1"),
    "half a core": (COUNT, COUNT.replace("1", "1.5", 1), 7, "found 1.5"),
    "a truth value as count": (COUNT, COUNT.replace("1", "true", 1), 7, "found True"),
    "a negative rate": (FP32, FP32.replace("16", "-16"), 10, "greater than 0"),
    "an exponent without point": (FP32, FP32.replace("16", "1e9"), 10, r"write it with a point|Write it with a point"),
    "a date that YAML would read": (COUNT, "count: {value: 1, source: 2026-11-22}", 7, "reads as a date"),
    "an anchor": (COUNT, "count: &n {value: 1, source: " + URL + "}", 7, "anchor"),
    "bytes where bytes per second belong": (BANDWIDTH, BANDWIDTH.replace("GB/s", "GB"), 22, "bytes per second"),
    "an unknown unit per second": (BANDWIDTH, BANDWIDTH.replace("GB/s", "Gb/s"), 22, "the unit 'Gb'"),
    "an x86 feature on Arm": ("neon, dotprod", "neon, avx2", 1, "'avx2', which aarch64 has not"),
    "a misspelt feature": ("neon, dotprod", "neon, dotprd", 1, "Did you mean 'dotprod'"),
    "a feature twice": ("neon, dotprod", "neon, neon", 1, "the feature 'neon' stands 2 times"),
    "a cluster twice": (DUPLICATE, DUPLICATE * 2, 1, "the cluster 'Cortex-A520 at None' stands 2 times"),
    "the slow cluster first": (FP32, FP32.replace("16", "1"), 1, "write the fastest cluster first"),
    "an unknown isa": ("isa: aarch64", "isa: riscv64", 4, "riscv64"),
    "an unknown kind": ("kind: module", "kind: toaster", 3, "toaster"),
    "a name with blanks": ("name: my-board", "name: My Board", 1, "My Board"),
    "a sensor nobody can read": (SENSOR_PATH, "", 25, "either a path or a command"),
    "a sensor that climbs out of sys": (SENSOR_PATH, "path: /sys/../etc/shadow, ", 25, "/etc/shadow"),
    "a sensor outside sys and proc": (SENSOR_PATH, "path: /etc/shadow, ", 25, "/etc/shadow"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_profile_is_refused_with_its_line(what: str, tmp_path: Path) -> None:
    old, new, line, message = WRONG[what]
    with pytest.raises(ProfileError, match=message) as caught:
        profile_from(tmp_path, changed(old, new))
    assert f"board.yaml:{line}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_profile_without_clusters_is_refused(tmp_path: Path) -> None:
    head, rest = GOOD.split("clusters:\n")
    with pytest.raises(ProfileError, match=r"board\.yaml:5: clusters"):
        profile_from(tmp_path, head + "clusters: []\n" + rest[rest.index("features:") :])


def test_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="is empty"):
        profile_from(tmp_path, "# nothing\n")


def test_names_are_sorted_and_need_no_heavy_module() -> None:
    assert profile_names() == sorted(profile_names())
    heavy = {"torch", "transformers", "onnx", "onnxruntime", "numpy"}
    script = f"import edgekd.device, sys; edgekd.device.load_profile('jetson-nano'); print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "set()"


def test_installed_package_reads_the_profiles_inside_itself(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    shutil.copytree(root / "edgekd", tmp_path / "edgekd", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "edgekd" / "device_profiles", tmp_path / "device_profiles"):
        folder.mkdir(exist_ok=True)
    shutil.copy(root / "device_profiles" / "jetson-nano.yaml", tmp_path / "edgekd" / "device_profiles")
    script = "from edgekd.device import *; print(profile_names(), load_profile('jetson-nano').cores)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "['jetson-nano'] 4"
