"""What users get wrong, through the real program: one line that helps, the right exit code, and nothing half-done."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.cli import app
from edgekd.errors import EXIT_INFRASTRUCTURE, EXIT_SECURITY, EXIT_SLA_MISSED, EXIT_USAGE

RECIPE = """
name: bad
task: image-classification
teacher:
  architecture: {type: vit, layers: 2, hidden: 32, heads: 2, ffn: 64, patch_size: 4}
  fine_tune: {epochs: 3, learning_rate: 5.0e-3, batch_size: 64}
data: {source: "sklearn:digits", max_train_examples: 300}
space: {layers: [1], hidden: [16, 32], ffn_ratio: [1.0, 2.0]}
device: generic-x86-64
sla: {latency: {p50: 500 ms}}
search: {calibrate: 3, finalists: 1, pairs: 5}
distill: {epochs: 1, learning_rate: 5.0e-3, batch_size: 64}
bench: {processes: 3, warmup: 10 ms, duration: 50 ms, samples: 10}
"""
TEXT_RECIPE = """
name: bad
task: text-classification
teacher: {model: ./teacher}
data: {source: texts.csv}
device: generic-x86-64
sla: {latency: {p50: 50 ms}}
"""
RECORD = {"schema_version": "1.0", "kind": "latency"}


@dataclass(frozen=True)
class Ended:
    """How the program ended."""

    code: int
    out: str
    err: str


Program = Callable[..., Ended]


@pytest.fixture
def edgekd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """The program in this process, in an empty folder with a home of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def call(*argv: str | Path) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(word) for word in argv])
        out, err = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, out, err)

    return call


@pytest.fixture
def here(edgekd: Program, tmp_path: Path) -> Path:
    """The folder that the program runs in, with a recipe, an SLA and a model that are all right."""
    folder = tmp_path / "here"
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "sla.yaml").write_text("latency: {p50: 5 ms}\n")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "m.onnx")
    return folder


def refused(ended: Ended, code: int, *said: str) -> None:
    """One line of ours that says so, and the exit code of the law."""
    assert ended.code == code, ended.err
    assert ended.err.startswith("edgekd: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert "Traceback" not in ended.err
    for part in said:
        assert part in ended.err


def nothing_half_done(folder: Path) -> None:
    assert list(folder.rglob("*.part")) == []
    for ledger in folder.rglob("ledger.json"):
        assert json.loads(ledger.read_text())["steps"] == {}


def changed(old: str, new: str) -> str:
    assert RECIPE.count(old) == 1
    return RECIPE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "recipe.yaml: is empty"),
        ("just words\n", "expected keys and values"),
        ("a: [1, 2\n", "is not valid YAML"),
        (changed("epochs: 1", "epochs: many"), "distill.epochs: found 'many'"),
        (changed("layers: [1]", "layers: {from: 3, to: 1}"), "swap the two"),
        (changed("finalists: 1", "finalist: 1"), "Did you mean 'finalists'"),
        (changed("name: bad", "name: bad\nname: worse"), "the key 'name' stands twice"),
        (changed("p50: 500 ms", "p50: .nan"), "found .nan, which is no finite number"),
        (changed("p50: 500 ms", "p50: 500"), "found the bare number 500"),
        (changed("p50: 500 ms", "p50: 0 ms"), "latency.p50 is 0"),
        (changed("{latency: {p50: 500 ms}}", "{}"), "no limit is set"),
        (RECIPE + "budget: {training: 0 s}\n", "budget.training"),
        (changed("device: generic-x86-64", "device: raspbery-pi-5"), "Did you mean 'raspberry-pi-5'"),
        (changed("image-classification", "image-clasification"), "task: found 'image-clasification'"),
        (changed("name: bad", "name: ../../etc"), "name"),
        (changed("device: generic-x86-64", "device: !!python/object/apply:os.system [id]"), "found the tag"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(edgekd: Program, here: Path, text: str, said: str) -> None:
    (here / "recipe.yaml").write_text(text)
    refused(edgekd("run", "recipe.yaml"), EXIT_USAGE, said)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("run", "none.yaml"), "none.yaml: no such file"),
        (("run", "quikstart"), "Did you mean 'quickstart'"),
        (("run", "."), "this is a folder, expected a file"),
        (("run", "recipe.yaml", "--set", "distill.epochs"), "expected KEY=VALUE"),
        (("run", "recipe.yaml", "--set", "distill.epoch=3"), "Did you mean 'epochs'"),
        (("run", "recipe.yaml", "--out", "m.onnx"), "a file stands where a folder is needed"),
        (("run", "recipe.yaml", "--dry-run", "--set", "space.layers=[]"), "the list is empty"),
        (("size", "recipe.yaml"), "Run first: edgekd teacher recipe.yaml"),
        (("distill", "recipe.yaml", "--out", "r"), "Run first: edgekd teacher recipe.yaml --out r"),
        (("export", "recipe.yaml"), "Run first: edgekd teacher recipe.yaml"),
        (("report", "none"), "none"),
        (("report", "."), "edgekd run"),
        (("schema", "slas"), "Did you mean 'sla'"),
        (("devices", "show", "toaster"), "toaster"),
        (("devices", "trust", "board", "--fingerprint", "SHA256:x"), "or a name of hosts.yaml; there is no "),
        (("devices", "trust", "ssh://127.0.0.1:1", "--fingerprint", "SHA256:x"), "found the fingerprint"),
        (("compare", "none.json", "none.json"), "none.json: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_command_says_what_would_be_right(
    edgekd: Program, here: Path, argv: tuple[str, ...], said: str
) -> None:
    refused(edgekd(*argv), EXIT_USAGE, said)
    nothing_half_done(here)


