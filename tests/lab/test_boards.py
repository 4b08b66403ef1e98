"""Emulated boards: a real aarch64 userland with a real onnxruntime, reached over SSH."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekd.hosts.base import Host
from edgekd.hosts.open import open_host
from tests.lab import sshd
from tests.lab.boards import KINDS, PREFIX
from tests.lab.lab import Lab
from tests.lab.sshd import Board

pytestmark = pytest.mark.timeout(900)  # the first one builds the userland

SEQUENCE = 16
# The logits for fixed inputs, from whatever processor runs it.
ANSWER = f"""
import json, platform, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
ids = (numpy.arange({SEQUENCE}, dtype=numpy.int64) * 7 % 500)[None]
feeds = {{"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}}
logits = session.run(None, feeds)[0].tolist()
print(json.dumps([platform.machine(), onnxruntime.__version__, logits]))
"""


@contextmanager
def opened(board: Board, tmp_path: Path) -> Iterator[Host]:
    known = board.known_hosts(tmp_path / "known")
    with open_host(board.url, key=board.key, known_hosts=known) as host:
        yield host


def said(host: Host, script: str) -> str:
    done = host.run(["sh", "-c", script], timeout_s=60)
    assert done.exit_status == 0, done
    return done.stdout


def test_raspberry_pi_answers_as_this_machine_does_and_goes_without_a_trace(
    emulated_lab: Lab, tmp_path: Path, tiny_model: Path
) -> None:
    """With the emulator's default processor int8 answers are wrong, and over this machine's cpuinfo it crashes."""
    board = emulated_lab.up("pi5")
    with opened(board, tmp_path) as host:
        host.put(tiny_model, "model.onnx")
        done = host.run([host.python, "-c", ANSWER], timeout_s=120)
        assert done.exit_status == 0, done.stderr
        machine, version, logits = json.loads(done.stdout)
        assert said(host, "tr -d '\\0' < /sys/firmware/devicetree/base/model") == "Raspberry Pi 5 Model B Rev 1.0"
        assert said(host, "vcgencmd measure_temp; vcgencmd get_throttled") == "temp=48.3'C\nthrottled=0x0\n"
        heat_up(board, "82100", throttled="50005")
        assert said(host, "vcgencmd measure_temp; vcgencmd get_throttled") == "temp=82.1'C\nthrottled=0x50005\n"
    assert (machine, version) == ("aarch64", onnxruntime.__version__)
    ids = (np.arange(SEQUENCE, dtype=np.int64) * 7 % 500)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    here = onnxruntime.InferenceSession(str(tiny_model), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
    np.testing.assert_allclose(logits, here, atol=1e-4)
    pid = json.loads((board.folder / "state.json").read_text())["pid"]
    inside = sshd.descendants(pid)
    assert inside
    emulated_lab.down("pi5")
    assert not any(sshd.is_alive(one) for one in {pid, *inside})
    assert str(board.folder) not in Path("/proc/self/mounts").read_text()


def heat_up(board: Board, millidegrees: str, *, throttled: str) -> None:
    """What a test changes in the dress is on the running board at once."""
    sys = board.folder / "dress/sys"
    (sys / "class/thermal/thermal_zone0/temp").write_text(millidegrees + "\n")
    (sys / "devices/platform/soc/soc:firmware/get_throttled").write_text(throttled + "\n")


def test_jetson_has_its_tools_and_rails(emulated_lab: Lab, tmp_path: Path) -> None:
    with opened(emulated_lab.up("jetson"), tmp_path) as host:
        assert said(host, "uname -m; uname -r") == "aarch64\n5.15.148-tegra\n"
        assert said(host, "nvpmodel -q") == "NV Power Mode: 15W\n0\n"
        assert host.run(["nvpmodel", "-m", "2"], timeout_s=60).exit_status == 255  # needs root there
        line = said(host, "tegrastats --interval 200 | head -1")
        assert "GR3D_FREQ 0%@[305]" in line
        assert "VDD_IN 4544mW/4544mW VDD_CPU_GPU_CV 528mW/528mW VDD_SOC 1460mW/1460mW" in line
        rails = said(host, "cat /sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon*/in1_label")
        assert rails == "VDD_IN\n"
        host.write("model.onnx", b"x")
        assert "&&&& PASSED" in said(host, "/usr/src/tensorrt/bin/trtexec --onnx=model.onnx")
        assert said(host, "nproc --all; grep -c ^processor /proc/cpuinfo").split()[1] == "6"


def test_termux_has_no_tmp_no_usr_and_a_busybox_for_a_shell(emulated_lab: Lab, tmp_path: Path) -> None:
    # Its usual port may be another lab's.
    with opened(emulated_lab.up("termux", port=sshd.free_port()), tmp_path) as host:
        assert said(host, "echo $PREFIX; readlink $PREFIX/bin/sh; id -u; getprop ro.product.model").split("\n") == [
            PREFIX, "/system/bin/busybox", "10123", "Pixel 6", "",
        ]  # fmt: skip
        for absent in ("/tmp", "/usr", "/usr/bin/env", "/bin/bash"):
            assert host.run(["test", "-e", absent], timeout_s=60).exit_status == 1, absent
        assert host.run(["bash", "-c", "true"], timeout_s=60).exit_status == 127
        # What edgekd does on any board works there, too.
        local = tmp_path / "local"
        local.write_bytes(b"content" * 20_000)
        assert host.put(local, "blobs/a") is True
        assert host.put(local, "blobs/a") is False
        assert host.read("blobs/a", max_bytes=140_000) == local.read_bytes()
        host.remove("blobs")
        done = host.run(
            [host.python, "-c", "import sys, platform; print(sys.prefix, platform.machine())"], timeout_s=60
        )
        assert done.stdout == f"{PREFIX} aarch64\n"


def test_termux_listens_where_the_real_one_does() -> None:
    assert KINDS["termux"].port == 8022
