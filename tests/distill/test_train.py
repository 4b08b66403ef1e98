import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit

from edgekd.distill import train as module
from edgekd.distill.cache import cached_logits
from edgekd.distill.checkpoints import WEIGHTS
from edgekd.distill.evaluate import accuracy, check_teacher, cross_entropy, predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.fork import judged
from edgekd.distill.settings import TrainingSettings, best_of
from edgekd.distill.train import train
from edgekd.errors import DataError, InputError

QUICK = TrainingSettings(epochs=2, learning_rate=5e-3, batch_size=16, seed=3)


def labels_of(rows: Any) -> Any:
    return np.asarray(rows["labels"][:])


@pytest.mark.parametrize(
    ("make", "rows"), [(tiny_vit, digit_images), (tiny_bert, digit_sequences)], ids=["vit", "bert"]
)
def test_a_student_learns_from_its_teacher_well_above_chance(tmp_path: Path, make: Any, rows: Any) -> None:
    training, validation = rows(0, 384), rows(500, 600)
    teacher = make()
    teacher_result = train(
        teacher, training, validation, replace(QUICK, epochs=6), tmp_path / "teacher", pad_token_id=PAD
    )
    answers = predict_logits(teacher, validation, 64, PAD).argmax(1)
    check_teacher(labels_of(validation), answers, np.bincount(labels_of(training)))

    lesson = cached_logits(teacher, training, tmp_path / "cache", batch_size=64, pad_token_id=PAD)
    before = weights_hash(teacher)
    student = make(2, layers=1)
    settings = replace(QUICK, epochs=4, alpha=0.9, final_ce_epoch=True)
    result = train(student, lesson, validation, settings, tmp_path / "student", pad_token_id=PAD)

    assert teacher_result.best.validation_accuracy > 0.4
    assert result.best.validation_accuracy > 0.25
    assert [record.alpha for record in result.history] == [0.9] * 4 + [0.0]
    assert [record.epoch for record in result.history] == [1, 2, 3, 4, 5]
    assert [record.step for record in result.history] == [24 * epoch for epoch in range(1, 6)]
    assert weights_hash(teacher) == before
    logits = predict_logits(student, validation, 64, PAD)
    assert accuracy(logits, labels_of(validation)) == result.best.validation_accuracy
    assert cross_entropy(logits, labels_of(validation)) == pytest.approx(result.best.validation_loss, rel=1e-5)
    assert not student.training
    assert not (tmp_path / "student" / "checkpoints").exists()


def lesson_for(tmp_path: Path, count: int = 48) -> Any:
    training = digit_images(0, count)
    return cached_logits(tiny_vit(9), training, tmp_path / "cache", batch_size=32), digit_images(100, 140)


