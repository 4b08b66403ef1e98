"""The step export: artifacts that a manifest vouches for, and how often each is right."""

from pathlib import Path

import pytest
import safetensors.torch
from tiny_recipe import TINY, run_tiny

from edgekd.errors import ExportError, InputError, RecordError
from edgekd.export.manifest import verify
from edgekd.files import read_json, write_json
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.export import inputs, work
from edgekd.pipeline.ledger import Ledger
from edgekd.recipe import load_recipe
from edgekd.record import AccuracyRecord, read_record


def test_the_manifest_vouches_for_every_artifact(whole: Path) -> None:
    entries = {entry.name: entry for entry in verify(whole / "artifacts").entries}
    assert {name: (entry.role, entry.precision) for name, entry in entries.items()} == {
        "teacher-fp32": ("teacher", "fp32"),
        "student-fp32": ("student", "fp32"),
        "student-int8": ("student", "int8"),
    }
    parity = entries["student-fp32"].parity
    assert parity is not None
    assert parity.absolute < 1e-3
    assert entries["student-int8"].size_bytes < entries["student-fp32"].size_bytes


def test_every_artifact_answered_the_whole_test_part(whole: Path, context: Context) -> None:
    labels = context.splits.test.labels.tolist()
    for entry in verify(whole / "artifacts").entries:
        record = read_record(whole / "records" / f"accuracy-{entry.name}.json")
        assert isinstance(record, AccuracyRecord)
        assert record.artifact.sha256 == entry.sha256
        assert record.labels == labels
        assert record.accuracy > 0.2
        assert record.dataset == "sklearn:digits"


def test_int8_alone_leaves_no_fp32_student(root: Path) -> None:
    run_tiny(root, "precisions=[int8]", only="export")
    assert {path.stem for path in (root / "artifacts").glob("*.onnx")} == {"teacher-fp32", "student-int8"}
    assert {path.stem for path in (root / "records").glob("accuracy-*")} == {
        "accuracy-teacher-fp32",
        "accuracy-student-int8",
    }


def test_lost_parity_fails_the_step_and_claims_nothing(root: Path) -> None:
    before = {path.name for path in (root / "artifacts").iterdir()}
    with pytest.raises(ExportError):
        run_tiny(root, "parity.fp32_absolute=1.0e-12", only="export")
    assert Ledger(root).entry("export") is None
    assert {path.name for path in (root / "artifacts").iterdir()} == before
    assert verify(root / "artifacts")


def test_a_student_without_its_head_is_damaged(root: Path, context: Context) -> None:
    path = root / "student" / "model.safetensors"
    kept = {
        name: value for name, value in safetensors.torch.load_file(path).items() if not name.startswith("classifier")
    }
    safetensors.torch.save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="distill is not up to date"):
        run_tiny(root, only="export")
    with pytest.raises(RecordError, match="this folder is damaged"):
        work(context, root / "work" / "export-x")


def test_export_depends_on_the_data_that_it_is_judged_on(root: Path, context: Context) -> None:
    before = inputs_hash(inputs(context))
    table = read_json(root / "data.json")
    write_json(root / "data.json", table | {"test": "0" * 64})
    assert inputs_hash(inputs(context)) != before


def test_export_depends_on_both_models_and_on_the_precisions(root: Path) -> None:
    def key(*overrides: str) -> str:
        return inputs_hash(inputs(Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())))

    base = key()
    assert key("sla.memory=900 MB") == base
    assert key("bench.samples=30") == base
    for other in ("precisions=[fp32]", "parity.examples=10", "bench.batch=2"):
        assert key(other) != base, other
    Ledger(root).forget("teacher")
    assert key() != base
