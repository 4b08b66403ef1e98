"""The energy of an inference from stretches: arithmetic, the real agent on a dressed board, and unknown where unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rails_board import jetson

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.energy import Energy, energy_of
from edgekd.bench.plan import BenchPlan
from edgekd.bench.sentinel import sentinel_model
from edgekd.bench.session import measure_pairs
from edgekd.hosts.open import open_host
from edgekd.record import PairedRun

QUICK = BenchPlan(warmup_s=0.0, min_duration_s=0.0, max_duration_s=5, dims={"batch": 1, "sequence": 16}, id_limit=50)


def run(*watts: float, inferences: int = 100, lasted_s: float = 1.0, **changed: Any) -> PairedRun:
    """A visit whose stretch saw `watts` evenly over its time."""
    gap_s = lasted_s / max(1, len(watts) - 1)
    looks = [{"at_s": index * gap_s, "rails_w": {"VDD_IN": each, "VDD_SOC": 0.1}} for index, each in enumerate(watts)]
    energy = {"inferences": inferences, "lasted_s": lasted_s, "looks": looks, **changed} if watts else None
    return PairedRun.model_validate({"load_ns": 5, "model_ns": [9], "sentinel_ns": [4, 4], "energy": energy})


def test_it_is_the_mean_power_of_the_supply_times_what_an_inference_lasted() -> None:
    found = energy_of([run(*[4.0] * 5, *[6.0] * 6), run()])
    assert found is not None
    # Four tenths of the time at 4 W, a tenth between both, five tenths at 6 W.
    assert found.value_j == pytest.approx((4 * 0.4 + 5 * 0.1 + 6 * 0.5) / 100)
    assert (found.rail, found.looks, found.stretches) == ("VDD_IN", 11, 1)
    assert found.error == pytest.approx(0.2039 / 11**0.5, rel=0.02)


def test_what_a_thread_waited_for_a_processor_is_no_part_of_it() -> None:
    waited, free = energy_of([run(*[4.0] * 10, thread_s=0.25)]), energy_of([run(*[4.0] * 10)])
    assert waited is not None
    assert free is not None
    assert waited.value_j == pytest.approx(free.value_j / 4)


def test_stretches_that_disagree_are_less_sure_than_each_says_of_itself() -> None:
    steady = energy_of([run(*[4.0] * 10)] * 2)
    torn = energy_of([run(*[4.0] * 10), run(*[5.0] * 10)])
    assert steady == Energy(pytest.approx(0.04), pytest.approx(0.01 / 2**0.5), "VDD_IN", 20, 2)
    assert torn is not None
    assert torn.value_j == pytest.approx(0.2**0.5 / 10)
    assert torn.error > 0.1


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [run()],
        [run(*[4.0] * 7)],
        [run(*[4.0] * 9, 0.0)],
        [run(*[4.0] * 9, -1.0)],
        [run(*[4.0] * 10, looks=[{"at_s": 0.01 * at, "rails_w": {"VDD_IN": 4.0}} for at in range(10)])],
        [run(*[4.0] * 10, looks=[{"at_s": 0.1 * at, "rails_w": {"VDD_CPU_GPU_CV": 4.0}} for at in range(10)])],
        [run(*[4.0] * 10, looks=[{"at_s": 0.1 * at, "rails_w": {"VDD_IN": 4.0} if at else {}} for at in range(10)])],
    ],
)
def test_what_no_stretch_tells_is_unknown(runs: list[PairedRun]) -> None:
    assert energy_of(runs) is None


def test_a_stretch_that_does_not_tell_does_not_spoil_one_that_does() -> None:
    both = energy_of([run(*[4.0] * 10), run(*[9.0] * 3)])
    assert both == energy_of([run(*[4.0] * 10)])


def test_looks_out_of_order_or_after_the_end_are_no_stretch() -> None:
    for times in ([0.0, 0.2, 0.1], [0.0, 0.5, 1.5]):
        with pytest.raises(ValueError, match="looks of a stretch"):
            run(4.0, looks=[{"at_s": at, "rails_w": {"VDD_IN": 4.0}} for at in times])


def test_the_real_agent_tells_the_energy_on_a_board_dressed_as_a_jetson(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models in one order, each with a stretch of its own; the supply changes between 4 and 8 W all the time."""
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "jetson"))
    sentinel = sentinel_model(tmp_path / "sentinel.onnx")
    models = [(classifier, artifact_from_file(classifier, name=name)) for name in ("a", "b")]
    with jetson(tmp_path / "jetson", [4.0, 8.0]), open_host("local") as host:
        told = measure_pairs(host, models, sentinel, QUICK, pairs=4, energy_s=1.0, together=2)
        (unasked,) = measure_pairs(host, models[:1], sentinel, QUICK, pairs=4)
    for record in told:
        found, stretch = energy_of([record.run]), record.run.energy
        assert found is not None
        assert stretch is not None
        assert stretch.thread_s is not None
        assert 0 < stretch.thread_s <= stretch.lasted_s
        watts = found.value_j * stretch.inferences / stretch.thread_s
        assert 4.0 < watts < 8.0
        assert watts == pytest.approx(6.0, abs=6 * 4 * found.error)
        assert len(record.run.model_ns) >= 4
    assert unasked.run.energy is None


def test_a_board_without_rails_tells_none(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path))
    sentinel = sentinel_model(tmp_path / "sentinel.onnx")
    models = [(classifier, artifact_from_file(classifier, name="a"))]
    with open_host("local") as host:
        (record,) = measure_pairs(host, models, sentinel, QUICK, pairs=4, energy_s=1.0)
    assert record.run.energy is None
