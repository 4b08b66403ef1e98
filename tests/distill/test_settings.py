from dataclasses import replace
from typing import Any

from edgekd.distill.schedule import Schedule
from edgekd.distill.settings import (
    EpochRecord,
    Fork,
    HiddenTerm,
    RelationsTerm,
    TrainingResult,
    TrainingSettings,
    alone,
    best_of,
    epochs_since_best,
    student_settings,
    teacher_settings,
)
from edgekd.recipe import Budget
from edgekd.teaching import Distill, FineTune


def record(epoch: int, accuracy: float, loss: float) -> Any:
    return EpochRecord(epoch, 10 * epoch, 1.0, loss, accuracy, 0.9, 1e-3, 0.1, 0.05)


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_comes_first() -> None:
    history = (record(1, 0.8, 0.5), record(2, 0.9, 0.6), record(3, 0.9, 0.4), record(4, 0.9, 0.4), record(5, 0.7, 0.1))
    assert best_of(history).epoch == 3
    assert epochs_since_best(history) == 2


def test_an_epoch_without_a_scaffold_is_better_than_any_with_one() -> None:
    early, late = replace(record(1, 0.9, 0.1), scaffold=2), record(2, 0.5, 0.9)
    assert best_of((early, late)) is late
    assert best_of((early, replace(late, scaffold=1))) is early
    assert alone((early, late)) == (late,)


def test_dropped_layers_are_given_up_until_a_share_of_the_steps() -> None:
    for given, until in ((None, None), ({}, 0.5), ({"until": "30 %"}, 0.3)):
        settings = student_settings(Distill(drop_layers=given), Budget(), "text-classification")
        assert settings.drop_until == until


def test_student_settings_say_what_the_recipe_says() -> None:
    distill = Distill(
        temperature=2,
        alpha=0.5,
        epochs=7,
        warmup=0.1,
        freeze_embeddings=True,
        layer_decay=0.7,
        precision="bf16",
        seed=3,
    )
    settings = student_settings(distill, Budget(training="60 s"), "text-classification")
    for name in type(distill).model_fields.keys() - {
        "start",
        "drop_layers",
        "cache",
        "similarity_temperature",
        "top_k",
    }:  # the first three are over when the training begins or told otherwise, the others are of other tasks
        assert getattr(settings, name) == getattr(distill, name), name
    assert settings.max_seconds == 60
    assert settings.of_student
    without = student_settings(Distill(alpha=0), Budget(), "text-classification")
    assert not without.of_student
    assert replace(without, teacher_validation_loss=0.25).of_student


def test_schedules_and_features_of_a_recipe_are_those_of_the_training() -> None:
    fading = {"from": 1.0, "to": 0.2, "shape": "cosine", "until": 0.5}
    distill = Distill(
        alpha=fading,
        temperature={"from": 8, "to": 2},
        loss="dist",
        hidden={"weight": fading, "layers": [[0, 1], [1, 3]]},
        relations={"weight": 2.0, "heads": 12},
    )
    settings = student_settings(distill, Budget(training="60 s"), "text-classification")
    assert settings.alpha == Schedule(1.0, 0.2, "cosine", 0.5)
    assert settings.temperature == Schedule(8.0, 2.0, "linear", 1.0)
    assert settings.loss == "dist"
    assert settings.hidden == HiddenTerm(settings.alpha, ((0, 1), (1, 3)))
    assert settings.relations == RelationsTerm(2.0, 12, None)


def test_the_teacher_has_a_part_by_alpha_or_by_features() -> None:
    plain = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=8)
    assert (plain.guided, plain.features) == (False, False)
    for given in ({"alpha": 0.1}, {"alpha": Schedule(0.0, 0.5)}):
        found = replace(plain, **given)
        assert (found.guided, found.features) == (True, False)
    for given in ({"hidden": HiddenTerm(1.0)}, {"relations": RelationsTerm(1.0, 4)}):
        found = replace(plain, **given)
        assert (found.guided, found.features) == (True, True)


def test_teacher_settings_are_plain_cross_entropy_and_say_what_the_recipe_says() -> None:
    tune = FineTune(epochs=5, max_examples=100, precision="bf16", seed=4)
    settings = teacher_settings(tune, Budget(training="60 s"), "text-classification")
    for name in type(tune).model_fields:
        assert getattr(settings, name) == getattr(tune, name), name
    assert settings.alpha == 0
    assert not settings.final_ce_epoch
    assert not settings.of_student
    assert settings.max_seconds == 60


def test_a_result_names_its_best_epoch_and_leaves_the_clock_out() -> None:
    result = TrainingResult((record(1, 0.8, 0.5), record(2, 0.7, 0.5)), 1, "finished", 12.5)
    assert result.best.validation_accuracy == 0.8
    assert "seconds" not in result.to_dict()
    assert result.to_dict()["history"][1]["epoch"] == 2
    assert result.to_dict()["fork"] is None
    fork = Fork(2, kept=False, reason="no_better", calibration_error_before=0.1, calibration_error=0.2,
                most_calibration_error=0.12)  # fmt: skip
    assert replace(result, fork=fork).to_dict()["fork"]["reason"] == "no_better"