@pytest.mark.parametrize(
    "argv", [("run",), ("bench",), ("gate", "records"), ("frobnicate",), ("run", "recipe.yaml", "--wat")], ids=" ".join
)
def test_wrong_flags_show_the_usage(edgekd: Program, here: Path, argv: tuple[str, ...]) -> None:
    ended = edgekd(*argv)
    assert ended.code == EXIT_USAGE
    assert "Usage:" in ended.err
    assert "Traceback" not in ended.err


def _model(folder: Path, weights: str, content: bytes) -> Path:
    folder.mkdir()
    config = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / weights).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("weights", "content", "code", "said"),
    [
        (None, b"", EXIT_USAGE, "./teacher: no such folder"),
        ("pytorch_model.bin", b"\x80\x02}q\x00.", EXIT_SECURITY, "its weights are pickled"),
        ("model.safetensors", b"PK\x03\x04rest of a zip", EXIT_SECURITY, "is a pickle or zip file"),
        ("model.safetensors", b"\x00" * 40, EXIT_USAGE, "is not a safetensors file"),
        ("notes.txt", b"x", EXIT_USAGE, "holds no weights"),
    ],
)
def test_a_wrong_teacher_is_refused(
    edgekd: Program, here: Path, weights: str | None, content: bytes, code: int, said: str
) -> None:
    if weights is not None:
        _model(here / "teacher", weights, content)
    ended = edgekd("run", "recipe.yaml", "--set", "teacher.model=./teacher", "--set", "teacher.architecture=")
    refused(ended, code, said)
    nothing_half_done(here)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "texts.csv: no such file or folder"),
        ("", "texts.csv"),
        ("text,label\n", "texts.csv"),
        ("text,label\n" + "good,1\n" * 20, "every label is '1', expected at least two classes"),
        ("text,sentiment\n" + "good,1\nbad,0\n" * 20, "label"),
        ("text,label\ngood,1\nbad,0\n" + " ,1\n,0\n" * 20, "texts.csv:4: text is empty, as it is in 40 of 42 rows"),
        ("text,label\n" + "good,1\nbad,0\n" * 20 + "odd,7\n", "7"),
    ],
)
def test_wrong_data_is_refused(edgekd: Program, here: Path, rows: str | None, said: str) -> None:
    (here / "recipe.yaml").write_text(TEXT_RECIPE)
    if rows is not None:
        (here / "texts.csv").write_text(rows)
    labels = ("--set", "data.labels=[bad, good]") if "odd" in (rows or "") else ()
    refused(edgekd("run", "recipe.yaml", *labels), EXIT_USAGE, said)
    nothing_half_done(here)


