"""The program `edgekd` as users and pipelines call it: exit codes, streams and files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import typer
from onnx import TensorProto, helper

from edgekd import __version__
from edgekd.bench.detached import Interrupted
from edgekd.cli import guarded
from edgekd.device import profile_names
from edgekd.gate.files import read_verdict
from edgekd.hosts.known_hosts import read_known_hosts
from edgekd.record import AccuracyRecord, LatencyRecord, read_record, write_record

VERBS = ("run", "teacher", "size", "distill", "export", "bench", "gate", "compare", "report", "schema")
MS = 1_000_000
Edgekd = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def edgekd(tmp_path: Path) -> Edgekd:
    """Run the program in an empty folder, with a home of its own."""

    def call(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "edgekd", *map(str, argv)]
        around = {**os.environ, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.run(
            words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False, env={**around, **(env or {})}
        )

    return call


def _header(name: str, role: str = "student") -> dict[str, Any]:
    letter = "a" if role == "student" else "b"
    artifact = {"name": name, "sha256": letter * 64, "size_bytes": 1000, "precision": "fp32", "role": role}
    return {"artifact": artifact, "created_utc": "2026-01-01T00:00:00Z"}


def _latency(path: Path, samples_ms: Sequence[float], runs: int = 5, name: str = "student-a") -> Path:
    """A latency record whose runs hold `samples_ms`, spread by a few thousandths."""
    times = [int(value * MS) + index % 7 * 1000 for index, value in enumerate(samples_ms)]
    record = LatencyRecord.model_validate({
        "kind": "latency", **_header(name), "device": "raspberry-pi-5",
        "host": {"name": "board", "machine": "aarch64", "system": "Linux", "python": "3.11", "governor": "performance",
                 "throttled_before": "throttled=0x0", "throttled_after": "throttled=0x0"},
        "runtime": {"name": "onnxruntime", "version": "1.24", "providers": ["CPUExecutionProvider"], "threads": 1},
        "protocol": {"shapes": {"x": [1, 4]}, "processes": runs, "warmup_s": 1.0, "min_duration_s": 1.0,
                     "min_samples": 10},
        "runs": [{"load_ns": MS, "first_ns": MS, "warmup_ns": [MS], "samples_ns": times, "peak_memory_bytes": 10**7}
                 for _ in range(runs)],
    })  # fmt: skip
    write_record(record, path)
    return path


def _accuracy(path: Path, right: int) -> Path:
    runtime = {"name": "onnxruntime", "version": "1.24", "providers": ["CPUExecutionProvider"], "threads": 1}
    table = {
        "kind": "accuracy", **_header("student-a"), "dataset": "d", "split": "test", "dataset_sha256": "d" * 64,
        "runtime": runtime, "predictions": [1] * right + [0] * (100 - right), "labels": [1] * 100,
    }  # fmt: skip
    write_record(AccuracyRecord.model_validate(table), path)
    return path


@pytest.fixture
def sla(tmp_path: Path) -> Path:
    path = tmp_path / "sla.yaml"
    path.write_text("latency: {p50: 5 ms}\n")
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    _latency(tmp_path / "records" / "latency.json", [4.0] * 200)
    _accuracy(tmp_path / "records" / "accuracy.json", 90)
    return tmp_path / "records"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny real model: a product and a sum."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 3], [0.1] * 24)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weight],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


QUICK = ("--processes", "2", "--duration", "50 ms", "--warmup", "10 ms", "--samples", "20")


@pytest.mark.parametrize(
    "argv",
    [(), *((verb,) for verb in VERBS), ("devices",), *(("devices", verb) for verb in ("list", "show", "trust"))],
    ids=" ".join,
)
def test_every_verb_explains_itself(edgekd: Edgekd, argv: tuple[str, ...]) -> None:
    done = edgekd(*argv, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Usage: " in done.stdout
    if not argv:
        assert [verb for verb in (*VERBS, "devices") if f"\n  {verb}" not in done.stdout] == []


def test_the_version_is_the_packages(edgekd: Edgekd) -> None:
    done = edgekd("--version")
    assert (done.returncode, done.stdout) == (0, f"edgekd {__version__}\n")


def test_the_installed_program_is_the_same(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("edgekd")
    if not program.exists():
        pytest.skip("edgekd is not installed beside this Python")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.stdout == f"edgekd {__version__}\n"


@pytest.mark.parametrize(
    ("limits", "code", "word"),
    [
        ("latency: {p50: 5 ms}\naccuracy: 85 %\n", 0, "PASS"),
        ("latency: {p50: 3 ms}\n", 1, "FAIL"),
        ("accuracy: 95 %\n", 1, "FAIL"),
        ("latency: {p99.99: 5 ms}\n", 3, "INCONCLUSIVE"),
        ("accuracy_drop: 1 %\n", 3, "INCONCLUSIVE"),
    ],
)
def test_the_gate_answers_with_its_exit_code(
    edgekd: Edgekd, records: Path, sla: Path, limits: str, code: int, word: str
) -> None:
    sla.write_text(limits)
    done = edgekd("gate", records, "--sla", sla)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.startswith(word)
    assert done.stderr == ""


def test_the_gate_writes_the_files_that_were_asked_for(
    edgekd: Edgekd, records: Path, sla: Path, tmp_path: Path
) -> None:
    out, junit, summary = (tmp_path / name for name in ("v/verdict.json", "v/junit.xml", "summary.md"))
    summary.write_text("# before\n")
    done = edgekd(
        "gate", records, "--sla", sla, "--out", out, "--junit", junit, "--github",
        env={"GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_verdict(out).outcome == "pass"
    assert "<testsuite" in junit.read_text()
    assert summary.read_text().startswith("# before\n## ")
    sla.write_text("latency: {p50: 3 ms}\n")
    missed = edgekd("gate", records, "--sla", sla, "--github", env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert missed.returncode == 1
    assert [line for line in missed.stdout.splitlines() if line.startswith("::error")]


def test_two_records_are_compared_in_words(edgekd: Edgekd, tmp_path: Path) -> None:
    slow = _latency(tmp_path / "slow.json", [8.0] * 200)
    fast = _latency(tmp_path / "fast.json", [4.0] * 200)
    for pair, word in (((slow, fast), "faster"), ((fast, slow), "slower"), ((fast, fast), "no difference shown")):
        done = edgekd("compare", *pair)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(word)


@pytest.mark.parametrize("kind", ["recipe", "device", "sla"])
def test_a_schema_is_printed_as_json_alone(edgekd: Edgekd, kind: str) -> None:
    done = edgekd("schema", kind)
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == f"edgekd {kind}"


def test_every_device_is_listed_and_shown_with_sources(edgekd: Edgekd) -> None:
    listed = edgekd("devices", "list")
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    assert names == list(profile_names())
    shown = edgekd("devices", "show", "raspberry-pi-5")
    assert shown.returncode == 0
    assert shown.stdout.startswith("raspberry-pi-5: ")
    assert shown.stdout.count("source: ") >= 5


def test_a_model_is_measured_on_this_machine(edgekd: Edgekd, model: Path, tmp_path: Path) -> None:
    done = edgekd("bench", model, *QUICK, "--out", tmp_path / "r.json", "--batch", "2")
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "r.json")
    assert isinstance(record, LatencyRecord)
    assert record.protocol.shapes == {"x": [2, 8]}
    assert len(record.runs) == 2
    assert len(record.samples_ns) >= 40
    assert done.stdout.splitlines()[-1] == f"record {tmp_path / 'r.json'}"
    assert done.stdout.startswith("tiny on local")


def test_a_model_is_measured_over_ssh_and_its_record_judged(
    edgekd: Edgekd, model: Path, sla: Path, board: Any, tmp_path: Path
) -> None:
    known = board.known_hosts(tmp_path / "known_hosts")
    far = ("--host", board.url, "--key", board.key, "--known-hosts", known, "--python", sys.executable)
    done = edgekd("bench", model, *QUICK[2:], "--processes", "3", *far)
    assert done.returncode == 0, done.stderr
    judged = edgekd("gate", tmp_path / "records" / "tiny.json", "--sla", sla)
    assert judged.returncode in (0, 3), judged.stderr
    assert judged.stdout.startswith(("PASS", "INCONCLUSIVE"))


def test_a_model_is_measured_on_a_group_of_boards_and_the_worst_end_is_told(
    edgekd: Edgekd, model: Path, board: Any, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts.yaml"
    known = board.known_hosts(tmp_path / "known_hosts")
    hosts.write_text(
        f'hosts:\n  pi: {{url: "{board.url}", key: {board.key}, known_hosts: {known}, python: {sys.executable}}}\n'
        f'  dark: {{url: "ssh://u@127.0.0.1:1", key: {board.key}}}\ngroups: {{lab: [pi, dark]}}\n'
    )
    hosts.chmod(0o600)
    done = edgekd("bench", model, *QUICK, "--hosts", hosts, "--host", "lab", "--out", tmp_path / "r")
    assert done.returncode == 4, done.stderr
    assert done.stdout.splitlines()[-1] == f"record {tmp_path / 'r' / 'tiny-pi.json'}"
    assert isinstance(read_record(tmp_path / "r" / "tiny-pi.json"), LatencyRecord)
    assert "\nedgekd: dark: ssh://127.0.0.1:1: nothing listens on port 1" in done.stderr
    assert "Traceback" not in done.stderr
    hosts.chmod(0o666)
    refused = edgekd("bench", model, *QUICK, "--hosts", hosts, "--host", "pi")
    assert refused.returncode == 5
    assert "chmod go-w" in refused.stderr


def _fingerprint(board: Any) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(board.folder / "host_key.pub")], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[1]


def test_a_board_is_trusted_by_its_whole_fingerprint_alone(edgekd: Edgekd, board: Any, tmp_path: Path) -> None:
    known, right = tmp_path / "known", _fingerprint(board)
    url = f"ssh://127.0.0.1:{board.port}"
    wrong = "SHA256:" + "A" * 43
    refused = edgekd("devices", "trust", url, "--fingerprint", wrong, "--known-hosts", known)
    assert refused.returncode == 5
    assert refused.stderr.startswith("edgekd: ")
    assert right in refused.stderr
    assert not known.exists()
    cut = edgekd("devices", "trust", url, "--fingerprint", right[:20], "--known-hosts", known)
    assert cut.returncode == 2
    assert not known.exists()
    done = edgekd("devices", "trust", url, "--fingerprint", right, "--known-hosts", known)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"trusted: ssh-ed25519 {right}\n"
    assert [key.fingerprint for keys in read_known_hosts(known).values() for key in keys] == [right]


def test_a_dry_run_prints_the_recipe_and_writes_nothing(edgekd: Edgekd, tmp_path: Path) -> None:
    done = edgekd("run", "quickstart", "--dry-run", "--set", "distill.epochs=3")
    assert done.returncode == 0, done.stderr
    text, _, steps = done.stdout.partition("\n\n")
    assert json.loads(text)["distill"]["epochs"] == 3
    assert steps.splitlines()[0] == f"run folder {Path('runs') / 'quickstart'}"
    assert steps.splitlines()[1].split() == ["teacher", "run"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [("schema", "recipe"), ("devices", "show", "raspberry-pi-5")], ids=" ".join)
def test_a_reader_that_goes_away_is_no_traceback(argv: tuple[str, ...], tmp_path: Path) -> None:
    ready, gone = os.pipe()
    os.close(ready)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgekd", *argv], stdout=gone, stderr=subprocess.PIPE, text=True, timeout=60,
            cwd=tmp_path, check=False,
        )  # fmt: skip
    finally:
        os.close(gone)
    assert done.stderr == ""
    assert done.returncode == 130


def test_a_full_disk_behind_the_output_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgekd", "schema", "sla"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr


def test_a_command_that_does_not_exist_is_a_usage_error(edgekd: Edgekd) -> None:
    done = edgekd("distil", "quickstart")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_the_gate_needs_no_heavy_library(records: Path, sla: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'transformers', 'onnx', 'onnxruntime', 'numpy', 'paramiko'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from edgekd.cli import main\n"
        "main()\n"
    )
    words = [sys.executable, "-c", code]
    helped = subprocess.run(
        [*words, "gate", "--help"], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert helped.returncode == 0, helped.stderr
    judged = subprocess.run(
        [*words, "gate", str(records), "--sla", str(sla)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 4, "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), 2, "/x/y: no permission to write there"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "/x/y: no permission to write there"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on"),
        (Interrupted("pi: detached; run x goes on there", goes_on=True), 130, "pi: detached; run x goes on there"),
        (OSError(errno.ECHILD, "No child processes"), 70, "this is a bug in edgekd"),
        (ZeroDivisionError("x"), 70, "this is a bug in edgekd"),
    ],
)
def test_every_end_has_its_exit_code_and_only_a_bug_its_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> int:
        raise error

    with pytest.raises(typer.Exit) as ended:
        guarded(broken)()
    assert ended.value.exit_code == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("edgekd: ")
    assert said in lines[-1]
    assert (len(lines) > 1) is (code == 70)


def test_output_that_is_closed_from_the_start_is_no_bug() -> None:
    line = f"exec {sys.executable} -m edgekd devices list >&-"
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
