from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from tiny_digits import digit_images, tiny_vit

from edgekd.distill.cache import cached_logits
from edgekd.distill.evaluate import cross_entropies, predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.schedule import Schedule
from edgekd.distill.settings import HiddenTerm, TrainingSettings
from edgekd.distill.short import Short, Stretch, Watch, train_short
from edgekd.errors import Diverged, InputError

SETTINGS = TrainingSettings(epochs=9, learning_rate=5e-3, batch_size=16, alpha=0.9, seed=5)
TO_18, TO_6 = Stretch(18, 4, 2), Stretch(6, 4, 2)
VALIDATION = digit_images(200, 260)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    # 40 rows: 3 steps an epoch, so that no stretch ends where an epoch does.
    return cached_logits(tiny_vit(9), digit_images(0, 40), tmp_path_factory.mktemp("cache"), batch_size=32)


def student() -> Any:
    return tiny_vit(2, layers=1, hidden=16, dropout=0.1)


def trained(
    model: Any,
    lesson: datasets.Dataset,
    folder: Path,
    stretch: Stretch = TO_18,
    watch: Watch | None = None,
    **changes: Any,
) -> Short:
    settings = replace(SETTINGS, **changes)
    return train_short(model, lesson, VALIDATION, settings, stretch, folder, teacher=tiny_vit(9), watch=watch)


def numbers(found: Short) -> list[tuple]:
    return [(record.epoch, record.step, record.validation_loss, record.learning_rate) for record in found.history]


def test_it_is_evaluated_on_its_way_and_at_its_end(lesson: datasets.Dataset, tmp_path: Path) -> None:
    model = student()
    found = trained(model, lesson, tmp_path)
    assert [record.step for record in found.history] == [4, 8, 12, 16, 18]
    losses = cross_entropies(predict_logits(model, VALIDATION, 16), np.asarray(VALIDATION["labels"]))
    assert found.losses == pytest.approx(losses, abs=1e-6)
    assert found.history[-1].validation_loss == pytest.approx(losses.mean(), abs=1e-6)
    assert found.history[-1].validation_loss < found.history[0].validation_loss
    assert all(0 < record.calibration_error < 1 for record in found.history)
    assert not model.training


def test_the_rate_is_constant_after_its_warm_up(lesson: datasets.Dataset, tmp_path: Path) -> None:
    found = trained(student(), lesson, tmp_path, Stretch(6, 1, 4))
    rates = [record.learning_rate for record in found.history]
    assert rates == pytest.approx([SETTINGS.learning_rate * share for share in (0.25, 0.5, 0.75, 1, 1, 1)])


def test_a_survivor_goes_on_as_if_it_had_never_stopped(lesson: datasets.Dataset, tmp_path: Path) -> None:
    whole, parts = student(), student()
    straight = trained(whole, lesson, tmp_path / "whole", Stretch(18, 2, 2))
    first = trained(parts, lesson, tmp_path / "parts", Stretch(6, 2, 2))
    fresh = student()
    second = trained(fresh, lesson, tmp_path / "parts", Stretch(18, 2, 2))
    assert numbers(first) == numbers(straight)[:3]
    assert numbers(second) == numbers(straight)
    assert weights_hash(fresh) == weights_hash(whole)
    assert second.seconds > first.seconds


def test_schedules_follow_the_whole_training_so_that_a_survivor_goes_on_exactly(
    lesson: datasets.Dataset, tmp_path: Path
) -> None:
    alpha = Schedule(0.9, 0.1, "linear", 0.5)
    changes = {"alpha": alpha, "hidden": HiddenTerm(Schedule(1.0, 0.0))}
    whole, parts = student(), student()
    straight = trained(whole, lesson, tmp_path / "whole", Stretch(18, 2, 2), **changes)
    trained(student(), lesson, tmp_path / "parts", Stretch(6, 2, 2), **changes)
    second = trained(parts, lesson, tmp_path / "parts", Stretch(18, 2, 2), **changes)
    assert numbers(second) == numbers(straight)
    assert weights_hash(parts) == weights_hash(whole)
    # 9 epochs of 3 steps are planned.
    assert [record.alpha for record in straight.history] == [
        alpha.at(record.step - 1, 27) for record in straight.history
    ]
    assert straight.history[-1].alpha == alpha.end
    unseen = student()
    trained(unseen, lesson, tmp_path / "unseen", Stretch(18, 2, 2), alpha=alpha)
    assert weights_hash(unseen) != weights_hash(whole), "the hidden states had a part"


def test_what_is_done_is_not_done_again(lesson: datasets.Dataset, tmp_path: Path) -> None:
    first = trained(student(), lesson, tmp_path)
    steps: list[int] = []
    model = student()
    again = trained(model, lesson, tmp_path, watch=Watch(stepped=lambda step: bool(steps.append(step)) or True))
    assert not steps
    assert numbers(again) == numbers(first)
    assert again.losses == pytest.approx(first.losses)
    assert again.seconds == pytest.approx(first.seconds, abs=2)


def test_whoever_looks_on_ends_it(lesson: datasets.Dataset, tmp_path: Path) -> None:
    seen: list[float] = []
    judge = Watch(evaluated=lambda history, losses: bool(seen.append(losses.mean())) or len(history) < 2)
    assert [record.step for record in trained(student(), lesson, tmp_path / "judged", watch=judge).history] == [4, 8]
    assert len(seen) == 2
    early = trained(student(), lesson, tmp_path / "late", watch=Watch(stepped=lambda step: step < 3))
    assert early.history == ()
    assert len(early.losses) == 0


def test_a_checkpoint_that_is_not_whole_does_not_count(lesson: datasets.Dataset, tmp_path: Path) -> None:
    trained(student(), lesson, tmp_path, TO_6)
    (folder,) = tmp_path.glob("checkpoint-*")
    (folder / "complete.json").unlink()
    steps: list[int] = []
    trained(student(), lesson, tmp_path, TO_6, Watch(stepped=lambda step: bool(steps.append(step)) or True))
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_no_number_is_an_error(lesson: datasets.Dataset, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"expected numbers|the loss is"):
        trained(student(), lesson, tmp_path, learning_rate=1e30)


def test_a_lesson_without_the_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="teacher_logits"):
        trained(student(), digit_images(0, 40), tmp_path)
