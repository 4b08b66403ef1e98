"""What a board says of itself, on staged boards, and with runtimes that really die."""

from __future__ import annotations

import base64
import fcntl
import json
import sys
from pathlib import Path

import onnx
import pytest
from staged_boards import PI_CPUINFO, stage, tool

from edgekd.bench.agent import probe
from edgekd.bench.agent.board_lock import LOCK

CPU = "sys/devices/system/cpu"


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_clusters_are_equal_cores_together_the_fastest_first(tmp_path: Path) -> None:
    files: dict[str, object] = {"proc/cpuinfo": PI_CPUINFO, f"{CPU}/present": "0-2"}
    files |= {f"{CPU}/cpu{core}/cpufreq/cpuinfo_max_freq": hertz for core, hertz in ((0, 2400000), (1, 1800000))}
    files |= {f"{CPU}/cpu0/cpu_capacity": 1024, f"{CPU}/cpu1/cpu_capacity": 400}
    assert probe.clusters(stage(tmp_path, files)) == [
        {"core": "Cortex-A76", "cpus": [0], "clock_hz": 2_400_000_000, "capacity": 1024},
        {"core": "Cortex-A55", "cpus": [1], "clock_hz": 1_800_000_000, "capacity": 400},
        {"core": None, "cpus": [2], "clock_hz": None, "capacity": None},
    ]
    assert probe.common_features(f"{tmp_path}/") == ["neon"]


def test_a_jetson_tells_its_release_and_a_phone_its_properties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "getprop", "echo '[ro.product.model]: [Pixel 8]'; echo '[persist.secret]: [x]'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    release = 'PRETTY_NAME="Ubuntu 22.04"\nID=ubuntu\nID_LIKE=debian\n'
    found = probe.system(
        stage(tmp_path, {"etc/os-release": release, "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3"})
    )
    assert (found["l4t"], found["distribution"], found["family"]) == ("36.4.3", "Ubuntu 22.04", "ubuntu debian")
    assert found["android"] == {"ro.product.model": "Pixel 8"}


def test_an_empty_board_is_unknown_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path))
    monkeypatch.setattr(probe, "TRIES", {})
    found = probe.probed()
    assert (found["hardware"]["model"], found["hardware"]["clusters"], found["hardware"]["features"]) == (
        None,
        [],
        None,
    )
    assert (found["system"]["l4t"], found["system"]["android"], found["trtexec"]) == (None, None, None)
    sensors = found["sensors"]
    assert {name for name, value in sensors.items() if value} == set()


def test_this_machines_runtimes_do_their_work() -> None:
    for name in ("numpy", "onnxruntime"):
        found = probe.tried(name)
        assert (found["state"], found["said"]) == ("fine", None)
        assert found["version"]
    assert "CPUExecutionProvider" in found["providers"]


def test_the_little_model_is_what_it_is_said_to_be() -> None:
    model = onnx.load_model_from_string(base64.b64decode(probe.PRODUCT))
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
DIES_AT_WORK = f"__version__ = '1'\ndef get_available_providers(): return []\ndef InferenceSession(*a, **k):\n    {DIES.replace(chr(10), '; ')}\n"


@pytest.mark.parametrize(
    ("source", "state", "said"),
    [
        (DIES, "killed", "SIGILL"),
        (DIES_AT_WORK, "killed", "SIGILL"),
        ("raise ImportError('libfoo.so.1: wrong ELF class')", "failed", "ImportError: libfoo.so.1: wrong ELF class"),
        ("import sys; sys.exit(3)", "failed", None),
        ("print('{}'); import os; os._exit(0)", "fine", None),
    ],
)
def test_a_runtime_of_another_processor_is_named_by_how_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, state: str, said: str | None
) -> None:
    """Real processes that really die; the parent goes on."""
    folder = tmp_path / "modules" / "onnxruntime"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/modules")
    found = probe.tried("onnxruntime")
    assert (found["state"], found["said"], found["version"]) == (state, said, None)


def test_a_runtime_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TRIES", {"numpy": "import time; time.sleep(60)"})
    monkeypatch.setattr(probe, "TRY_TIMEOUT_S", 0.2)
    assert probe.tried("numpy")["state"] == "hung"


def test_a_module_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.tried("no_such_runtime") == {"state": "missing", "version": None, "providers": [], "said": None}


def test_a_lock_that_is_held_is_seen_and_left_alone(tmp_path: Path) -> None:
    assert probe.lock_state() == "free"
    with Path(LOCK).open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert probe.lock_state() == "held"
    assert probe.lock_state() == "free"


def test_the_answer_is_json_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zones = {
        f"sys/class/thermal/thermal_zone{n}/{k}": v
        for n in range(100)
        for k, v in (("type", "x" * 9999), ("temp", 1000))
    }
    many = "".join(f"processor: {n}\nmodel name: {'y' * 9999}{n}\n\n" for n in range(40))
    root = stage(tmp_path, {**zones, "proc/cpuinfo": many, "sys/firmware/devicetree/base/model": "\x1b[2J" * 9999})
    monkeypatch.setenv("EDGEKD_SYSROOT", root)
    monkeypatch.setattr(probe, "TRIES", {})
    text = json.dumps(probe.probed())
    assert len(text) < 1 << 17
    assert sys.getsizeof(text) < 1 << 18
