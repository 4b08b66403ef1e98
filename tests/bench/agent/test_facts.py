from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.bench.agent import facts as agent


def _root(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/"


def test_facts_are_read_from_the_files_of_the_system(tmp_path: Path) -> None:
    root = _root(
        tmp_path,
        {
            "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/meminfo": "MemTotal:        8245000 kB\nMemFree: 1 kB\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
            "proc/sys/kernel/random/boot_id": "abc\n",
        },
    )
    found = agent.lasting_facts(root)
    assert found["cpu"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["memory_bytes"] == 8245000 * 1024
    assert (found["governor"], found["clock_hz"], found["boot_id"]) == ("ondemand", 2_400_000_000, "abc")


def test_facts_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    root = _root(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>"})
    found = {**agent.lasting_facts(root), "temperature_c": agent.temperature_c(root)}
    for name in ("cpu", "memory_bytes", "governor", "clock_hz", "boot_id", "temperature_c"):
        assert found[name] is None, name


def test_temperature_is_the_hottest_zone_of_the_processor(tmp_path: Path) -> None:
    zones = {"cpu-thermal": "51200", "soc-thermal": "53000", "battery": "60000", "gpu": "0", "pkg": "9999999"}
    files = {}
    for number, (kind, milli) in enumerate(zones.items()):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{milli}\n"
    assert agent.temperature_c(_root(tmp_path, files)) == 53.0


@pytest.mark.parametrize(
    ("said", "found"), [("throttled=0x50005", "0x50005"), ("VCHI initialization failed", None), ("", None)]
)
def test_throttling_is_asked_from_the_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str | None
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert agent.throttled("/") == found


def test_throttle_events_of_a_processor_are_counted_where_there_is_no_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = _root(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n"})
    assert agent.throttled(root) == "7 throttle events"
    assert agent.throttled(f"{tmp_path}/absent/") is None
