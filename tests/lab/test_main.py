"""scripts/lab as a person uses it: up, what it prints, and down; with an emulated board to the record of a model."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edgekd.cost.stored import read_calibrations
from edgekd.device import load_profile
from edgekd.record import LatencyRecord, read_record
from edgekd.students.build import build
from tests.lab.lab import FOLDER_VARIABLE, ROOT, TREES_VARIABLE, Lab
from tests.lab.model import SPEC

# Students so small that the emulator, a hundred times slower than this machine, is done with them in seconds.
SMALL = """
name: small
task: text-classification
teacher: {{model: {teacher}}}
data: {{source: none.csv, max_length: 32}}
space: {{layers: [1, 2], hidden: [16, 32, 48, 64], ffn_ratio: [1.0, 2.0]}}
device: raspberry-pi-5
sla: {{latency: {{p50: 1 s}}}}
"""
pytestmark = pytest.mark.timeout(900)  # the first emulated board builds the userland


def scripts_lab(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return commanded(lab, sys.executable, "-m", "tests.lab", *words)


def commanded(lab: Lab, *argv: str) -> subprocess.CompletedProcess[str]:
    places = {FOLDER_VARIABLE: str(lab.folder), TREES_VARIABLE: str(lab.trees), "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, capture_output=True, text=True, timeout=800, cwd=ROOT, env={**os.environ, **places})


def suggested(text: str) -> list[list[str]]:
    """The commands of edgekd that `up` printed, word by word."""
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("edgekd ")]


def test_private_server_from_up_to_down(lab: Lab) -> None:
    up = scripts_lab(lab, "up", "sshd")
    assert up.returncode == 0, up.stderr
    trust, bench = suggested(up.stdout)
    assert commanded(lab, sys.executable, "-m", "edgekd", *trust).returncode == 0
    model = Path(bench[1])
    assert model.stat().st_size > 100_000
    listed = scripts_lab(lab, "list").stdout
    assert f"ssh://{os.environ.get('USER', '')}" in listed or "ssh://root@" in listed
    assert scripts_lab(lab, "up", "sshd").stdout == up.stdout
    down = scripts_lab(lab, "down", "all")
    assert down.stdout.splitlines()[0] == "sshd: ended"
    assert "sshd    down" in scripts_lab(lab, "list").stdout


def test_wrong_port_ends_as_edgekd_does(lab: Lab) -> None:
    lab.up("sshd")
    ended = scripts_lab(lab, "up", "sshd", "--port", "1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("scripts/lab: sshd runs on port ")


def trusted_pi(lab: Lab) -> list[str]:
    """Board and model, as the words of the bench that `up pi5` suggests; its key is trusted by what it suggests, too."""
    up = scripts_lab(lab, "up", "pi5")
    assert up.returncode == 0, up.stderr
    trust, bench = suggested(up.stdout)
    trusted = commanded(lab, sys.executable, "-m", "edgekd", *trust)
    assert trusted.returncode == 0, trusted.stderr
    return bench


def test_emulated_board_from_up_to_the_record_of_a_real_model(emulated_lab: Lab, tiny_model: Path) -> None:
    """The commands that `up pi5` prints, as they stand: trust, then a tiny int8 model by the real onnxruntime there."""
    emulated_lab.folder.mkdir()
    shutil.copy(tiny_model, emulated_lab.folder)  # where up finds it, and need not make it again
    bench = trusted_pi(emulated_lab)
    # The last option of a name counts; fewer samples say as much here.
    quick = ("--processes", "1", "--samples", "5", "--duration", "100 ms", "--warmup", "50 ms")
    ran = commanded(emulated_lab, sys.executable, "-m", "edgekd", *bench, *quick)
    assert ran.returncode == 0, ran.stderr
    (path,) = (emulated_lab.folder / "records").glob("*.json")
    record = read_record(path)
    assert isinstance(record, LatencyRecord)
    assert (record.host.machine, record.host.cpu) == ("aarch64", "Raspberry Pi 5 Model B Rev 1.0")
    assert (record.host.cores, record.host.governor, record.host.throttled_after) == (4, "ondemand", "0x0")
    assert record.host.temperature_c_before == pytest.approx(48.312)
    assert record.runtime.version == onnxruntime.__version__
    assert [len(run.samples_ns) >= 5 for run in record.runs] == [True]
    assert scripts_lab(emulated_lab, "down", "pi5").stdout == "pi5: ended\n"


def test_emulated_board_is_calibrated_by_students_that_ran_there(emulated_lab: Lab, tiny_model: Path) -> None:
    """Prices of a Raspberry Pi dress are those of the emulator, so their size says nothing: that they exist does."""
    emulated_lab.folder.mkdir()
    shutil.copy(tiny_model, emulated_lab.folder)
    bench = trusted_pi(emulated_lab)
    build(SPEC, seed=0).save_pretrained(emulated_lab.folder / "teacher")
    recipe = emulated_lab.folder / "small.yaml"
    recipe.write_text(SMALL.format(teacher=emulated_lab.folder / "teacher"))
    reach = {name: bench[bench.index(name) + 1] for name in ("--host", "--key", "--known-hosts")}
    folder = emulated_lab.folder / "calibrated"
    words = [reach.pop("--host"), "--device", "raspberry-pi-5", "--like", str(recipe), "--precision", "fp32"]
    words += ["--students", "8", "--budget", "10 s", "--out", str(folder)]
    words += [word for pair in reach.items() for word in pair]
    ran = commanded(emulated_lab, sys.executable, "-m", "edgekd", "devices", "calibrate", *words)
    assert ran.returncode == 0, ran.stderr
    (found,) = read_calibrations(folder / "calibration.json")
    assert (found.host.machine, found.host.cpu) == ("aarch64", "Raspberry Pi 5 Model B Rev 1.0")
    assert (found.runtime.version, found.left_out.students) == (onnxruntime.__version__, 8)
    assert found.quiet_sentinel_s > 0
    assert len({path.name.split(".")[0] for path in (folder / found.records).glob("*.json")}) == 8
    assert load_profile(str(folder / "profile.yaml")).calibration is not None
