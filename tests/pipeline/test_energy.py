"""A limit on energy in a recipe: refused at once where nothing could tell it, else accepted, with the doubt said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from arithmetic_board import LOADING, SPACE, attempts_of, board, untrained_s
from rails_board import CHIP, jetson
from tiny_recipe import TINY, Heard, run_tiny

from edgekd.cost.calibrate import Sample
from edgekd.cost.energy import energy_fit
from edgekd.cost.stored import Calibration, LeftOut, write_calibrations
from edgekd.device import profile_text
from edgekd.errors import EXIT_PASS, EXIT_SLA_MISSED, InputError
from edgekd.pipeline.context import Context
from edgekd.pipeline.energy import check_energy
from edgekd.pipeline.explain import explain_student
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts, Runtime
from edgekd.sizing.files import read_sizing

LIMIT = "sla={latency: {p50: 50 ms}, energy: 20 mJ}"


def context(tmp_path: Path, *overrides: str) -> Context:
    return Context(load_recipe("quickstart", [*TINY, LIMIT, *overrides]), tmp_path / "run", tmp_path, Heard())


def warned(one: Context) -> list[str]:
    assert isinstance(one.progress, Heard)
    return one.progress.warned


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without rails."""
    (tmp_path / "bare").mkdir()
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "bare"))


def calibrated(folder: Path, device: str, **changed: Any) -> Path:
    """A profile like `device` whose calibration knows the energy of ViT students."""
    samples = [
        Sample(str(x), {"latency_s": 1e-3 * x, "macs": 1.0, "traffic_bytes": 1.0}, 5e-3 * x) for x in range(1, 12)
    ]
    fit = energy_fit(samples).to_dict()
    latency = fit | {"prices": {"one": 1e-3}, "terms": ["one"], "root": []}
    table: dict[str, Any] = {
        "architecture": "vit", "precision": "fp32", "batch": 1, "threads": 1, "sequences": [0], "measured": "2026-11-26",
        "host": HostFacts(name="board", machine="aarch64", system="Linux", python="3.11"),
        "runtime": Runtime(name="onnxruntime", version="1", providers=[], threads=1),
        "quiet_sentinel_s": 3e-4, "quiet_error": 0.01, "sensitivity": 0.5, "latency": latency, "memory": None,
        "left_out": LeftOut(students=11, within_10=1.0, within_5=0.9, median_error=0.01, covered=0.9),
        "records": "visits/x", "notes": [], "energy": fit, "rail": "VDD_IN",
    }  # fmt: skip
    folder.mkdir()
    write_calibrations([Calibration(**(table | changed))], folder / "calibration.json")
    (folder / "profile.yaml").write_text(profile_text(device, calibration="calibration.json"))
    return folder / "profile.yaml"


def with_budget(folder: Path, device: str) -> Path:
    folder.mkdir()
    table = yaml.safe_load(profile_text(device, calibration="none"))
    del table["calibration"]
    mode = {"name": "most", "budget": {"value": "15 W", "source": "measured 2026-01-01: a test"}}
    (folder / "profile.yaml").write_text(yaml.safe_dump(table | {"power_modes": [mode]}))
    return folder / "profile.yaml"


@pytest.mark.usefixtures("bare")
def test_without_rail_calibration_or_budget_it_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing tells the energy of a student: .*found none") as caught:
        check_energy(context(tmp_path))
    for word in ("VDD_IN", "neither a calibration with energy", "remove sla.energy"):
        assert word in str(caught.value)


@pytest.mark.usefixtures("bare")
def test_a_run_is_refused_before_its_teacher_is_trained(tmp_path: Path) -> None:
    for only in (None, "size"):
        with pytest.raises(InputError, match="nothing tells the energy"):
            run_tiny(tmp_path / "run", LIMIT, only=only)
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.usefixtures("bare")
def test_without_such_a_limit_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_self: Context) -> None:
        raise AssertionError

    monkeypatch.setattr(Context, "open_host", asked)
    check_energy(context(tmp_path, "sla={latency: {p50: 50 ms}}"))


def test_a_host_with_a_rail_of_its_supply_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "jetson"))
    one = context(tmp_path)
    with jetson(tmp_path / "jetson", [5.0]):
        check_energy(one)
        assert warned(one) == []
        (tmp_path / "jetson" / CHIP / "in1_label").unlink()
        with pytest.raises(InputError, match="found VDD_CPU_GPU_CV"):
            check_energy(one)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("made", "by"), [(calibrated, "the calibration of"), (with_budget, "the power budget of")])
