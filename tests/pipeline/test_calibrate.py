"""A calibration from end to end on this machine, with tiny students."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rails_board import jetson

from edgekd.bench.campaign import Answer
from edgekd.bench.windows import Visit, Window, findings
from edgekd.cost.calibrate import Interval, Sample, fit
from edgekd.cost.energy import energy_of
from edgekd.cost.stored import read_calibrations
from edgekd.device import load_profile
from edgekd.errors import HostError, InputError, RecordError
from edgekd.host_choice import HostChoice
from edgekd.pipeline import calibrate as module
from edgekd.pipeline.calibrate import Request, calibrate, latency_fit, left_out, outcome_lines, request_from_text
from edgekd.pipeline.context import MACHINES
from edgekd.pipeline.ledger import locked
from edgekd.pipeline.pool import Reference
from edgekd.record import write_record
from edgekd.space import Space
from edgekd.student import StudentSpec

TEACHER = StudentSpec(
    architecture="bert", layers=4, hidden=96, heads=6, ffn=384, vocabulary=60, positions=64, token_types=2, labels=2
)
HERE = MACHINES.get(platform.machine().lower(), platform.machine())
DEVICE = f"generic-{HERE.replace('_', '-')}"
OTHER = "raspberry-pi-5" if HERE != "aarch64" else "generic-x86-64"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(layers=[1, 2, 3, 4], hidden=[32, 48, 64, 80, 96], ffn_ratio=[1.0, 2.0, 4.0], min_share=0.0)
    monkeypatch.setattr(module, "reference_of", lambda *_: Reference(TEACHER, None, space, (16, 48)))
    monkeypatch.setattr(module, "LEAST_VISIT_S", 0.02)


def request(folder: Path, **changed: Any) -> Request:
    settings: dict[str, Any] = {"device": DEVICE, "students": 10, "budget_s": 6.0, "precisions": ("fp32",)}
    return Request(host=HostChoice(), like="bert", out=folder, **(settings | changed))


@pytest.mark.usefixtures("tiny")
def test_a_calibration_leaves_profile_prices_and_records_and_predicts_its_students(tmp_path: Path) -> None:
    outcome = calibrate(request(tmp_path / "board"), base=tmp_path)
    (found,) = read_calibrations(tmp_path / "board" / "calibration.json")
    assert found == outcome.calibrations[0]
    assert found.sequences == [16, 48]
    assert found.left_out.students == 10
    assert found.left_out.median_error < 0.5  # how well is for benchmarks/predictor/live.py, on a quiet machine
    assert len(list((tmp_path / "board" / found.records).glob("*.json"))) >= 10
    assert found.memory_fit is not None
    for name, one in outcome.answer.measured.items():
        assert one.latency_s > 0, name
    assert any("each predicted by the others" in line for line in outcome_lines(outcome))
    assert (found.energy, found.rail, found.energy_left_out) == (None, None, None)


@pytest.mark.usefixtures("tiny")
def test_on_a_board_with_rails_the_calibration_tells_the_energy_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supply gives 5 W in the mean whatever is computed, so all of the energy is power times latency."""
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "jetson"))
    with jetson(tmp_path / "jetson", [4.0, 6.0]):
        outcome = calibrate(request(tmp_path / "board"), base=tmp_path)
    (found,) = read_calibrations(tmp_path / "board" / "calibration.json")
    fit = found.energy_fit
    assert fit is not None
    assert found.rail == "VDD_IN"
    for name, one in outcome.answer.measured.items():
        assert one.energy is not None
        latency = Interval(one.latency_s, one.latency_s, one.latency_s)
        expected = energy_of(fit, outcome.pool.features(name), latency)
        # What disturbs a stretch counts as energy, not as latency: how well it fits is for a quiet board.
        assert 3 * one.latency_s < expected.mid < 15 * one.latency_s
    assert found.energy_left_out is not None
    assert found.energy_left_out.students == 10
    assert any("from the rail VDD_IN: 10 students" in line for line in outcome_lines(outcome))


@pytest.mark.usefixtures("tiny")
def test_a_board_behind_ssh_is_calibrated_like_this_machine_and_goes_on_after_a_cut(
    tmp_path: Path, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = HostChoice(
        url=board.url, key=str(board.key), known_hosts=str(board.known_hosts(tmp_path / "known_hosts")),
        python=sys.executable,
    )  # fmt: skip
    wanted = replace(request(tmp_path / "board", budget_s=20.0), host=host)
    with monkeypatch.context() as cut:
        cut.setattr("edgekd.bench.campaign.write_record", _cut_after(3))
        with pytest.raises(HostError, match="cut"):
            calibrate(wanted, base=tmp_path)
    kept = {path: path.read_bytes() for path in (tmp_path / "board").rglob("*.1.json")}
    assert len(kept) == 3
    outcome = calibrate(wanted, base=tmp_path)
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(outcome.answer.measured) == 10
    assert outcome.calibrations[0].left_out.median_error < 0.5
    assert load_profile(str(tmp_path / "board" / "profile.yaml")).calibration is not None


def _cut_after(number: int) -> Any:
    """What stores `number` records and then loses the link."""
    left = [number]

    def store(record: Any, path: Path) -> None:
        if not left[0]:
            raise HostError("the link was cut")
        left[0] -= 1
        write_record(record, path)

    return store


@pytest.mark.usefixtures("tiny")
def test_the_profile_of_a_calibrated_board_names_its_calibration(tmp_path: Path) -> None:
    folder = tmp_path / "board"
    calibrate(request(folder), base=tmp_path)
    profile = load_profile(str(folder / "profile.yaml"))
    assert profile.calibration == str(folder / "calibration.json")
    assert profile.model_copy(update={"calibration": None}) == load_profile(DEVICE)
    # Calibrating again from the board's own profile keeps one line, and the other precision beside the first.
    calibrate(request(folder, device=str(folder / "profile.yaml"), precisions=("int8",)), base=tmp_path)
    assert (folder / "profile.yaml").read_text().count("calibration:") == 1
    assert [one.precision for one in read_calibrations(folder / "calibration.json")] == ["fp32", "int8"]


@pytest.mark.usefixtures("tiny")
def test_a_second_call_measures_nothing_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.campaign.MOST_ROUNDS", 2)
    monkeypatch.setattr("edgekd.bench.campaign.EXTRA_ROUNDS", 0)
    first = calibrate(request(tmp_path / "board", budget_s=600.0), base=tmp_path)
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "board").rglob("*.json")}
    second = calibrate(request(tmp_path / "board", budget_s=600.0), base=tmp_path)
    assert second.answer.visits == first.answer.visits
    visits = [path for path in records if path.parent.name != "board"]
    assert all(path.stat().st_mtime_ns == records[path] for path in visits)


