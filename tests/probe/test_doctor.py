"""Every trouble of a board has a check with its own mend, and only what keeps it from measuring is missing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from staged_boards import pi_facts, stage

from edgekd.errors import EXIT_INFRASTRUCTURE, EXIT_PASS, HostError, HostTimeout
from edgekd.hosts.base import Completed
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.probe.doctor import Check, examine, lines

URL = "ssh://pi@pi5.lan"
PYTHON = Answer(0, stdout=b"Python 3.11.2\n")


def _board(facts: dict[str, Any], left: Sequence[str] = ()) -> FakeHost:
    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "--version":
            return PYTHON
        table = {"left": list(left)} if argv[2] == "restore" else facts
        return Answer(files={argv[3]: json.dumps({**table, "format": 1}).encode()})

    return FakeHost(respond=respond)


def _checks(**changed: Any) -> tuple[int, dict[str, Check]]:
    diagnosis = examine(_board(pi_facts(**changed)), URL)
    return diagnosis.exit_code, {check.name: check for check in diagnosis.checks}


def _runtime(state: str, said: str | None = None) -> dict[str, Any]:
    return {"onnxruntime": {"state": state, "version": None, "providers": [], "said": said}}


def test_a_board_that_is_ready_is_fine_in_everything() -> None:
    diagnosis = examine(_board(pi_facts()), URL)
    assert diagnosis.exit_code == EXIT_PASS
    assert {check.state for check in diagnosis.checks} == {"fine"}
    assert {check.mend for check in diagnosis.checks} == {""}
    assert lines(diagnosis)[-1] == "it can measure"


@pytest.mark.parametrize(
    ("changed", "name", "state", "found", "mend"),
    [
        ({"runtimes": _runtime("missing")}, "onnxruntime", "missing", "onnxruntime is missing",
         f"edgekd devices provision {URL} --wheels FOLDER, or on the board: /usr/bin/python3 -m pip install onnxruntime"),
        ({"runtimes": _runtime("killed", "SIGILL")}, "onnxruntime", "missing", "killed by SIGILL", "instructions that this processor lacks"),
        ({"runtimes": _runtime("missing"), "python": {"libc": "musl"}}, "onnxruntime", "missing", "missing", "no wheels for musl"),
        ({"runtimes": _runtime("missing"), "python": {"bits": 32}}, "onnxruntime", "missing", "missing", "64-bit system"),
        ({"workspace": {"disk_free_bytes": 10**6}}, "disk", "advice", "1.00 MB free", "rm -rf /home/pi/.edgekd/blobs"),
        ({"workspace": {"disk_free_bytes": 0}}, "disk", "missing", "0 B free", "rm -rf"),
        ({"hardware": {"memory_available_bytes": 10**6}}, "memory", "advice", "1.00 MB available", "ps aux"),
        ({"hardware": {"memory_available_bytes": None}}, "memory", "advice", "unknown", ""),
        ({"workspace": {"lock": "held"}}, "lock", "missing", "another measurement", "fuser -v /home/pi/.edgekd/lock"),
        ({"workspace": {"lock": "unknown"}}, "lock", "advice", "knows no locks", ""),
        ({"system": {"unix_s": time.time() - 3600}}, "clock", "advice", "behind", "timedatectl set-ntp true"),
        ({"sensors": {"governors": ["ondemand"]}}, "governor", "advice", "ondemand", "sudo tee /sys/devices/system/cpu"),
        ({"sensors": {"governors": ["ondemand"], "may_tune": True}}, "governor", "advice", "ondemand", "edgekd bench --tune"),
        ({"sensors": {"governors": []}}, "governor", "advice", "cannot be read", ""),
        ({"sensors": {"temperature_c": None, "zones": []}}, "temperature", "advice", "no thermal zones", ""),
        ({"sensors": {"temperature_c": None, "zones": [{"kind": "x", "temperature_c": None}]}}, "temperature", "advice",
         "cannot be read", "chmod a+r /sys/class/thermal"),
        ({"sensors": {"throttled": None}}, "throttling", "advice", "does not answer", "usermod -aG video"),
        ({"sensors": {"throttled": "0x50000"}}, "throttling", "advice", "0x50000", "restart it"),
        ({"sensors": {"throttled": None, "has_vcgencmd": False, "thermal_status": 2}}, "throttling", "advice", "2", "cool"),
        ({"sensors": {"throttled": None, "has_vcgencmd": False}}, "throttling", "advice", "unknown", ""),
        ({"sensors": {"has_nvpmodel": True}}, "power mode", "advice", "does not answer", "nvpmodel -q"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_check_and_its_mend(changed: Any, name: str, state: str, found: str, mend: str) -> None:
    code, checks = _checks(**changed)
    assert code == (EXIT_INFRASTRUCTURE if state == "missing" else EXIT_PASS)
    assert [check.name for check in checks.values() if check.state != "fine"] == [name]
    assert checks[name].state == state
    assert found in checks[name].found
    assert mend in checks[name].mend


def test_what_a_cut_measurement_left_tuned_is_put_back_unless_one_runs() -> None:
    left = pi_facts(workspace={"left_tuned": True})
    board = _board(left)
    checks = {check.name: check for check in examine(board, URL).checks}
    assert (checks["tuning"].state, checks["tuning"].found) == (
        "fine",
        "what a cut measurement left tuned was put back",
    )
    checks = {check.name: check for check in examine(_board(left, ["policy0\x1b"]), URL).checks}
    assert checks["tuning"].state == "advice"
    assert "policy0\\x1b" in checks["tuning"].found
    busy = _board(pi_facts(workspace={"left_tuned": True, "lock": "held"}))
    examine(busy, URL)
    assert [argv for argv in busy.runs if "restore" in argv] == []


def test_a_board_without_python_is_told_so_and_asked_no_more() -> None:
    host = FakeHost()
    diagnosis = examine(host, URL)
    assert diagnosis.exit_code == EXIT_INFRASTRUCTURE
    assert [(check.name, check.state) for check in diagnosis.checks] == [("python", "missing"), ("files", "fine")]
    assert diagnosis.checks[0].found == "has no python3"
    assert "apt-get install -y python3" in diagnosis.checks[0].mend
    assert "1 of 2 checks" in lines(diagnosis)[-1]
    assert [argv[1] for argv in host.runs] == ["--version"]


def test_a_board_that_takes_no_files_is_told_what_to_install() -> None:
    class NoSftp(FakeHost):
        def write(self, remote: str, data: bytes) -> None:
            raise HostError(f"{self.name}: offers no SFTP. Install it there: openssh-sftp-server")

    diagnosis = examine(NoSftp({("python3", "--version"): PYTHON}), URL)
    assert [(check.name, check.state) for check in diagnosis.checks] == [("python", "fine"), ("files", "missing")]
    assert "openssh-sftp-server" in diagnosis.checks[1].mend


def test_a_link_that_breaks_is_no_trouble_of_the_board() -> None:
    class Gone(FakeHost):
        def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
            raise HostTimeout("fake: did not answer")

    with pytest.raises(HostTimeout):
        examine(Gone(), URL)


def test_a_runtime_of_another_processor_is_named_on_a_real_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process that dies of SIGILL when it imports onnxruntime, seen through the whole way."""
    dies = f"import os\nos.kill(os.getpid(), {int(signal.SIGILL)})\n"
    stage(tmp_path, {"modules/onnxruntime/__init__.py": dies})
    script = f'#!/bin/sh\nPYTHONPATH={shlex.quote(f"{tmp_path}/modules")} exec {shlex.quote(sys.executable)} "$@"\n'
    (tmp_path / "python").write_text(script)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with LocalHost(tmp_path / "work", python=str(tmp_path / "python")) as host:
        diagnosis = examine(host, "local")
    found = {check.name: check for check in diagnosis.checks}
    assert diagnosis.exit_code == EXIT_INFRASTRUCTURE
    assert (found["onnxruntime"].state, found["onnxruntime"].found) == ("missing", "onnxruntime is killed by SIGILL")
    assert found["numpy"].state == "fine"
