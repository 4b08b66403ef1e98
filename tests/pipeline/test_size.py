"""The step size: measured once, decided from files."""

from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import TINY, run_tiny, snapshot

from edgekd.cost.calibrate import ONE, Sample, fit
from edgekd.cost.stored import Calibration, LeftOut, write_calibrations
from edgekd.device import profile_text
from edgekd.errors import ProfileError, RecordError
from edgekd.files import read_json, write_json
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.size import inputs, known_fits
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts, PairedRecord, Runtime, read_record
from edgekd.sizing.files import read_sizing, read_students
from edgekd.student import StudentSpec


def test_the_choice_is_the_most_capable_student_that_fits(whole: Path) -> None:
    found = read_students(whole / "students.json")
    assert found.chosen == max(found.students, key=lambda row: row.capacity).id
    assert found.chosen_student is not None
    assert {row.student.layers for row in found.students} == {1}


def test_every_calibration_record_is_paired_and_named_by_its_candidate(whole: Path) -> None:
    paths = sorted((whole / "calibration").glob("*.json"))
    for path in paths:
        record = read_record(path)
        assert isinstance(record, PairedRecord)
        assert path.name.startswith(record.artifact.name + ".")
        assert 5 <= len(record.run.model_ns) <= 25 * 5
        assert record.device == "generic-x86-64"
    evidence = read_sizing(whole / "sizing.json")
    assert {path.name.rpartition(".json")[0].rpartition(".")[0] for path in paths} == set(evidence.measurements)


def test_a_killed_search_goes_on_with_the_records_it_has(root: Path) -> None:
    lost = min((root / "calibration").glob("*.json"))
    lost.unlink()
    before = snapshot(root / "calibration")
    _, heard = run_tiny(root, only="size")
    after = snapshot(root / "calibration")
    assert heard.ran == ["size"]
    assert len([text for text in heard.said if "measuring" in text]) >= 1
    assert {name: after[name] for name in before} == before
    assert lost.name in after


def test_another_protocol_measures_everything_anew(root: Path) -> None:
    before = snapshot(root / "calibration")
    run_tiny(root, "search.pairs=6", only="size")
    after = snapshot(root / "calibration")
    assert after["inputs.txt"] != before["inputs.txt"]
    for path in (root / "calibration").glob("*.json"):
        record = read_record(path)
        assert isinstance(record, PairedRecord)
        assert 6 <= len(record.run.model_ns) <= 25 * 6


def test_a_record_of_another_kind_among_the_calibration_is_named(root: Path) -> None:
    latency = read_json(root / "records" / "latency-student-fp32.json")
    place = min((root / "calibration").glob("*.json"))
    write_json(place, latency)
    with pytest.raises(RecordError, match="is a record of kind latency, expected paired"):
        run_tiny(root, only="size")


def test_the_choice_depends_on_limits_space_and_host_but_not_on_the_training(root: Path) -> None:
    def key(*overrides: str) -> str:
        return inputs_hash(inputs(Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())))

    base = key()
    for other in ("sla.memory=900 MB", "space.hidden=[32]", "host.python=/bin/python3", "device=raspberry-pi-5"):
        assert key(other) != base, other
    assert key("distill.epochs=9") == base


def test_a_calibration_that_is_gone_is_named_with_its_profile(root: Path, tmp_path: Path) -> None:
    profile = tmp_path / "board.yaml"
    profile.write_text(profile_text("generic-x86-64", calibration="gone.json"), encoding="utf-8")
    context = Context(load_recipe("quickstart", [*TINY, f"device={profile}"]), root, Path.cwd())
    with pytest.raises(
        ProfileError, match=r"board\.yaml: names the calibration .*gone\.json, and there is no such file"
    ):
        inputs(context)


def test_a_miss_names_the_limit_the_nearest_student_and_what_would_have_to_give(root: Path) -> None:
    outcome, heard = run_tiny(root, "sla.latency.p50=1 us", only="size")
    assert outcome.exit_code == 1
    assert "none fits" in heard.summaries["size"]
    obstacle = read_json(root / "sizing.json")["obstacle"]["text"]
    assert "p50" in obstacle
    assert "nearest: L1-H" in obstacle
    assert "1.00 µs" in obstacle


def test_the_nearest_calibration_of_such_students_is_where_a_search_begins(tmp_path: Path) -> None:
    def calibration(**changed: Any) -> Calibration:
        batch = changed.get("batch", 1)
        prices = fit([Sample(str(x), {"starts": float(x)}, batch * (1.0 + x)) for x in range(1, 12)], (ONE, "starts"))
        table: dict[str, Any] = {
            "architecture": "vit", "precision": "fp32", "batch": 1, "threads": 1, "sequences": [0],
            "measured": "2026-11-25", "host": HostFacts(name="b", machine="m", system="s", python="3.11", cores=4),
            "runtime": Runtime(name="onnxruntime", version="1", providers=["CPUExecutionProvider"], threads=1),
            "quiet_sentinel_s": 3e-4, "quiet_error": 0.01, "sensitivity": 0.5, "latency": prices.to_dict(),
            "memory": None, "records": "visits/x", "notes": [],
            "left_out": LeftOut(students=11, within_10=1.0, within_5=0.9, median_error=0.01, covered=0.9),
        }  # fmt: skip
        return Calibration(**(table | changed))

    device = load_recipe("quickstart").device
    (tmp_path / "profile.yaml").write_text(profile_text(device, calibration="calibration.json"))
    stored = [
        calibration(batch=4), calibration(batch=2), calibration(batch=32), calibration(threads=2),
        calibration(architecture="bert"), calibration(precision="int8"),
    ]  # fmt: skip
    write_calibrations(stored, tmp_path / "calibration.json")
    teacher = StudentSpec(
        architecture="vit", layers=6, hidden=96, heads=6, ffn=384, labels=10, image_size=8, patch_size=2, channels=1
    )

    def price(batch: int, threads: int = 1) -> dict[str, float]:
        settings = [f"device={tmp_path / 'profile.yaml'}", f"bench.batch={batch}", f"bench.threads={threads}"]
        context = Context(load_recipe("quickstart", settings), tmp_path, tmp_path)
        found = known_fits(context, teacher)
        return {name: fits.latency.prices["one"] for name, fits in found.items() if fits.latency is not None}

    assert price(1) == pytest.approx({"fp32": 2, "int8": 1}, rel=0.01)
    assert price(8) == pytest.approx({"fp32": 4, "int8": 1}, rel=0.01)
    assert price(1, threads=2) == pytest.approx({"fp32": 1}, rel=0.01)
    assert price(1, threads=3) == {}