def test_a_board_with_another_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"its processor is {HERE}"):
        calibrate(request(tmp_path / "board", device=OTHER), base=tmp_path)
    assert not (tmp_path / "board").exists()


def test_a_damaged_calibration_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(RecordError, match=r"calibration\.json"):
        calibrate(request(tmp_path), base=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.usefixtures("tiny")
def test_a_second_calibration_in_one_folder_at_once_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "board"), pytest.raises(InputError, match="another edgekd is running there"):
        calibrate(request(tmp_path / "board"), base=tmp_path)
    assert not (tmp_path / "board" / "calibration.json").exists()


def test_options_that_cannot_be_are_named(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "precisions": None, "sequences": None, "batch": 1, "threads": 1, "students": 20, "budget": "3 min",
        "key": None, "known_hosts": None, "python": None,
    }  # fmt: skip
    made = request_from_text("local", DEVICE, "bert", tmp_path, **options)
    assert (made.precisions, made.budget_s, made.sequences) == (("fp32", "int8"), 180.0, ())
    for change, said in (
        ({"precisions": ["fp8"]}, "--precision fp8: expected one of fp16, fp32, fp32-fused, int4, int8, int8-fused"),
        ({"precisions": ["fp32", "fp32"]}, "once each"),
        ({"budget": "3"}, "--budget"),
        ({"budget": "0 s"}, "--budget: found no time at all"),
        ({"students": 3}, "--students 3"),
    ):
        with pytest.raises(InputError, match=said):
            request_from_text("local", DEVICE, "bert", tmp_path, **(options | change))


def test_leaving_out_counts_what_a_fit_to_the_others_says() -> None:
    from edgekd.cost.terms import TERMS

    zeros = dict.fromkeys(TERMS, 0.0)
    samples = [Sample(str(x), zeros | {"starts": float(x), "macs.head": 1e6 * x}, 1e-4 * x) for x in range(1, 13)]
    assert left_out(samples).within_5 == 1.0
    wrong = Sample("wrong", samples[5].features, samples[5].value * 1.5, confirmed=True)
    assert left_out([*samples[:5], wrong, *samples[6:]]).within_10 == pytest.approx(11 / 12)


def test_tails_are_priced_where_the_samples_have_them() -> None:
    from edgekd.cost.tails import TAILS
    from edgekd.cost.terms import TERMS

    zeros = dict.fromkeys(TERMS, 0.0)
    rows = [{"starts": 10.0 * x, "macs.head": 1e6 * x**2, TAILS: 1e6 * (x % 3)} for x in range(1, 19)]
    samples = [
        Sample(str(row), zeros | row, 1e-6 * row["starts"] + 1e-11 * row["macs.head"] + 3e-11 * row[TAILS])
        for row in rows
    ]
    assert latency_fit(samples).prices[TAILS] == pytest.approx(3e-11, rel=0.1)
    assert left_out(samples).within_5 == 1.0
    without = [
        replace(sample, features={name: value for name, value in sample.features.items() if name != TAILS})
        for sample in samples
    ]
    assert TAILS not in latency_fit(without).prices
    assert left_out(without).within_5 < 0.9


def test_slower_visits_are_told_stretch_by_stretch_or_in_one_line() -> None:
    def told(*windows: Window) -> list[str]:
        visits = tuple(Visit("a", 1.0, 1.0, 0.01) for _ in range(40))
        found = replace(findings(visits), windows=windows)
        return module._notes(Answer({}, 1.0, 0.0, found, visits, 0, ()), fitted)

    samples = [Sample(str(x), {"starts": float(x)}, 1.0 * x) for x in range(1, 5)]
    fitted = fit(samples, ("starts",))
    assert told() == []
    assert told(Window(0, 0, 1.4), Window(4, 9, 1.5)) == [
        "visit 1 of 40 ran 1.40 times as slow; they count little, or not at all",
        "visits 5 to 10 of 40 ran 1.50 times as slow; they count little, or not at all",
    ]
    several = [Window(8 * place, 8 * place + 2, 1.4 + place / 10) for place in range(4)]
    (line,) = told(*several)
    assert line.startswith("12 of 40 visits, in 4 stretches, ran 1.40 to 1.70 times as slow")
