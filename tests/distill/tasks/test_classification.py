from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_digits import digit_images, tiny_vit

from edgekd.distill.evaluate import cross_entropies, predict_logits
from edgekd.distill.fidelity import fidelity
from edgekd.distill.losses import distillation_loss, hard_target_loss
from edgekd.distill.tasks import Asked, task_of
from edgekd.errors import DataError

TASK = task_of("image-classification")


def test_answers_are_those_of_the_model_and_leave_its_mode_alone() -> None:
    model, data = tiny_vit().train(), digit_images(0, 30)
    found = TASK.answers(model, data, 7)
    logits, labels = predict_logits(model, data, 7), np.asarray(data["labels"])
    assert model.training
    assert np.allclose(found.losses, cross_entropies(logits, labels))
    assert found.answers.tolist() == logits.argmax(axis=-1).tolist()
    assert found.truth.tolist() == labels.tolist()
    exponentials = np.exp(logits.astype(np.float64))
    assert np.allclose(found.confidences, (exponentials / exponentials.sum(axis=-1, keepdims=True)).max(axis=-1))


def test_losses_are_the_pure_functions_on_the_batch() -> None:
    torch.manual_seed(0)
    logits, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    outputs, batch = SimpleNamespace(logits=logits), {"labels": labels, "teacher_logits": teacher}
    assert torch.equal(TASK.hard_loss(outputs, batch, 12), hard_target_loss(logits, labels, 12))
    found = TASK.soft_loss(outputs, batch, temperature=3.0, alpha=0.7, normaliser=12, loss="kl")
    expected = distillation_loss(logits, teacher, labels, temperature=3.0, alpha=0.7, normaliser=12, loss="kl")
    assert torch.equal(found, expected)


def test_a_label_that_the_model_does_not_know_is_refused() -> None:
    data = digit_images(0, 30)
    TASK.check_labels(tiny_vit(), data, "training")
    others = data.remove_columns("labels").add_column("labels", [10, *data["labels"][1:]])
    with pytest.raises(DataError, match="found labels 0 to 10 in the validation part, expected 0 to 9"):
        TASK.check_labels(tiny_vit(), others, "validation")


def test_the_loss_at_the_start_does_not_count_how_loudly_it_is_said() -> None:
    model, data = tiny_vit(), digit_images(0, 200)
    before = TASK.first_loss(model, data, 50)
    with torch.no_grad():
        for weight in model.classifier.parameters():
            weight.mul_(20)
    assert TASK.first_loss(model, data, 50) == pytest.approx(before, abs=1e-3)
    assert TASK.answers(model, data, 50).loss > before + 0.1


def test_fidelity_compares_the_logits_of_both() -> None:
    student, teacher, data = tiny_vit(1), tiny_vit(2), digit_images(0, 60)
    own, its = (TASK.answers(model, data, 20) for model in (student, teacher))
    counts = TASK.class_counts(data, 10)
    found = TASK.fidelity(own, its, counts, Asked(student, teacher, data, 20, None))
    assert own.logits is not None
    assert its.logits is not None
    assert found == fidelity(own.logits, its.logits, own.truth, counts)
    assert found.divergence > 0