def test_a_model_alone_is_accepted_and_says_that_nothing_will_judge(made: Any, by: str, tmp_path: Path) -> None:
    profile = made(tmp_path / "board", load_recipe("quickstart").device)
    one = context(tmp_path, f"device={profile}", "precisions=[fp32]")
    check_energy(one)
    (said,) = warned(one)
    assert by in said
    assert "edgekd gate will not be able to judge" in said


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("changed", [{"architecture": "bert"}, {"threads": 2}, {"precision": "int8"}, {"energy": None}])
def test_a_calibration_of_something_else_is_none(changed: dict[str, Any], tmp_path: Path) -> None:
    profile = calibrated(tmp_path / "board", load_recipe("quickstart").device, **changed)
    (tmp_path / "run").mkdir()
    spec = {"architecture": "vit", "layers": 1, "hidden": 16, "heads": 1, "ffn": 16, "labels": 2, "image_size": 8,
            "patch_size": 4, "channels": 1}  # fmt: skip
    (tmp_path / "run" / "teacher.json").write_text(json.dumps({"spec": spec}))
    with pytest.raises(InputError, match="nothing tells the energy"):
        check_energy(context(tmp_path, f"device={profile}", "precisions=[fp32]"))


def test_the_loop_learns_what_loading_adds_and_the_gate_judges_the_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real students and the real gate; sizing compares the energy of inferences alone, the gate all that was used."""
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "jetson"))
    root, watts, limit_j = tmp_path / "run", 5.0, 5.5e-3
    sla = "sla={energy: 5.5 mJ, memory: 2 GB, accuracy: 20 %}"
    with jetson(tmp_path / "jetson", [watts]), board(root, 1.0, watts=watts):
        outcome, _ = run_tiny(root, *SPACE, "budget.attempts=3", sla)
    first, second, *_ = attempts_of(root).attempts
    truth = next(one for one in first.truths["fp32"] if one.metric == "energy")
    energy_j = watts * untrained_s(first.student)
    assert (truth.unit, truth.reason, truth.limit) == ("J", "TOO_CLOSE", pytest.approx(limit_j))
    assert truth.expected == pytest.approx(energy_j)
    assert energy_j <= limit_j < LOADING * energy_j == pytest.approx(truth.high, rel=1e-3)
    assert second.learned.factors["fp32"]["energy"] == pytest.approx(LOADING, rel=1e-3)
    assert LOADING * watts * untrained_s(second.student) <= limit_j * 1.001
    assert outcome.exit_code == 0
    sizing = read_sizing(root / "sizing.json")
    assert [row.name for row in sizing.limits if row.quantity == "energy_j"] == ["energy"]
    page = (root / "report.html").read_text()
    assert "energy of an inference" in page
    explained = explain_student("quickstart", [*TINY, *SPACE, sla], root)
    assert all(view.outlook.energy is not None and view.outlook.energy.measured for view in explained.views)
    assert any("energy" in view.levels for view in explained.views)


def test_on_a_board_with_rails_candidates_are_measured_and_chosen_by_their_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real agent; a second, impossible limit is answered from the records of the first call."""
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "jetson"))
    root = tmp_path / "run"
    run_tiny(root, LIMIT, "precisions=[fp32]", only="teacher")
    with jetson(tmp_path / "jetson", [4.0, 6.0]):
        outcome, heard = run_tiny(root, "sla={energy: 2 J}", "precisions=[fp32]", only="size")
        records = {path.name for path in (root / "calibration").glob("*.json")}
        missed, _ = run_tiny(root, "sla={energy: 1 uJ}", "precisions=[fp32]", only="size")
    assert (outcome.exit_code, missed.exit_code) == (EXIT_PASS, EXIT_SLA_MISSED)
    assert "chosen" in heard.summaries["size"]
    assert {path.name for path in (root / "calibration").glob("*.json")} == records
    sizing = read_sizing(root / "sizing.json")
    assert sizing.fits["fp32"].energy is not None
    assert len(sizing.measurements) >= 3
    for row in sizing.measurements.values():
        assert row.rail == "VDD_IN"
        assert row.energy_j is not None
        assert 2 < row.energy_j / row.latency_s < 20  # 5 W in the mean; how well is for a quiet board
    assert sizing.obstacle is not None
    assert sizing.obstacle.text.startswith("No student keeps energy")
    assert "raise energy from 1.00 µJ to more than" in sizing.obstacle.text
