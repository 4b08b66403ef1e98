"""The loop after training, with real students on a board of arithmetic."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from arithmetic_board import LOOP, attempts_of, board, untrained_s
from tiny_recipe import TINY, Heard, run_tiny, snapshot

from edgekd.errors import RecordError
from edgekd.files import read_json, write_json
from edgekd.pipeline import stash
from edgekd.pipeline.ledger import Ledger
from edgekd.pipeline.run import Outcome, plan
from edgekd.student import StudentSpec


def run_loop(root: Path, slower: float, *extra: str, again: Sequence[str] = ()) -> tuple[Outcome, Heard]:
    with board(root, slower):
        return run_tiny(root, *LOOP, *extra, again=again)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the teacher and its answers, from which each loop starts."""
    root = tmp_path_factory.mktemp("started") / "run"
    with board(root, 1.0):
        run_tiny(root, *LOOP, "budget.attempts=1")
    shutil.rmtree(root / "attempts")
    (root / "attempts.json").unlink()
    for step in ("size", "distill", "export", "bench", "gate"):
        Ledger(root).forget(step)
    return root


@pytest.fixture
def fresh(started: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(started, tmp_path / "run"))


@pytest.fixture(scope="module")
def missed(started: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    """A loop whose first student is 1.3 times as slow, once it is trained, as sizing had measured."""
    root = Path(shutil.copytree(started, tmp_path_factory.mktemp("missed") / "run"))
    outcome, heard = run_loop(root, 1.3)
    assert outcome.exit_code == 0
    return root, heard


@pytest.fixture
def after_miss(missed: tuple[Path, Heard], tmp_path: Path) -> Path:
    return Path(shutil.copytree(missed[0], tmp_path / "run"))


def trainings(heard: Heard) -> int:
    return heard.ran.count("distill")


def test_a_miss_sends_the_truth_back_and_the_next_student_keeps_the_limits(missed: tuple[Path, Heard]) -> None:
    root, heard = missed
    file = attempts_of(root)
    first, second = file.attempts
    truth = next(truth for truth in first.truths["fp32"] if truth.metric == "latency.p50")
    assert (first.outcome, first.missed) == ("fail", True)
    assert truth.expected == pytest.approx(untrained_s(first.student))
    assert truth.high == pytest.approx(1.3 * untrained_s(first.student), rel=1e-4)
    assert second.learned.factors["fp32"]["latency.p50"] == pytest.approx(1.3, rel=1e-4)
    assert (second.outcome, file.best) == ("pass", second.number)
    ratio = untrained_s(second.student) * 1.3 / 1.1e-3
    assert 0.88 < ratio <= 1
    assert ratio <= 0.9 * untrained_s(first.student) * 1.3 / 1.1e-3
    assert heard.ran == [*["size", "distill", "export", "bench", "gate"] * 2, "report"]
    assert "no room" in (file.ended or "")


def test_the_winner_stands_at_the_usual_places_and_every_attempt_is_kept(missed: tuple[Path, Heard]) -> None:
    root, _ = missed
    best = attempts_of(root).attempts[-1]
    assert read_json(root / "students.json")["chosen"] == best.name
    assert StudentSpec.from_dict(read_json(root / "student.json")["spec"]) == best.student
    for attempt in attempts_of(root).attempts:
        kept = root / "attempts" / str(attempt.number)
        assert read_json(kept / "students.json")["chosen"] == attempt.name
        assert read_json(kept / "verdict.json")["outcome"] == attempt.outcome
        for name in ("sizing.json", "student.json", "student/model.safetensors", "artifacts/student-int8.onnx"):
            assert (kept / name).is_file(), name
        assert len(list((kept / "records").glob("*.json"))) == 6
    assert [path.name for path in (root / "work").iterdir() if path.is_dir()] == []


def test_a_second_run_of_a_finished_loop_changes_nothing(missed: tuple[Path, Heard]) -> None:
    root, _ = missed
    before = snapshot(root)
    outcome, heard = run_loop(root, 1.3)
    assert (outcome.exit_code, heard.ran, heard.said) == (0, [], [])
    assert snapshot(root) == before
    assert {state for _, state in plan("quickstart", [*TINY, *LOOP], root).steps} == {"unchanged"}


def test_room_is_filled_step_by_step_with_larger_students(fresh: Path) -> None:
    outcome, _ = run_loop(fresh, 0.5)
    file = attempts_of(fresh)
    assert outcome.exit_code == 0
    ratios = [attempt.ratio for attempt in file.attempts]
    assert len(ratios) == 3
    assert all(1.1 <= after / before <= 1.25 for before, after in itertools.pairwise(ratios))
    assert [attempt.learned.aim.direction for attempt in file.attempts[1:] if attempt.learned.aim] == ["larger"] * 2
    best = max(file.attempts, key=lambda attempt: (attempt.validation_accuracy, attempt.capability))
    assert file.best == best.number
    assert read_json(fresh / "students.json")["chosen"] == best.name
    assert file.ended == "budget.attempts allows 3"
    before = snapshot(fresh)
    assert run_loop(fresh, 0.5)[1].ran == []
    assert snapshot(fresh) == before


def test_a_larger_budget_goes_on_where_the_loop_ended(fresh: Path) -> None:
    run_loop(fresh, 0.5, "budget.attempts=1")
    assert attempts_of(fresh).ended == "budget.attempts allows 1"
    _, heard = run_loop(fresh, 0.5, "budget.attempts=2")
    assert trainings(heard) == 1
    assert len(attempts_of(fresh).attempts) == 2


def test_one_attempt_with_a_miss_ends_with_that_verdict(fresh: Path) -> None:
    outcome, heard = run_loop(fresh, 1.3, "budget.attempts=1")
    assert outcome.exit_code == 1
    assert heard.ran == ["size", "distill", "export", "bench", "gate", "report"]
    assert attempts_of(fresh).best == 1


def test_a_miss_that_no_student_mends_ends_with_the_last_verdict(fresh: Path) -> None:
    outcome, heard = run_loop(fresh, 40.0)
    file = attempts_of(fresh)
    assert outcome.exit_code == 1
    assert len(file.attempts) == 1
    assert file.ended == "the space holds no smaller student that should keep the limits"
    assert "no smaller student" in heard.summaries["size"]
    assert read_json(fresh / "students.json")["chosen"] == file.attempts[0].name
    before = snapshot(fresh)
    assert run_loop(fresh, 40.0)[1].ran == []
    assert snapshot(fresh) == before


def test_a_missed_accuracy_is_not_mended_by_a_smaller_student(fresh: Path) -> None:
    outcome, _ = run_loop(fresh, 0.9, "sla.accuracy=100 %")
    file = attempts_of(fresh)
    assert outcome.exit_code == 1
    assert [attempt.learned.aim.direction for attempt in file.attempts[1:] if attempt.learned.aim] == ["larger"] * (
        len(file.attempts) - 1
    )


def test_a_measurement_that_decides_nothing_starts_no_attempt(fresh: Path) -> None:
    with board(fresh, 1.3, throttled=True):
        outcome, heard = run_tiny(fresh, *LOOP)
    assert outcome.exit_code == 3
    assert trainings(heard) == 1
    assert "measure again" in (attempts_of(fresh).ended or "")


def test_a_training_that_would_not_fit_the_budget_is_not_begun(fresh: Path) -> None:
    run_loop(fresh, 1.3, "budget.attempts=1")
    used_s = attempts_of(fresh).attempts[0].seconds
    short = f"budget.training={used_s * 1.05:.3f} s"
    outcome, heard = run_loop(fresh, 1.3, short)
    assert (outcome.exit_code, trainings(heard)) == (1, 0)
    assert "budget.training leaves" in (attempts_of(fresh).ended or "")
    assert run_loop(fresh, 1.3, short)[1].ran == []
    outcome, heard = run_loop(fresh, 1.3)
    assert (outcome.exit_code, trainings(heard)) == (0, 1)


def test_a_changed_limit_judges_anew_and_trains_nobody_twice(after_miss: Path) -> None:
    first, second = attempts_of(after_miss).attempts
    outcome, heard = run_loop(after_miss, 1.3, "sla.latency.p50=1.5 ms")
    assert outcome.exit_code == 0
    file = attempts_of(after_miss)
    assert file.attempts[0].learned.factors["fp32"]["latency.p50"] == pytest.approx(1.3, rel=1e-4)
    assert len({attempt.name for attempt in (*file.attempts, *file.earlier)}) == len(file.attempts) + len(file.earlier)
    assert {first.name, second.name} <= {attempt.name for attempt in (*file.attempts, *file.earlier)}
    _, heard = run_loop(after_miss, 1.3)
    assert trainings(heard) == 0
    assert read_json(after_miss / "students.json")["chosen"] == second.name
    assert heard.current.count("distill") == 1


def test_another_training_forgets_every_attempt(after_miss: Path) -> None:
    _, heard = run_loop(after_miss, 1.3, "distill.alpha=0.5")
    file = attempts_of(after_miss)
    assert trainings(heard) == len(file.attempts) == 2
    assert file.earlier == []
    assert sorted(path.name for path in (after_miss / "attempts").iterdir()) == ["1", "2"]


def test_the_standing_attempt_is_measured_again_and_the_loop_goes_on_from_there(after_miss: Path) -> None:
    outcome, heard = run_loop(after_miss, 0.9, again=["bench"])
    assert outcome.exit_code == 0
    assert heard.ran[:1] == ["bench"]
    file = attempts_of(after_miss)
    assert file.attempts[1].truths["fp32"][0].high == pytest.approx(
        0.9 * untrained_s(file.attempts[1].student), rel=1e-4
    )


def test_a_student_trained_again_keeps_the_number_of_its_attempt(after_miss: Path) -> None:
    _, heard = run_loop(after_miss, 1.3, again=["distill"])
    assert trainings(heard) == 1
    assert [attempt.number for attempt in attempts_of(after_miss).attempts] == [1, 2]
    assert attempts_of(after_miss).earlier == []


def test_measuring_the_untrained_again_begins_the_loop_anew_without_training(after_miss: Path) -> None:
    outcome, heard = run_loop(after_miss, 1.3, again=["size"])
    assert outcome.exit_code == 0
    assert trainings(heard) == 0
    assert attempts_of(after_miss).ended is not None


def test_one_step_alone_leaves_a_finished_loop_as_it_is(after_miss: Path) -> None:
    before = snapshot(after_miss)
    for step in ("size", "distill", "export"):
        with board(after_miss, 1.3):
            _, heard = run_tiny(after_miss, *LOOP, only=step)
        assert (heard.ran, heard.current) == ([], [step])
    assert snapshot(after_miss) == before


def test_a_damaged_file_of_attempts_is_named_with_the_way_out(after_miss: Path) -> None:
    table = read_json(after_miss / "attempts.json")
    write_json(after_miss / "attempts.json", table | {"best": 99})
    with pytest.raises(RecordError, match=r"attempts\.json: .*best is 99, which is none of the attempts\. Remove it"):
        run_loop(after_miss, 1.3)
    (after_miss / "attempts.json").unlink()
    assert trainings(run_loop(after_miss, 1.3)[1]) == 0
    assert read_json(after_miss / "attempts.json") == table


@pytest.mark.parametrize("name", ["put_back", "clear", "_link_or_copy"])
def test_a_kill_while_the_winner_is_put_back_costs_nothing(
    name: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    run_loop(fresh, 40.0, "budget.attempts=1")
    before = {name: facts for name, facts in snapshot(fresh).items() if name.startswith(("student", "artifacts"))}
    monkeypatch.setattr(stash, name, killed)
    with pytest.raises(KeyboardInterrupt):
        run_loop(fresh, 40.0)
    monkeypatch.undo()
    outcome, heard = run_loop(fresh, 40.0)
    assert (outcome.exit_code, trainings(heard)) == (1, 0)
    after = snapshot(fresh)
    assert {name: after[name] for name in before} == before
    assert run_loop(fresh, 40.0)[1].ran == []