def test_an_early_stop_is_followed_by_the_last_epoch_at_alpha_zero_and_keeps_the_best(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    # Steps far too large: accuracy does not rise for long.
    settings = replace(QUICK, epochs=40, learning_rate=0.2, patience=2, alpha=0.9, final_ce_epoch=True)
    student = tiny_vit(2, layers=1, hidden=16)
    result = train(student, lesson, validation, settings, tmp_path)
    assert result.stopped == "capacity_limited"
    assert len(result.history) < 41
    assert [record.alpha for record in result.history] == [0.9] * (len(result.history) - 1) + [0.0]
    assert result.best.rank == max(record.rank for record in result.history if record.epoch <= result.best_epoch)
    kept = predict_logits(student, validation, 32)
    assert accuracy(kept, labels_of(validation)) == result.best.validation_accuracy
    before_last = result.history[:-1]
    best = max(range(len(before_last)), key=lambda number: before_last[number].rank)
    assert len(before_last) - 1 - best == 2


def test_the_last_epoch_is_a_fork_whose_fate_is_written_down(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    settings = replace(QUICK, alpha=0.9, final_ce_epoch=True)
    result = train(tiny_vit(2), lesson, validation, settings, tmp_path)
    best, last = best_of(result.history[:-1]), result.history[-1]
    assert result.fork == judged(best, last)
    assert result.best_epoch == (last if result.fork.kept else best).epoch
    assert train(tiny_vit(2), lesson, validation, replace(QUICK, alpha=0.9), tmp_path).fork is None


@pytest.mark.parametrize("kept", [True, False])
def test_the_weights_are_those_of_the_fork_only_where_it_is_kept(
    tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson, validation = lesson_for(tmp_path)
    reason: Any = "better" if kept else "worse_calibrated"
    monkeypatch.setattr(module, "judged", lambda *both: replace(judged(*both), kept=kept, reason=reason))
    student = tiny_vit(2)
    result = train(student, lesson, validation, replace(QUICK, alpha=0.9, final_ce_epoch=True), tmp_path)
    best, last = best_of(result.history[:-1]), result.history[-1]
    assert result.best == (last if kept else best)
    logits = predict_logits(student, validation, 32)
    assert cross_entropy(logits, labels_of(validation)) == pytest.approx(result.best.validation_loss, rel=1e-5)
    assert best.validation_loss != pytest.approx(last.validation_loss, rel=1e-4)
    assert result.fork is not None
    assert (result.fork.epoch, result.fork.kept) == (3, kept)


def test_a_student_as_good_as_its_teacher_that_learns_no_more_has_reached_it(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    settings = replace(QUICK, epochs=40, learning_rate=1e-9, alpha=0.9, teacher_validation_loss=2.5)
    result = train(tiny_vit(2), lesson, validation, settings, tmp_path)
    assert result.stopped == "reached_teacher"
    assert len(result.history) == 3
    assert all(record.validation_loss < 2.5 for record in result.history)


def test_a_low_distillation_loss_reaches_no_teacher(tmp_path: Path) -> None:
    # The teacher of this lesson knows nothing and says so softly: easy to imitate, and no help with the labels.
    lesson, validation = lesson_for(tmp_path)
    settings = replace(QUICK, epochs=6, learning_rate=1e-4, alpha=1.0, patience=9, teacher_validation_loss=1.0)
    result = train(tiny_vit(9, layers=1), lesson, validation, settings, tmp_path)
    assert result.history[-1].train_loss < 0.2
    assert result.history[-1].validation_loss > 1.02
    assert result.stopped == "finished"


def test_without_a_teacher_patience_ends_it_early(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=40, learning_rate=0.2, patience=2)
    rows = digit_images(0, 32), digit_images(100, 120)
    result = train(tiny_vit(), *rows, settings, tmp_path)
    assert (result.stopped, len(result.history) < 40) == ("early", True)


def test_without_a_teacher_there_is_no_last_epoch(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=1, final_ce_epoch=True)
    result = train(tiny_vit(), digit_images(0, 32), digit_images(100, 120), settings, tmp_path)
    assert len(result.history) == 1


def test_two_trainings_with_one_seed_are_equal_and_another_seed_differs(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    settings = replace(QUICK, alpha=0.9, final_ce_epoch=True)
    found = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        student = tiny_vit(2, dropout=0.1)
        result = train(student, lesson, validation, replace(settings, seed=seed), tmp_path / str(number))
        found.append((weights_hash(student), json.dumps(result.to_dict())))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_a_spent_budget_stops_with_the_best_so_far_and_says_so(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    student = tiny_vit(2)
    settings = replace(QUICK, epochs=50, alpha=0.9, final_ce_epoch=True, max_seconds=1.0e-9)
    result = train(student, lesson, validation, settings, tmp_path)
    assert result.stopped == "budget"
    assert [record.step for record in result.history] == [1]
    assert accuracy(predict_logits(student, validation, 32), labels_of(validation)) == result.best.validation_accuracy


def test_progress_tells_epoch_step_loss_and_accuracy(tmp_path: Path) -> None:
    lesson, validation = lesson_for(tmp_path)
    seen = []
    settings = replace(QUICK, alpha=0.9, final_ce_epoch=True)
    result = train(tiny_vit(2), lesson, validation, settings, tmp_path, on_progress=seen.append)
    assert [progress.step for progress in seen] == list(range(1, 10))
    assert {progress.steps for progress in seen} == {9}
    assert [progress.epoch for progress in seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert seen[0].accuracy is None
    assert seen[3].accuracy == result.history[0].validation_accuracy
    assert np.mean([progress.loss for progress in seen[:3]]) == pytest.approx(result.history[0].train_loss, rel=1e-4)


def test_frozen_embeddings_stay_and_the_rest_learns(tmp_path: Path) -> None:
    student = tiny_bert(2)
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    settings = replace(QUICK, epochs=1, freeze_embeddings=True)
    train(student, digit_sequences(0, 32), digit_sequences(100, 120), settings, tmp_path, pad_token_id=PAD)
    after = dict(student.named_parameters())
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
    assert all(weight.requires_grad for weight in after.values())


def test_freezing_the_embeddings_of_a_model_without_any_is_refused(tmp_path: Path) -> None:
    settings = replace(QUICK, freeze_embeddings=True)
    with pytest.raises(InputError, match="freeze_embeddings"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), settings, tmp_path)


def test_layer_wise_rates_for_a_model_of_unknown_layers_are_refused(tmp_path: Path) -> None:
    student = tiny_vit()
    student.config.model_type = "other"
    with pytest.raises(InputError, match="layer_decay and a model of type other"):
        train(student, digit_images(0, 8), digit_images(8, 16), replace(QUICK, layer_decay=0.9), tmp_path)


def test_fsdp1_is_refused_before_anything_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="found FSDP1"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), QUICK, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_layers_are_not_given_up_by_a_model_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setattr("edgekd.distill.processes.count", lambda: 2)
    with pytest.raises(InputError, match=r"found FSDP and layers that are given up .* Use DDP"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), replace(QUICK, drop_until=0.5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bf16_on_a_gpu_that_does_not_compute_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(InputError, match="precision is bf16"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), replace(QUICK, precision="bf16"), tmp_path)


def test_max_examples_bounds_the_training_part(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=1, max_examples=20)
    result = train(tiny_vit(), digit_images(0, 64), digit_images(100, 120), settings, tmp_path)
    assert result.history[-1].step == 2


def test_alpha_without_teacher_logits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Task\.cached"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), replace(QUICK, alpha=0.9), tmp_path)


def test_labels_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    wrong = digit_images(0, 8).map(lambda _row: {"labels": 10}, load_from_cache_file=False)
    with pytest.raises(DataError, match="labels 10 to 10 in the validation part, expected 0 to 9"):
        train(tiny_vit(), digit_images(0, 8), wrong, QUICK, tmp_path)


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the training part has no rows"):
        train(tiny_vit(), digit_images(0, 0), digit_images(0, 8), QUICK, tmp_path)


def test_a_batch_that_accumulation_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accumulation 3 and 1 processes"):
        train(tiny_vit(), digit_images(0, 8), digit_images(8, 16), replace(QUICK, accumulation=3), tmp_path)


def test_the_model_is_given_for_saving_before_the_checkpoints_go(tmp_path: Path) -> None:
    student, seen = tiny_vit(), []

    def save(result: Any) -> None:
        seen.append((result.best_epoch, weights_hash(student), list(tmp_path.glob(f"checkpoints/*/main/*/{WEIGHTS}"))))

    result = train(student, digit_images(0, 32), digit_images(100, 120), QUICK, tmp_path, save=save)
    ((epoch, weights, checkpoints),) = seen
    assert (epoch, weights) == (result.best_epoch, weights_hash(student))
    assert 1 <= len(checkpoints) <= 2
    assert list(tmp_path.iterdir()) == []


def test_training_is_silent_and_leaves_torch_transformers_and_the_config_as_they_were(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student = tiny_vit()
    config, verbosity = student.config.to_dict(), transformers.logging.get_verbosity()
    train(student, digit_images(0, 32), digit_images(100, 120), QUICK, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert student.config.to_dict() == config
    assert transformers.logging.get_verbosity() == verbosity
    assert not torch.are_deterministic_algorithms_enabled()
