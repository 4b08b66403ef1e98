"""Several processes take the steps that one would take. Two real ones are started three times, for all tests here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several_processes as driver
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edgekd.distill import processes
from edgekd.errors import StorageError

ROOT = Path(__file__).parents[2]


def launched(folder: Path, mode: str) -> Any:
    """Two processes on this machine's loopback."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    program = Path(driver.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    return subprocess.run(
        [*command, str(folder), mode], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def left_by(folder: Path, mode: str) -> list[Any]:
    return [json.loads((folder / f"{mode}-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[Any]:
    run = launched(folder, "whole")
    assert run.returncode == 0, run.stderr
    return left_by(folder, "whole")


@pytest.fixture(scope="module")
def lesson(folder: Path, whole: list[Any]) -> Any:
    return driver.lesson_of(folder)


@pytest.mark.parametrize("accumulation", [1, 2, 4, 8])
def test_gradients_and_weights_are_those_of_one_process(
    folder: Path, lesson: Any, tmp_path: Path, accumulation: int
) -> None:
    alone = driver.gradients(tmp_path, lesson, accumulation, 1)
    assert len(alone["steps"]) == 3
    for rank in range(2):
        found = torch.load(folder / f"gradients-{accumulation}-{rank}.pt")
        for step, expected in zip(found["steps"], alone["steps"], strict=True):
            torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(found["weights"], alone["weights"], rtol=1e-4, atol=1e-6)


def test_a_part_that_no_forward_pass_asks_holds_nobody_up(whole: list[Any]) -> None:
    first, second = (told["spare"] for told in whole)
    assert first == second
    assert first["no gradient"]
    before, after = first["spare"]
    assert before == after


def test_a_training_is_that_of_one_process(lesson: Any, whole: list[Any], tmp_path: Path) -> None:
    alone = driver.plain_training(tmp_path, lesson)
    first, second = (told["plain"] for told in whole)
    assert first["weights"] == second["weights"]
    assert first["result"] == second["result"]
    np.testing.assert_allclose(first["logits"], alone["logits"], atol=0.02)
    assert len(first["result"]["history"]) == 3
    for found, expected in zip(first["result"]["history"], alone["result"]["history"], strict=True):
        assert found == pytest.approx(expected, rel=0.01, abs=1e-6)


def test_layers_that_are_given_up_on_the_way_are_given_up_alike(whole: list[Any], tmp_path: Path) -> None:
    alone = driver.dropping_training(tmp_path / "alone")
    first, second = (told["dropping"] for told in whole)
    assert first == second
    assert [record.get("scaffold", 0) for record in first["result"]["history"]] == [1, 0, 0]
    np.testing.assert_allclose(first["logits"], alone["logits"], atol=0.02)


def test_the_first_process_alone_tells_of_progress_with_the_loss_of_all(
    whole: list[Any], lesson: Any, tmp_path: Path
) -> None:
    alone = driver.plain_training(tmp_path, lesson)
    first, second = (told["plain"] for told in whole)
    assert second["steps"] == []
    assert [step for step, _ in first["steps"]] == list(range(1, 10))
    assert [loss for _, loss in first["steps"]] == pytest.approx([loss for _, loss in alone["steps"]], rel=0.01)


def test_the_first_process_alone_reports_and_nothing_else_is_learned(folder: Path, whole: list[Any]) -> None:
    for told in whole:
        assert told["told"] == told["plain"]
    main, final = sorted(folder.glob("tensorboard/two-*/*"), reverse=True)
    assert [main.name, final.name] == ["main", "final"]
    (file,) = main.iterdir()  # of one process
    events = EventAccumulator(str(file))
    events.Reload()
    found = [[event.step, event.value] for event in events.Scalars("train/step_loss")]
    expected = whole[0]["plain"]["steps"][: len(found)]
    assert [step for step, _ in found] == [step for step, _ in expected] == [1, 2, 3, 4, 5, 6]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected])


def test_the_first_process_alone_saves_and_nothing_is_left(whole: list[Any]) -> None:
    first, second = (told["dropout"] for told in whole)
    assert first["saved"] == [first["result"]["best_epoch"]]
    assert second["saved"] == []
    assert not first["left"]
    assert first["weights"] == second["weights"]


@pytest.fixture(scope="module")
def killed(folder: Path, whole: list[Any]) -> Any:
    return launched(folder, "killed")


def test_the_death_of_one_process_ends_all_and_leaves_whole_checkpoints(folder: Path, killed: Any) -> None:
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert not (folder / "killed-0.json").exists()
    assert len(list(folder.glob("killed/checkpoints/*/main/checkpoint-12/complete.json"))) == 1


def test_dropout_falls_differently_in_each_process(whole: list[Any]) -> None:
    first, second = (told["dropout"]["seed"] for told in whole)
    assert (first, second) == (5, 6)


def test_a_training_whose_second_process_was_killed_goes_on_to_the_same_weights(
    folder: Path, whole: list[Any], killed: Any
) -> None:
    resumed = launched(folder, "resumed")
    assert resumed.returncode == 0, resumed.stderr
    for rank, found in enumerate(left_by(folder, "resumed")):
        expected = whole[rank]["dropout"]
        assert (found["weights"], found["result"]) == (expected["weights"], expected["result"])
        assert found["saved"] == expected["saved"]
        assert found["steps"] == (list(range(13, 49)) if rank == 0 else [])


def test_the_clock_of_the_first_process_stops_all_at_one_step_however_slow_they_are(whole: list[Any]) -> None:
    first, second = (told["slow"] for told in whole)
    assert first == second
    assert first["result"]["stopped"] == "budget"
    assert 1 <= first["result"]["history"][-1]["step"] <= 40


def test_what_one_process_meets_is_refused_by_all(whole: list[Any]) -> None:
    first, second = (told["refusals"] for told in whole)
    assert first == second
    assert "were given different data, settings or first weights" in first["shared"]
    assert "the loss is nan at step 1" in first["nan"]
    assert "batch_size 5, accumulation 1 and 2 processes" in first["odd"]
    assert "a trial runs in one process, found 2" in first["trial"]
    assert first["first"] == "StorageError: the disk is full"


def test_all_hear_what_the_first_says(whole: list[Any]) -> None:
    assert [told["said"] for told in whole] == [["by 0", 0, 0.5, 1, False, True]] * 2


def test_one_process_alone_does_its_work_and_nothing_else() -> None:
    processes.join()
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.as_first_says("word") == "word"
    assert processes.done_by_first(lambda: 3) == 3
    assert processes.done_by_all(lambda: 3) == [3]
    assert processes.mean_of_all(2.5) == 2.5
    assert processes.sum_of_all(3) == 3
    assert processes.all_say_the_same("word")
    assert processes.first_says(True)
    assert not processes.first_says(False)
    processes.wait_for_all()
    with pytest.raises(StorageError, match="full"):
        processes.done_by_first(driver.fail)
    with pytest.raises(StorageError, match="full"):
        processes.done_by_all(driver.fail)
