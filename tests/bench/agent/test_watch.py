"""The process beside the measurement: what it sees on staged boards, and that it ends however its starter ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from staged_boards import stage, tool

from edgekd.bench.agent import watch
from edgekd.vitals import Vitals

ROOT = str(Path(__file__).parents[3])
CPU = "sys/devices/system/cpu"


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A staged Jetson: two clusters, rails, and nvpmodel on the PATH."""
    tool(tmp_path / "bin", "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0")
    tool(tmp_path / "bin", "dumpsys", f"echo 'Thermal Status: 1'; : > {tmp_path}/asked")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    chip = "sys/class/hwmon/hwmon1"
    files: dict[str, object] = {
        f"{CPU}/cpu{core}/cpufreq/{name}": value
        for core, hertz in ((0, 1_510_400), (4, 729_600))
        for name, value in (("scaling_cur_freq", hertz), ("scaling_governor", "schedutil"))
    }
    files |= {
        f"{chip}/name": "ina3221", f"{chip}/in1_label": "VDD_IN", f"{chip}/in1_input": 5000, f"{chip}/curr1_input": 900,
        f"{chip}/in2_label": "VDD_SOC", f"{chip}/in2_input": 5000,
        "sys/class/hwmon/hwmon0/name": "other", "sys/class/hwmon/hwmon0/in1_label": "x",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": 46500,
        "proc/meminfo": "MemTotal: 8000 kB\nMemAvailable:   5000 kB",
        "proc/self/cgroup": "0::/user.slice/x.scope", "sys/fs/cgroup/user.slice/x.scope/memory.peak": 123456,
    }  # fmt: skip
    return stage(tmp_path / "root", files)


def test_a_look_holds_what_the_board_says(jetson: str) -> None:
    found = watch.tick(jetson, [0, 4], 1.5, android=True)
    load = found.pop("load")
    assert load is None or load >= 0
    assert found == {
        "at_s": 1.5,
        "clock_hz": 1_510_400_000,
        "governor": "schedutil",
        "temperature_c": 46.5,
        "throttled": None,
        "thermal_status": 1,
        "memory_available_bytes": 5000 * 1024,
        "rails_w": {"VDD_IN": 4.5},
    }
    assert watch.clock_hz(jetson, [4]) == 729_600_000
    assert watch.cgroup_peak_bytes(jetson) == 123456


def test_what_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = watch.tick(f"{tmp_path}/", [0], 0.0, android=True)
    assert {name: value for name, value in found.items() if value is not None and name != "load"} == {"at_s": 0.0}
    assert watch.mode_now() is None
    assert watch.cgroup_peak_bytes(f"{tmp_path}/") is None


def test_rails_of_the_older_driver_and_groups_of_the_older_kernel_are_read(tmp_path: Path) -> None:
    device = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    root = stage(
        tmp_path,
        {
            f"{device}/rail_name_0": "POM_5V_IN",
            f"{device}/in_power0_input": 2500,
            "proc/self/cgroup": "9:cpu,cpuacct:/a\n4:memory:/b",
            "sys/fs/cgroup/memory/b/memory.max_usage_in_bytes": 99,
        },
    )
    assert watch.rails_w(root) == {"POM_5V_IN": 2.5}
    assert watch.cgroup_peak_bytes(root) == 99


def test_what_happens_while_it_looks_is_in_the_trace(jetson: str, tmp_path: Path) -> None:
    """The board heats up, falls back and changes its governor; the first look and the last frame it."""
    running = watch.start(jetson)
    while not (tmp_path / "asked").exists():
        assert running is not None
        assert os.waitpid(running.pid, os.WNOHANG) == (0, 0)
    stage(Path(jetson), {f"{CPU}/cpu0/cpufreq/scaling_cur_freq": 800_000, f"{CPU}/cpu4/cpufreq/scaling_governor": "x"})
    host = watch.stop(running) or {}
    assert host["cores"] == watch.watched_cores()
    found = Vitals.model_validate(host)
    assert found.ticks[0].clock_hz == 1_510_400_000
    assert found.ticks[-1].clock_hz == 800_000_000
    assert (found.power_mode_before, found.power_mode_after, found.cgroup_peak_bytes) == ("15W", "15W", 123456)
    assert found.suspended_s == pytest.approx(0.0, abs=0.005)
    times = [tick.at_s for tick in found.ticks]
    assert times == sorted(times)


