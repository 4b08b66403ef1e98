"""What other programs are told of a training, read with TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_digits import digit_images, tiny_vit
from transformers.integrations import integration_utils

from edgekd.distill.cache import cached_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.reporting import Reporting, check_reporting, curve_of
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.train import train
from edgekd.errors import InputError

SETTINGS = TrainingSettings(epochs=3, learning_rate=5e-3, batch_size=16, alpha=0.9, final_ce_epoch=True, seed=5)


class Killed(BaseException):
    """Stands for the end of the process, at a moment chosen by the test."""


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cached_logits(tiny_vit(9), digit_images(0, 48), tmp_path_factory.mktemp("cache"), batch_size=32)


def trained(lesson: Any, folder: Path, told: Path | None, *, stop_at: int | None = None) -> tuple[str, dict[str, Any]]:
    def watch(progress: Any) -> None:
        if progress.step == stop_at:
            raise Killed

    student = tiny_vit(2, layers=1, hidden=16, dropout=0.1)
    reporting = None if told is None else Reporting(("tensorboard",), told, "tiny student")
    result = train(
        student, lesson, digit_images(100, 140), SETTINGS, folder, on_progress=watch, reporting=reporting
    )  # fmt: skip
    return weights_hash(student), result.to_dict()


def read(told: Path, phase: str) -> dict[str, list[tuple[int, float]]]:
    (folder,) = told.glob(f"tiny-student-*/{phase}")
    found = EventAccumulator(str(folder))
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_losses_of_steps_and_of_epochs_are_told_and_nothing_else_is_learned(
    lesson: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights, result = trained(lesson, tmp_path / "work", tmp_path / "told")
    assert (weights, result) == trained(lesson, tmp_path / "untold", None)
    assert capfd.readouterr() == ("", "")
    *main, final = result["history"]
    told = read(tmp_path / "told", "main")
    assert [step for step, _ in told["train/step_loss"]] == list(range(1, 10))
    assert all(value > 0 for _, value in told["train/step_loss"])
    for name, key in (("train/loss", "train_loss"), ("eval/loss", "validation_loss")):
        assert told[name] == [(record["step"], pytest.approx(record[key], rel=1e-4)) for record in main]
    last = read(tmp_path / "told", "final")
    assert last["eval/loss"] == [(3, pytest.approx(final["validation_loss"], rel=1e-4))]


def test_what_a_killed_call_told_of_steps_that_are_taken_again_is_taken_back(lesson: Any, tmp_path: Path) -> None:
    told = tmp_path / "told"
    with pytest.raises(Killed):
        trained(lesson, tmp_path / "work", told, stop_at=2)  # before the first checkpoint
    with pytest.raises(Killed):
        trained(lesson, tmp_path / "work", told, stop_at=5)  # in the second epoch of three steps, before it is told of
    assert [step for step, _ in read(told, "main")["train/step_loss"]][-1] == 4
    trained(lesson, tmp_path / "work", told)
    found = read(told, "main")
    assert [step for step, _ in found["train/step_loss"]] == list(range(1, 10))
    assert [step for step, _ in found["eval/loss"]] == [3, 6, 9]


def test_other_settings_have_a_folder_of_their_own_and_the_users_variable_counts(
    lesson: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "his"))
    trained(lesson, tmp_path / "work", tmp_path / "told")
    trained(lesson.select(range(32)), tmp_path / "work", tmp_path / "told")
    assert not (tmp_path / "told").exists()
    assert len(list((tmp_path / "his").iterdir())) == 2


def test_unknown_and_missing_programs_are_refused_before_any_step(
    lesson: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_reporting([])
    check_reporting(["tensorboard"])
    with pytest.raises(
        InputError, match=r"found 'tensorbord', expected some of azure_ml, .* Did you mean 'tensorboard'"
    ):
        check_reporting(["tensorboard", "tensorbord"])
    monkeypatch.setattr("edgekd.distill.reporting.find_spec", lambda _: None)
    with pytest.raises(InputError, match="report_to: tensorboard is not installed"):
        trained(lesson, tmp_path / "work", tmp_path / "told")
    assert not (tmp_path / "work").exists()


def test_every_program_that_transformers_knows_can_be_asked_for() -> None:
    for name in integration_utils.INTEGRATION_TO_CALLBACK:
        try:
            check_reporting([name])
        except InputError as error:
            assert "is not installed, or not set up" in str(error)


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (200, 1), (201, 2), (10_000, 50)])
def test_a_curve_has_enough_points_and_not_too_many(steps: int, every: int) -> None:
    assert curve_of(steps).every == every