@pytest.mark.parametrize(
    ("rows", "override", "said"),
    [
        ("text 1,1\ntext 2,0\n", "data.drop_leaked=false", "2 of 2 test examples (100.0 %) also stand in the training"),
        ("text 1,1\nTEXT 2!,0\n", "data.max_leakage=50 %", "expected at most 50.0 % (data.max_leakage)"),
        ("other,fair\n", "data.labels=[poor, good, fair]", "the test part has examples of fair, of which the training"),
        ("other,0\n", "data.max_leakage=200 %", "data.max_leakage"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_a_test_part_that_proves_nothing_is_refused(
    edgekd: Program, here: Path, rows: str, override: str, said: str, dry: tuple[str, ...]
) -> None:
    (here / "recipe.yaml").write_text(TEXT_RECIPE)
    words = ("poor", "good") if "fair" in rows else ("0", "1")
    (here / "texts.csv").write_text("text,label\n" + "".join(f"text {n},{words[n % 2]}\n" for n in range(40)))
    (here / "more.csv").write_text(f"text,label\n{rows}")
    refused(edgekd("run", "recipe.yaml", *dry, "--set", "data.test=more.csv", "--set", override), EXIT_USAGE, said)
    nothing_half_done(here)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "x.onnx: no such file"),
        (b"", "is empty, expected an ONNX model"),
        (b"this is no model at all", "is no ONNX model, it begins with"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("truncated", "ends too early for an ONNX model"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    edgekd: Program, here: Path, content: bytes | str | None, said: str
) -> None:
    if content == "truncated":
        content = (here / "m.onnx").read_bytes()[:-20]
    if isinstance(content, bytes):
        (here / "x.onnx").write_bytes(content)
    refused(edgekd("bench", "x.onnx"), EXIT_USAGE, "x.onnx", said)
    assert not (here / "records").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--shape", "x"), "--shape x: expected INPUT=SIZExSIZE"),
        (("--shape", "x=axb"), "--shape x=axb: expected"),
        (("--shape", "z=1x8"), "z"),
        (("--duration", "2"), "--duration"),
        (("--warmup", "soon"), "--warmup"),
        (("--inputs", "none.npz"), "none.npz"),
        (("--host", "pi@board"), "expected 'local', ssh://USER@HOST:PORT, adb:SERIAL, or a name of hosts.yaml"),
        (("--host", "ssh://pi:secret@board:22"), "found a password in the host's URL"),
        (("--host", "ssh://pi@board:22"), "no key file was named"),
        (("--host", "ssh://pi@board:22", "--key", "none"), "none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_measurement_is_refused(edgekd: Program, here: Path, argv: tuple[str, ...], said: str) -> None:
    ended = edgekd("bench", "m.onnx", "--processes", "1", *argv)
    refused(ended, EXIT_USAGE, said)
    assert "secret" not in ended.err
    assert list(here.rglob("*.json")) == []


def test_a_board_that_does_not_answer_is_named(edgekd: Program, here: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = edgekd("bench", "m.onnx", "--host", f"ssh://pi@127.0.0.1:{port}", "--key", "key")
    refused(ended, EXIT_INFRASTRUCTURE, f"nothing listens on port {port}")


@pytest.mark.parametrize("line", ["", "[127.0.0.1]:{port} {other}\n"], ids=["unknown", "another"])
def test_a_board_with_an_unknown_or_another_key_is_refused(edgekd: Program, here: Path, board: Any, line: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other"], check=True)
    other = " ".join((here / "other.pub").read_text().split()[:2])
    (here / "known").write_text(line.format(port=board.port, other=other))
    ended = edgekd("bench", "m.onnx", "--host", board.url, "--key", board.key, "--known-hosts", "known")
    refused(ended, EXIT_SECURITY, "SHA256:", str(board.port))
    assert list(here.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, "", "holds no *.json file"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", "[]", "is not an edgekd record"),
        ("a.json", json.dumps(RECORD | {"schema_version": "9.0"}), "has schema_version '9.0', this edgekd reads 1.0"),
        ("a.json", json.dumps(RECORD), "Field required"),
        ("a.json", '{"schema_version": "1.0", "kind": "latency", "runs": [NaN]}', "holds the number NaN"),
        ("a.json", '{"kind": "latency", "kind": "latency"}', "'kind' stands twice"),
        ("a.json", "[" * 100_000, "a.json"),
    ],
)
def test_records_that_are_none_are_never_judged(
    edgekd: Program, here: Path, name: str | None, content: str, said: str
) -> None:
    (here / "records").mkdir()
    if name is not None:
        (here / "records" / name).write_text(content)
    ended = edgekd("gate", "records", "--sla", "sla.yaml", "--out", "v.json")
    refused(ended, EXIT_USAGE, said)
    assert ended.out == ""
    assert not (here / "v.json").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latencies: {p50: 5 ms}\n", "Did you mean 'latency'"),
        ("confidence: 0.9\n", "no limit is set"),
        ("{}\n", "no limit is set"),
        ("latency: {p50: 9 ms, p95: 5 ms}\n", "is above that of p95"),
        ("latency: {p101: 9 ms}\n", "expected a percentile"),
        ("accuracy: 140 %\n", "accuracy"),
        (None, "sla.yaml: no such file"),
    ],
)
def test_a_wrong_sla_is_never_judged_by(edgekd: Program, here: Path, text: str | None, said: str) -> None:
    (here / "sla.yaml").unlink() if text is None else (here / "sla.yaml").write_text(text)
    (here / "records").mkdir()
    (here / "records" / "a.json").write_text(_record())
    ended = edgekd("gate", "records", "--sla", "sla.yaml", "--out", "v.json")
    refused(ended, EXIT_USAGE, said)
    assert not (here / "v.json").exists()


def _record() -> str:
    return json.dumps({
        **RECORD, "created_utc": "2026-01-01T00:00:00Z",
        "artifact": {"name": "a", "sha256": "a" * 64, "size_bytes": 9},
        "host": {"name": "b", "machine": "m", "system": "s", "python": "3"},
        "runtime": {"name": "r", "version": "1", "providers": [], "threads": 1},
        "protocol": {"shapes": {}, "processes": 1, "warmup_s": 0.0, "min_duration_s": 0.0, "min_samples": 1},
        "runs": [{"load_ns": 1, "first_ns": 1, "warmup_ns": [], "samples_ns": [4_000_000] * 40}],
    })  # fmt: skip


def test_the_record_of_these_tests_is_one(edgekd: Program, here: Path) -> None:
    (here / "a.json").write_text(_record())
    ended = edgekd("gate", "a.json", "--sla", "sla.yaml")
    assert (ended.code, ended.err) == (0, "")


def test_a_damaged_run_folder_is_named(edgekd: Program, here: Path) -> None:
    (here / "r").mkdir()
    (here / "r" / "ledger.json").write_text("{}")
    refused(edgekd("run", "recipe.yaml", "--out", "r"), EXIT_USAGE, "Remove it to run every step again")
    (here / "r" / "ledger.json").unlink()
    (here / "r" / "teacher.json").write_text('{"spec": ')
    refused(edgekd("report", "r"), EXIT_USAGE, "teacher.json")
    nothing_half_done(here)


def test_a_limit_that_no_student_keeps_is_missed_with_the_reason_and_a_page(edgekd: Program, here: Path) -> None:
    limits = ("--set", "sla.latency.p50=1 us", "--out", "r")
    ended = edgekd("run", "recipe.yaml", *limits)
    assert ended.code == EXIT_SLA_MISSED
    assert "Traceback" not in ended.err
    assert [line.split()[1] for line in ended.err.splitlines()] == ["teacher", "size", "report"]
    assert ended.out.startswith("FAIL: no student of this space is known to keep the SLA")
    for part in ("p50", "1.00 µs", "nearest: L1-H", "to mend it: ", "report r/report.html"):
        assert part in ended.out
    assert (here / "r" / "report.html").is_file()
    assert not (here / "r" / "verdict.json").exists()
    planned = edgekd("run", "recipe.yaml", *limits, "--dry-run")
    assert (planned.code, planned.err) == (0, "")
    assert "left out: no student fits" in planned.out