def test_it_stops_at_once_and_looks_at_most_once_a_second() -> None:
    begun = time.monotonic()
    host: dict[str, Any] = {}
    with watch.beside(host):
        pass
    assert time.monotonic() - begun < 5
    assert watch.PERIOD_S >= 1.0
    assert len(host["vitals"][0]["ticks"]) == 2


def test_a_failure_beside_it_passes_through_and_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host: dict[str, Any] = {}
    running = watch.start()
    assert running is not None
    monkeypatch.setattr(watch, "start", lambda root: running)
    with pytest.raises(ZeroDivisionError), watch.beside(host):
        raise ZeroDivisionError
    assert "vitals" not in host
    with pytest.raises(ChildProcessError):
        os.waitpid(running.pid, os.WNOHANG)  # already waited for


def test_a_side_process_that_died_leaves_unknown() -> None:
    running = watch.start()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    assert watch.stop(running) is None
    assert watch.stop(None) is None


def test_a_board_with_no_room_for_one_more_process_is_measured_unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    host: dict[str, Any] = {}
    with watch.beside(host):
        pass
    assert host == {"vitals": []}
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_ends_with_a_starter_that_is_killed() -> None:
    code = f"import sys; sys.path.insert(0, {ROOT!r})\nfrom edgekd.bench.agent import watch\n"
    code += "print(watch.start().pid, flush=True)\nimport time\ntime.sleep(60)\n"
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    handle = os.pidfd_open(pid)
    starter.kill()
    assert select.select([handle], [], [], 10)[0], "the side process outlived its starter"
    os.close(handle)
    starter.stdout.close()
    starter.wait()


def test_it_says_nothing_after_the_last_words_of_a_starter_that_ended() -> None:
    code = f"import sys; sys.path.insert(0, {ROOT!r})\nfrom edgekd.bench.agent import watch\nimport os\n"
    code += "watch.start()\nprint('no GPU', file=sys.stderr, flush=True)\nos.abort()"
    said = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=30, check=False)
    assert said.returncode == -signal.SIGABRT
    assert said.stderr == b"no GPU\n"  # run() reads until the side process, which holds the same stream, has ended too


def test_thinning_keeps_everything_bad() -> None:
    blank = dict.fromkeys(watch.tick("/nonexistent/", [], 0.0))
    first = {**blank, "at_s": 1.0, "clock_hz": 5, "governor": "a", "temperature_c": 80.0, "throttled": "0x1",
             "memory_available_bytes": 7, "rails_w": {"VDD_IN": 2.0}}  # fmt: skip
    last = {**blank, "at_s": 2.0, "clock_hz": 9, "governor": "b", "temperature_c": 60.0, "throttled": "0x4",
            "thermal_status": 2, "rails_w": {"VDD_IN": 4.0}}  # fmt: skip
    one, odd = watch.thinned([first, last, first])
    assert one == {**blank, "at_s": 2.0, "clock_hz": 5, "governor": "a+b", "temperature_c": 80.0, "throttled": "0x5",
                   "thermal_status": 2, "memory_available_bytes": 7, "rails_w": {"VDD_IN": 3.0}}  # fmt: skip
    assert odd == first
    assert watch.joined(first, blank | {"at_s": 3.0})["throttled"] == "0x1"


def test_the_trace_stays_short_however_long_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_TICKS", 4)
    from_parent, stop_end = os.pipe()
    looks = 0

    def counted(root: str, cores: list[int], at_s: float, *, android: bool = False) -> dict[str, Any]:
        nonlocal looks
        looks += 1
        if looks == 20:
            os.write(stop_end, b".")
        return {**dict.fromkeys(("clock_hz", "governor", "temperature_c", "throttled", "thermal_status", "load",
                                 "memory_available_bytes", "rails_w")), "at_s": at_s}  # fmt: skip

    monkeypatch.setattr(watch, "tick", counted)
    table = watch.watching("/", [0], from_parent, 0.0)
    os.close(from_parent)
    os.close(stop_end)
    assert looks == 21
    assert len(table["ticks"]) <= 6
    assert json.dumps(table)
