import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks_data import model, several

from edgekd.distill.collate import Collator, model_inputs
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.losses import binary_loss
from edgekd.distill.tasks import Answers, task_of
from edgekd.errors import DataError, InputError, TeacherError

TASK = task_of("multi-label-classification")


def test_units_are_pairs_and_their_loss_is_the_binary_one() -> None:
    import torch

    network, rows = model("sequence"), several()
    found = TASK.answers(network, rows, 5, 0)
    logits = predict_logits(network, rows, 5, 0)
    assert np.array_equal(found.answers, (logits > 0).reshape(-1))
    truth = torch.tensor(found.truth).reshape(12, 3)
    assert found.loss == pytest.approx(binary_loss(torch.from_numpy(logits), truth).item(), rel=1e-5)
    assert np.array_equal(found.logits.argmax(-1), found.answers)
    assert found.confidences.min() >= 0.5


def test_the_trainers_losses_are_those_of_pairs(tmp_path: Path) -> None:
    network, rows = model("sequence"), several()
    cached = TASK.cached(network, rows, tmp_path, key="k", batch_size=5, pad_token_id=0, on_rows=None)
    batch = Collator(0)(cached.with_format("numpy").__getitems__(list(range(12))))
    outputs = network(**model_inputs(batch))
    assert TASK.hard_loss(outputs, batch, None).item() == pytest.approx(
        TASK.answers(network, rows, 5, 0).loss, rel=1e-5
    )
    soft = TASK.soft_loss(outputs, batch, temperature=2.0, alpha=1.0, normaliser=None, loss="kl")
    assert soft.item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="expected kl"):
        TASK.soft_loss(outputs, batch, temperature=2.0, alpha=1.0, normaliser=None, loss="dkd")


def test_a_teacher_has_to_be_better_than_yes_to_everything() -> None:
    truth, nothing = np.array([1, 0, 1, 0]), np.zeros(4)
    yes = Answers(nothing, np.ones(4, dtype=np.int64), truth, nothing)
    with pytest.raises(TeacherError, match=r"micro F1 0\.667"):
        TASK.check_teacher(yes, np.array([2, 2]))
    TASK.check_teacher(Answers(nothing, truth, truth, nothing), np.array([2, 2]))


def test_labels_of_another_shape_are_refused() -> None:
    TASK.check_labels(model("sequence"), several(), "training")
    with pytest.raises(DataError, match="each of 2 labels"):
        TASK.check_labels(model("sequence", labels=2), several(), "training")
