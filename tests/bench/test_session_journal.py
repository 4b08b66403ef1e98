"""Sessions that are cut and begun again: what is kept, what is taken up, and what is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from canned_results import QUICK, models_at, result_of_agent
from fake_agent import done, told

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.journal import Journal
from edgekd.bench.sentinel import sentinel_model
from edgekd.bench.session import measure, measure_pairs
from edgekd.errors import HostError, RunError
from edgekd.hosts.fake import Answer, FakeHost


class Unreachable(FakeHost):
    """A board that answers `answers` questions, and then is gone until there are more."""

    def __init__(self, answers: int) -> None:
        super().__init__(respond=lambda _, argv: done(argv, result_of_agent()))
        self.answers = answers

    def run(self, argv: Any, *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Any:
        if not self.answers:
            self.runs.append(tuple(argv))
            raise HostError("pi: the link broke while a command ran")
        self.answers -= 1
        return super().run(argv, timeout_s=timeout_s, max_output_bytes=max_output_bytes)


def test_what_came_home_is_kept_and_what_was_begun_is_taken_up_by_its_name(classifier: Path, tmp_path: Path) -> None:
    board, journal = Unreachable(1), Journal(tmp_path / "runs")
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            measure(board, models_at(classifier), QUICK, journal=journal)
        assert caught.value.state == "UNREACHABLE"
    first, lost, again = (argv[3] for argv in board.runs)
    assert len({first, lost, again}) == 2
    assert lost == again
    board.answers = 9
    (record,) = measure(board, models_at(classifier), QUICK, journal=journal)
    assert len(record.runs) == 2
    assert [argv[3] for argv in board.runs][3:] == [lost]
    assert not [name for name in board.files if name.startswith("runs/")]
    assert len(list((tmp_path / "runs").glob("*.result"))) == 2
    journal.clear()


def test_models_of_a_run_that_goes_on_without_us_stay_where_it_loads_them(classifier: Path, tmp_path: Path) -> None:
    board = Unreachable(0)
    with pytest.raises(RunError):
        measure_pairs(
            board, models_at(classifier), sentinel_model(tmp_path / "s.onnx"), QUICK, journal=Journal(tmp_path)
        )
    assert f"blobs/{artifact_from_file(classifier).sha256}.onnx" in board.files


def test_a_model_that_is_named_twice_has_runs_of_its_own_each_time(classifier: Path, tmp_path: Path) -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        return done(argv, result_of_agent() if plain else result_of_agent(runs=[{"shapes": {}, "run": paired}]))

    paired = {"load_ns": 5, "model_ns": [2], "sentinel_ns": [1, 1]}
    for plain in (True, False):
        board, journal = FakeHost(respond=respond), Journal(tmp_path / f"runs-{plain}")
        if plain:
            measure(board, models_at(classifier, classifier), QUICK, journal=journal)
        else:
            measure_pairs(board, models_at(classifier, classifier), classifier, QUICK, pairs=1, journal=journal)
        assert len({argv[3] for argv in board.runs}) == len(board.runs) == (4 if plain else 2)


def test_a_run_that_failed_is_forgotten_and_the_next_one_is_new(classifier: Path, tmp_path: Path) -> None:
    board = FakeHost(respond=lambda _, argv: Answer(stdout=told(argv, "TIMEOUT")))
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            measure(board, models_at(classifier), QUICK, journal=Journal(tmp_path / "runs"))
        assert caught.value.state == "TIMEOUT"
    assert len({argv[3] for argv in board.runs}) == 2
    assert not (tmp_path / "runs").exists()
