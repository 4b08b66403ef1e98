from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import InputError, RecordError
from edgekd.export.manifest import (
    Manifest,
    ParityResult,
    artifact,
    entry_from_file,
    read_manifest,
    verify,
    write_manifest,
)

PARITY = ParityResult(absolute=1.5e-7, relative=2e-7, agreement=1.0, examples=128)


@pytest.fixture
def artifacts(bert_file: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    shutil.copy(bert_file, folder / "student-fp32.onnx")
    shutil.copy(bert_file, folder / "teacher.onnx")
    entries = [
        entry_from_file(folder / "teacher.onnx", name="teacher", precision="fp32", role="teacher"),
        entry_from_file(
            folder / "student-fp32.onnx", name="student-fp32", precision="fp32", role="student", parity=PARITY
        ),
    ]
    write_manifest(Manifest(entries=entries), folder)
    return folder


def edit(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "manifest.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


def test_manifest_is_read_back_as_written_in_order_of_names(artifacts: Path) -> None:
    manifest = verify(artifacts)
    assert [entry.name for entry in manifest.entries] == ["student-fp32", "teacher"]
    student = manifest.entry("student-fp32")
    assert student.parity == PARITY
    assert student.size_bytes == (artifacts / "student-fp32.onnx").stat().st_size
    assert [value.dims for value in student.inputs] == [["batch", "sequence"]] * 3
    assert student.versions.torch.startswith("2.")
    with pytest.raises(RecordError, match="no model 'gone', only student-fp32, teacher"):
        manifest.entry("gone")


def test_writing_it_again_gives_the_same_bytes(artifacts: Path) -> None:
    before = (artifacts / "manifest.json").read_bytes()
    manifest = read_manifest(artifacts)
    write_manifest(Manifest(entries=manifest.entries[::-1]), artifacts)
    assert (artifacts / "manifest.json").read_bytes() == before
    assert b"utc" not in before


def test_artifact_names_the_file_by_its_hash(artifacts: Path) -> None:
    entry = verify(artifacts).entry("student-fp32")
    found = artifact(entry)
    assert (found.name, found.sha256, found.precision, found.role) == ("student-fp32", entry.sha256, "fp32", "student")


def test_changed_byte_missing_file_and_link_are_named(artifacts: Path) -> None:
    path = artifacts / "student-fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"student-fp32\.onnx: has SHA-256 .*, the manifest says"):
        verify(artifacts)
    path.write_bytes(data[:-1])
    with pytest.raises(RecordError, match=r"student-fp32\.onnx: has \d+ bytes, the manifest says"):
        verify(artifacts)
    path.unlink()
    with pytest.raises(RecordError, match=r"student-fp32\.onnx: in the manifest, but cannot be read"):
        verify(artifacts)
    path.symlink_to(artifacts / "teacher.onnx")
    with pytest.raises(RecordError, match=r"student-fp32\.onnx: in the manifest, but is no regular file"):
        verify(artifacts)


@pytest.mark.parametrize("name", ["../teacher.onnx", "/etc/passwd", "sub/model.onnx", ".hidden", "", "a b"])
def test_file_outside_the_folder_is_refused(name: str, artifacts: Path) -> None:
    edit(artifacts, lambda table: table["entries"][0].update(file=name))
    with pytest.raises(RecordError, match=r"manifest\.json: entries\.0\.file"):
        verify(artifacts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(schema_version="9.0"), r"schema_version '9\.0', this edgekd reads 1\.0"),
        (lambda table: table.update(kind="latency"), "is not a manifest"),
        (lambda table: table["entries"][0].pop("sha256"), r"entries\.0\.sha256"),
        (lambda table: table["entries"][0].update(size_bytes=0), r"entries\.0\.size_bytes"),
        (lambda table: table["entries"][0].update(extra=1), r"entries\.0\.extra"),
        (lambda table: table["entries"].append(table["entries"][0]), "the name 'student-fp32' stands twice"),
    ],
)
def test_damaged_manifest_is_refused_with_its_place(
    change: Callable[[Any], Any], message: str, artifacts: Path
) -> None:
    edit(artifacts, change)
    with pytest.raises(RecordError, match=message):
        read_manifest(artifacts)


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        read_manifest(tmp_path)


def test_manifest_is_read_without_any_heavy_library_and_making_one_names_the_extra(artifacts: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "for name in ('torch', 'transformers', 'onnx', 'onnxruntime', 'numpy'): sys.modules[name] = None\n"
        "from edgekd.errors import MissingExtra\n"
        "from edgekd.export.manifest import verify, entry_from_file\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "print(len(verify(folder).entries))\n"
        "try: entry_from_file(folder / 'teacher.onnx', name='t', precision='fp32', role='teacher')\n"
        "except MissingExtra as error: print(error)\n"
        "for room in ('onnx', 'parity', 'reference', 'quantize'):\n"
        "    try: __import__('edgekd.export.' + room)\n"
        "    except MissingExtra as error: print(room, error.extra)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(artifacts)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "2",
        "this step needs onnx, which is not installed. Run: pip install 'edgekd[export]'",
        "onnx export",
        "parity export",
        "reference export",
        "quantize export",
    ]
