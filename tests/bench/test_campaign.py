"""Campaigns: every student in every round, what stands out again, and nothing lost by a kill."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_agent import done, orders

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.campaign import ENERGY_ROUNDS, MOST_ROUNDS, Campaign, answer, shuffled
from edgekd.bench.campaign import LEAST_ROUNDS as ROUNDS
from edgekd.bench.plan import BenchPlan
from edgekd.bench.sentinel import sentinel_model
from edgekd.bench.windows import Level
from edgekd.errors import MeasureError, RecordError
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.open import open_host
from edgekd.record import Artifact, PairedRecord, read_record

QUICK = BenchPlan(warmup_s=0.0, min_duration_s=0.1, max_duration_s=5, dims={"batch": 1, "sequence": 16}, id_limit=50)
HOST = {"machine": "aarch64", "system": "Linux", "python": "3.11", "boot_id": "a", "cores": 4}
RUNTIME = {"name": "onnxruntime", "version": "1", "providers": ["CPUExecutionProvider"], "threads": 1}
NAMES = [f"s{index}" for index in range(6)]


def board(
    slower: Callable[[int], float],
    wrong: Callable[[str, int], float] = lambda *_: 1.0,
    threads: int = 1,
    watts: float | None = None,
) -> FakeHost:
    """A board whose sentinel takes 1 ms times `slower(visit)`, and student number k takes k + 1 sentinels times `wrong`.

    With `watts` it has a rail that says so whenever a stretch is asked for.
    """
    visits = 0

    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        nonlocal visits
        spec, runs = orders(host, argv), []
        for entry in spec["models"]:
            name = onnx.load_from_string(host.files[entry["path"]]).graph.name
            level_ns = round(1e6 * slower(visits))
            model_ns = round(level_ns * (1 + int(name[1:])) * wrong(name, visits))
            run = {"load_ns": 5, "model_ns": [model_ns] * 4, "sentinel_ns": [level_ns] * 5}
            if watts is not None and spec["energy_s"]:
                looks = [{"at_s": 0.1 * at, "rails_w": {"VDD_IN": watts}} for at in range(11)]
                run["energy"] = {"inferences": round(1e9 / model_ns), "lasted_s": 1.0, "looks": looks}
            runs.append({"shapes": {}, "run": {**run, "peak_memory_bytes": 10**6 + visits}})
            visits += 1
        result = {
            "format": 1,
            "host": HOST,
            "runtime": RUNTIME | {"threads": threads},
            "clock": "monotonic",
            "runs": runs,
        }
        return done(argv, result)

    return FakeHost(respond=respond)


def campaign(host: Any, tmp_path: Path, **changed: Any) -> Campaign:
    models = tmp_path / "models"
    models.mkdir(exist_ok=True)

    def model(name: str) -> tuple[Path, Artifact]:
        path = models / f"{name}.onnx"
        path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph([], name, [], [])).SerializeToString())
        return path, Artifact(**{**artifact_from_file(path).model_dump(), "name": name})

    sentinel = sentinel_model(tmp_path / "sentinel.onnx")
    return Campaign(host, sentinel, QUICK, tmp_path / "visits", model, pairs=4, **changed)


def test_every_student_is_visited_in_every_round_and_the_ratio_is_exact(tmp_path: Path) -> None:
    found = campaign(board(lambda _: 1.0), tmp_path).run(NAMES)
    assert {name: one.latency_s for name, one in found.measured.items()} == {
        name: pytest.approx(1e-3 * (index + 1)) for index, name in enumerate(NAMES)
    }
    assert {one.visits for one in found.measured.values()} == {ROUNDS}
    assert (found.repeated, found.unsettled, found.findings.windows) == (0, (), ())
    assert found.quiet_s == pytest.approx(1e-3)
    assert len(list((tmp_path / "visits").glob("*.json"))) == ROUNDS * len(NAMES)


def test_rounds_have_orders_of_their_own_that_do_not_change() -> None:
    orders = [shuffled(NAMES, number) for number in range(ROUNDS)]
    assert len({tuple(order) for order in orders}) == ROUNDS
    assert all(sorted(order) == NAMES for order in orders)
    assert orders == [shuffled(NAMES, number) for number in range(ROUNDS)]


def test_a_board_that_throttles_in_the_middle_is_detected_and_its_windows_measured_again(tmp_path: Path) -> None:
    throttled = range(7, 12)
    host = board(lambda visit: 2.0 if visit in throttled else 1.0, lambda _, visit: 1.3 if visit in throttled else 1.0)
    found = campaign(host, tmp_path).run(NAMES)
    (window,) = found.findings.windows
    assert (window.first, window.last) == (7, 11)
    assert window.slower == pytest.approx(2.0, rel=0.01)
    assert found.repeated == 5
    assert found.unsettled == ()
    for index, name in enumerate(NAMES):
        assert found.measured[name].latency_s == pytest.approx(1e-3 * (index + 1))


def test_small_and_large_students_that_feel_a_busy_board_differently_have_their_quiet_times(tmp_path: Path) -> None:
    # Of seven visits two find the board quiet, the others a sentinel that is 1.2 times slower. Large students are then
    # slower by 1.2 to the power of 1.3, small ones by its power 0.2.
    def slower(visit: int) -> float:
        return 1.2 if visit // 6 % 4 else 1.0

    sizes = {"s0": 1, "s1": 2, "s2": 3, "s39": 40, "s59": 60, "s79": 80}
    host = board(slower, lambda name, visit: slower(visit) ** (0.3 if sizes[name] > 3 else -0.8))
    found = campaign(host, tmp_path, budget_s=60.0).run(list(sizes))
    times_s = [found.measured[name].latency_s for name in sizes]
    assert times_s == pytest.approx([1e-3 * size for size in sizes.values()], rel=0.03)
    assert found.findings.windows == ()


def test_a_student_whose_visits_disagree_is_measured_again_and_the_odd_one_does_not_count(tmp_path: Path) -> None:
    host = board(lambda _: 1.0, lambda name, visit: 1.5 if name == "s2" and visit < 6 else 1.0)
    found = campaign(host, tmp_path).run(NAMES)
    assert found.repeated == 1
    assert found.measured["s2"].latency_s == pytest.approx(3e-3)
    assert found.measured["s2"].visits == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_of_several_threads_the_least_time_counts_however_often_a_core_was_taken(threads: int, tmp_path: Path) -> None:
    # Two of three visits find a core busy, which the sentinel with one thread does not notice.
    host = board(lambda _: 1.0, lambda _, visit: 1.0 if visit // 6 % 3 == 1 else 1.35, threads)
    found = campaign(host, tmp_path, budget_s=60.0).run(NAMES)
    times_s = [found.measured[name].latency_s for name in NAMES]
    undisturbed_s = [1e-3 * (index + 1) for index in range(len(NAMES))]
    if threads > 1:
        assert times_s == pytest.approx(undisturbed_s)
    else:
        assert all(time_s > 1.1 * least for time_s, least in zip(times_s, undisturbed_s, strict=True))
    assert all(one.error >= 0.01 for one in found.measured.values()) or threads == 1


def test_of_several_threads_what_slowed_the_sentinel_is_taken_off_as_far_as_students_share_it(tmp_path: Path) -> None:
    # No visit is undisturbed but the first of each; the others are up to 1.2 times slower, students by its power 0.6.
    def slower(visit: int) -> float:
        return 1.0 + 0.05 * (visit // 6 % 5)

    host = board(slower, lambda _, visit: slower(visit) ** -0.4, threads=2)
    found = campaign(host, tmp_path, budget_s=60.0).run(NAMES)
    assert found.findings.sensitivity == pytest.approx(0.6)
    times_s = [found.measured[name].latency_s for name in NAMES]
    assert times_s == pytest.approx([1e-3 * (index + 1) for index in range(len(NAMES))], rel=1e-3)
    known = Level(found.findings.curve, 0.45)
    assert campaign(host, tmp_path, budget_s=60.0, level=known).run(NAMES).findings.sensitivity == 0.45


@pytest.mark.parametrize("seed", range(3))
def test_where_neighbours_slow_most_visits_those_are_made_again_first_that_none_was_quiet_of(
    seed: int, tmp_path: Path
) -> None:
    draw, states = random.Random(seed), dict[int, float]()

    def slower(visit: int) -> float:
        return states.setdefault(visit, 1.45 if draw.random() < 0.7 else 1.0)

    clock, names = iter(range(10**6)), [f"s{index}" for index in range(20)]
    # Students feel a neighbour in another way than the sentinel, by up to 10 %, which no model of it knows.
    host = board(slower, lambda name, visit: slower(visit) ** (0.025 * (int(name[1:]) % 10)))
    found = campaign(host, tmp_path, budget_s=100.0, now=lambda: next(clock)).run(names)
    assert len(found.unsettled) <= 1
    quiet = [name for name in names if name not in found.unsettled]
    assert {name: found.measured[name].latency_s for name in quiet} == {
        name: pytest.approx(1e-3 * (1 + int(name[1:])), rel=0.02) for name in quiet
    }
    assert len(host.runs) < 60


def test_a_board_that_stays_slow_is_told_and_not_measured_for_ever(tmp_path: Path) -> None:
    host = board(lambda visit: 1.0 if visit < 6 else 3.0)
    found = campaign(host, tmp_path).run(NAMES)
    assert found.findings.windows[0].slower == pytest.approx(3.0, rel=0.01)
    assert len(host.runs) <= 6 * 6
    assert found.measured["s0"].visits == 1


def test_a_spent_budget_ends_with_fewer_rounds_but_never_without_an_answer(tmp_path: Path) -> None:
    clock = iter(range(0, 10**6, 100))
    found = campaign(board(lambda _: 1.0), tmp_path, budget_s=1.0, now=lambda: next(clock)).run(NAMES)
    assert {one.visits for one in found.measured.values()} == {1}


def test_a_budget_that_is_large_gives_more_rounds_but_not_for_ever(tmp_path: Path) -> None:
    clock = iter(range(10**6))
    found = campaign(board(lambda _: 1.0), tmp_path, budget_s=10_000.0, now=lambda: next(clock)).run(NAMES)
    assert {one.visits for one in found.measured.values()} == {MOST_ROUNDS}


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first = board(lambda _: 1.0)
    campaign(first, tmp_path).run(NAMES)
    second = board(lambda _: 9.0)
    found = campaign(second, tmp_path).run(NAMES)
    assert second.runs == []
    assert found.quiet_s == pytest.approx(1e-3)
    (tmp_path / "visits" / "s3.2.json").unlink()
    campaign(first, tmp_path).run(NAMES)
    assert (tmp_path / "visits" / "s3.2.json").exists()


def test_the_peak_of_memory_is_the_largest_of_all_visits(tmp_path: Path) -> None:
    found = campaign(board(lambda _: 1.0), tmp_path).run(["s0"])
    assert found.measured["s0"].peak_memory_bytes == 10**6 + ROUNDS - 1


def test_the_energy_of_an_inference_comes_from_the_first_rounds_and_from_believed_visits(tmp_path: Path) -> None:
    throttled = range(7, 12)
    host = board(
        lambda visit: 2.0 if visit in throttled else 1.0,
        lambda _, visit: 1.3 if visit in throttled else 1.0,
        watts=5.0,
    )
    found = campaign(host, tmp_path).run(NAMES)
    assert found.repeated == 5
    for index, name in enumerate(NAMES):
        energy = found.measured[name].energy
        assert energy is not None
        assert energy.value_j == pytest.approx(5e-3 * (index + 1), rel=0.01)
        assert energy.stretches == ENERGY_ROUNDS
    records = [read_record(path) for path in (tmp_path / "visits").glob("*.json")]
    with_stretch = [isinstance(record, PairedRecord) and record.run.energy is not None for record in records]
    assert sum(with_stretch) == ENERGY_ROUNDS * len(NAMES) + 5


def test_without_rails_the_energy_is_unknown(tmp_path: Path) -> None:
    assert campaign(board(lambda _: 1.0), tmp_path).run(["s0"]).measured["s0"].energy is None


def test_a_foreign_record_among_the_visits_is_named(tmp_path: Path) -> None:
    one = campaign(board(lambda _: 1.0), tmp_path)
    one.run(["s0"])
    path = tmp_path / "visits" / "s0.1.json"
    table = json.loads(path.read_text())
    run = {"load_ns": 1, "first_ns": 1, "warmup_ns": [], "samples_ns": [1]}
    del table["sentinel_sha256"], table["run"]
    path.write_text(json.dumps({**table, "kind": "latency", "runs": [run]}))
    with pytest.raises(RecordError, match="expected paired"):
        one.run(["s0"])
    with pytest.raises(MeasureError, match="without visits"):
        answer([], 0)


def test_a_campaign_on_a_real_host_goes_on_after_a_kill(classifier: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
from test_campaign import real_campaign
print("begun", flush=True)
real_campaign(Path({str(classifier)!r}), Path({str(tmp_path)!r})).run(["a", "b", "c"])
"""
    visits = tmp_path / "visits"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        while process.poll() is None and len(list(visits.glob("*.json"))) < 3:
            pass
        process.kill()
    before = {path.name: path.read_bytes() for path in visits.glob("*.json")}
    assert 3 <= len(before) < 9
    found = real_campaign(classifier, tmp_path).run(["a", "b", "c"])
    assert all((visits / name).read_bytes() == data for name, data in before.items())
    assert len(found.measured) == 3
    assert not (visits / ".runs").exists()
    records = [read_record(path) for path in visits.glob("*.json")]
    assert all(isinstance(record, PairedRecord) and len(record.run.model_ns) >= 4 for record in records)


def real_campaign(classifier: Path, folder: Path) -> Campaign:
    def model(name: str) -> tuple[Path, Artifact]:
        return classifier, Artifact(**{**artifact_from_file(classifier).model_dump(), "name": name})

    sentinel = sentinel_model(folder / "sentinel.onnx")
    return Campaign(open_host("local"), sentinel, QUICK, folder / "visits", model, pairs=4, least_s=0.2)
