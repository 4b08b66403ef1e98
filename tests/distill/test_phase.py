"""Resuming: a training that was killed ends with the weights and numbers of one that was not."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_digits import digit_images, tiny_vit

from edgekd.distill.cache import cached_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.schedule import Schedule
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.train import train

ROOT = Path(__file__).parents[2]
SETTINGS = TrainingSettings(
    epochs=6, learning_rate=5e-3, batch_size=16, alpha=0.9, patience=2, final_ce_epoch=True, seed=5
)


def test_a_training_killed_at_random_moments_ends_like_one_that_was_not(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    driver = [sys.executable, str(Path(__file__).with_name("kill_driver.py")), str(tmp_path), str(seed)]
    run = subprocess.run(driver, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, f"seed {seed}: {run.stderr}"
    found = json.loads(run.stdout)
    assert found["cuts"] >= 3, f"seed {seed}: killed only {found['cuts']} times"
    assert found["first_step"] != 1, f"seed {seed}: the last call started from the beginning"
    assert found["killed"] == found["whole"], f"seed {seed}"
    assert not found["left"]


class Killed(BaseException):
    """Stands for the end of the process, at a moment chosen by the test."""


def student() -> Any:
    return tiny_vit(2, layers=1, hidden=16, dropout=0.1)


def run_until(
    folder: Path,
    lesson: Any,
    validation: Any,
    stop_at: int | None = None,
    *,
    settings: Any = SETTINGS,
    save: Any = None,
) -> Any:
    model, steps = student(), []

    def watch(progress: Any) -> None:
        steps.append(progress.step)
        if progress.step == stop_at:
            raise Killed

    try:
        result = train(model, lesson, validation, settings, folder, teacher=tiny_vit(9), on_progress=watch, save=save)
    except Killed:
        return None, None, steps
    return weights_hash(model), result.to_dict(), steps


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cached_logits(tiny_vit(9), digit_images(0, 48), tmp_path_factory.mktemp("cache"), batch_size=32)


@pytest.fixture(scope="module")
def whole(lesson: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_until(tmp_path_factory.mktemp("whole"), lesson, digit_images(100, 140))


@pytest.mark.parametrize("epoch", [2, 3, "final"])
def test_early_stop_and_best_epoch_survive_a_resume(tmp_path: Path, lesson: Any, whole: Any, epoch: int) -> None:
    # Three steps an epoch: the cut falls on the second step of the epoch.
    validation, last = digit_images(100, 140), whole[1]["history"][-1]["epoch"]
    number = last if epoch == "final" else epoch
    _, _, steps = run_until(tmp_path, lesson, validation, stop_at=3 * (number - 1) + 2)
    assert steps[0] == 1
    weights, result, steps = run_until(tmp_path, lesson, validation)
    assert steps[0] == 3 * (number - 1) + 1
    assert (weights, result) == whole[:2]


@pytest.mark.parametrize("changes", [{"layer_decay": 0.5}, {"precision": "bf16"}], ids=str)
def test_rates_and_precision_survive_a_resume(tmp_path: Path, lesson: Any, whole: Any, changes: dict[str, Any]) -> None:
    validation, settings = digit_images(100, 140), replace(SETTINGS, **changes)
    straight = run_until(tmp_path / "straight", lesson, validation, settings=settings)
    run_until(tmp_path / "killed", lesson, validation, stop_at=8, settings=settings)
    weights, result, steps = run_until(tmp_path / "killed", lesson, validation, settings=settings)
    assert steps[0] == 7
    assert (weights, result) == straight[:2]
    assert weights != whole[0]


# Everything that changes on the way, a projector that learns, and the last epoch without any of them.
CHANGING = replace(
    SETTINGS,
    epochs=4,
    patience=9,
    alpha=Schedule(0.9, 0.3, "cosine", 0.8),
    temperature=Schedule(6.0, 2.0),
    loss="jensen_shannon",
    hidden=HiddenTerm(Schedule(2.0, 0.0, "linear", 0.5)),
    relations=RelationsTerm(1.0, 4),
)


@pytest.mark.parametrize("epoch", [2, 3, 5])
def test_schedules_and_projectors_survive_a_resume(tmp_path: Path, lesson: Any, epoch: int) -> None:
    validation = digit_images(100, 140)
    whole = run_until(tmp_path / "whole", lesson, validation, settings=CHANGING)
    assert run_until(tmp_path, lesson, validation, stop_at=3 * (epoch - 1) + 2, settings=CHANGING)[0] is None
    weights, result, steps = run_until(tmp_path, lesson, validation, settings=CHANGING)
    assert steps[0] == 3 * (epoch - 1) + 1
    assert (weights, result) == whole[:2]
    alphas = [CHANGING.alpha.at(3 * number - 1, 12) for number in (1, 2, 3, 4)]
    assert [record["alpha"] for record in result["history"]] == [*alphas, 0.0]


def test_another_schedule_never_meets_the_checkpoints(tmp_path: Path, lesson: Any) -> None:
    validation = digit_images(100, 140)
    run_until(tmp_path, lesson, validation, stop_at=5, settings=CHANGING)
    other = replace(CHANGING, alpha=replace(CHANGING.alpha, until=0.7))
    assert run_until(tmp_path, lesson, validation, stop_at=1, settings=other)[2] == [1]
    assert run_until(tmp_path, lesson, validation, stop_at=4, settings=CHANGING)[2] == [4]


def test_a_kill_while_the_caller_saves_costs_no_training(tmp_path: Path, lesson: Any, whole: Any) -> None:
    def save(_result: Any) -> None:
        raise Killed

    validation = digit_images(100, 140)
    assert run_until(tmp_path, lesson, validation, save=save)[0] is None
    weights, result, steps = run_until(tmp_path, lesson, validation)
    assert (weights, result) == whole[:2]
    assert steps == []


def test_other_settings_data_or_weights_never_meet_the_checkpoints(tmp_path: Path, lesson: Any) -> None:
    validation = digit_images(100, 140)
    run_until(tmp_path, lesson, validation, stop_at=5)
    for settings, rows in ((replace(SETTINGS, learning_rate=1e-3), lesson), (SETTINGS, lesson.select(range(40)))):
        assert run_until(tmp_path, rows, validation, stop_at=1, settings=settings)[2] == [1]
    assert run_until(tmp_path, lesson, validation, stop_at=4)[2] == [4]


def test_a_model_of_the_same_weights_and_another_dropout_never_meets_the_checkpoints(
    tmp_path: Path, lesson: Any
) -> None:
    validation, steps = digit_images(100, 140), []
    run_until(tmp_path, lesson, validation, stop_at=5)
    other = tiny_vit(2, layers=1, hidden=16, dropout=0.3)
    assert weights_hash(other) == weights_hash(student())

    def watch(progress: Any) -> None:
        steps.append(progress.step)
        raise Killed

    with pytest.raises(Killed):
        train(other, lesson, validation, SETTINGS, tmp_path, on_progress=watch)
    assert steps == [1]
    assert run_until(tmp_path, lesson, validation, stop_at=4)[2] == [4]


def test_a_longer_time_limit_goes_on_from_the_same_checkpoints(tmp_path: Path, lesson: Any, whole: Any) -> None:
    validation = digit_images(100, 140)
    run_until(tmp_path, lesson, validation, stop_at=5)
    weights, result, steps = run_until(tmp_path, lesson, validation, settings=replace(SETTINGS, max_seconds=1e9))
    assert steps[0] == 4
    assert (weights, result) == whole[:2]


def test_time_used_before_a_kill_counts_against_the_limit(tmp_path: Path, lesson: Any) -> None:
    validation = digit_images(100, 140)
    run_until(tmp_path, lesson, validation, stop_at=5)
    marker = next(tmp_path.glob("checkpoints/*/main/*/complete.json"))
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "seconds": 1e6}))
    _, result, steps = run_until(tmp_path, lesson, validation, settings=replace(SETTINGS, max_seconds=1e5))
    assert result["stopped"] == "budget"
    assert steps == [4]


def test_at_most_the_last_and_the_best_checkpoint_are_on_disk(tmp_path: Path, lesson: Any) -> None:
    counts = []

    def watch(_progress: Any) -> None:
        counts.append(len(list(tmp_path.glob("checkpoints/*/main/checkpoint-*"))))

    train(student(), lesson, digit_images(100, 140), replace(SETTINGS, patience=9), tmp_path, on_progress=watch)
    assert 1 <= max(counts) <= 2
