from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edgekd.bench.agent.facts import field, lasting_facts, temperature_c
from tests.lab.dress import DRESSES, TOOLS, write_dress

JETSON = TOOLS / "jetson-orin-nano"


@pytest.fixture(params=list(DRESSES))
def dress(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_dress(request.param, tmp_path / request.param)
    return tmp_path / request.param


def test_agent_finds_in_every_dress_what_it_looks_for(dress: Path) -> None:
    found = lasting_facts(f"{dress}/")
    assert found["governor"] == "ondemand"
    assert found["clock_hz"] > 10**9
    heat = temperature_c(f"{dress}/")
    assert heat is not None
    assert 30 < heat < 60
    assert int((field((dress / "meminfo").read_text(), "MemTotal") or "").split()[0]) > 7_000_000


def test_processor_is_an_arm_one_whose_cores_agree_with_sysfs(dress: Path) -> None:
    blocks = (dress / "cpuinfo").read_text().split("\n\n")
    cores = [block for block in blocks if block.startswith("processor")]
    for number, core in enumerate(cores):
        assert field(core, "processor") == str(number)
        assert field(core, "CPU implementer") == "0x41"
        assert "asimd" in (field(core, "Features") or "")
    system = dress / "sys/devices/system/cpu"
    assert (system / "present").read_text().strip() == f"0-{len(cores) - 1}"
    shared = [
        cpu for policy in (system / "cpufreq").iterdir() for cpu in (policy / "affected_cpus").read_text().split()
    ]
    assert sorted(map(int, shared)) == list(range(len(cores)))


def test_boards_name_themselves_and_the_phone_does_not(tmp_path: Path) -> None:
    models = {}
    for name in DRESSES:
        write_dress(name, tmp_path / name)
        models[name] = lasting_facts(f"{tmp_path / name}/")["cpu"]
    assert models["raspberry-pi-5"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert models["jetson-orin-nano"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert models["pixel-6"] is None


def test_dress_is_made_anew(tmp_path: Path) -> None:
    write_dress("raspberry-pi-5", tmp_path / "dress")
    zone = tmp_path / "dress/sys/class/thermal/thermal_zone0/temp"
    zone.write_text("99000\n")
    write_dress("raspberry-pi-5", tmp_path / "dress")
    assert zone.read_text() == "48312\n"


def test_stand_in_for_trtexec_replays_a_log_and_says_so(tmp_path: Path) -> None:
    model, times, engine = tmp_path / "m.onnx", tmp_path / "times.json", tmp_path / "m.plan"
    model.write_bytes(b"x")
    argv = [JETSON / "trtexec", f"--onnx={model}", f"--saveEngine={engine}", f"--exportTimes={times}", "--fp16"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0
    assert lines[0].startswith("&&&& RUNNING TensorRT.trtexec [TensorRT v")
    assert lines[-1].startswith("&&&& PASSED TensorRT.trtexec")
    assert any("nothing was measured" in line for line in lines)
    trace = json.loads(times.read_text())
    medians = sorted(one["latencyMs"] for one in trace)
    assert f"median = {(medians[99] + medians[100]) / 2:g} ms" in next(line for line in lines if "] Latency: " in line)
    for one in trace:
        assert one["endComputeMs"] - one["startComputeMs"] == pytest.approx(one["computeMs"], abs=0.01)
        assert one["h2dMs"] + one["computeMs"] + one["d2hMs"] == pytest.approx(one["latencyMs"], abs=0.01)
    assert engine.exists()


def test_stand_in_for_trtexec_fails_without_a_model(tmp_path: Path) -> None:
    ended = subprocess.run([JETSON / "trtexec", "--onnx=absent"], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1].startswith("&&&& FAILED TensorRT.trtexec")


def test_stand_in_for_nvpmodel_knows_its_modes() -> None:
    ended = subprocess.run([JETSON / "nvpmodel", "-q"], capture_output=True, text=True, timeout=30)
    assert ended.stdout == "NV Power Mode: 15W\n0\n"
    assert subprocess.run([JETSON / "nvpmodel", "-m", "9"], capture_output=True, timeout=30).returncode == 1
