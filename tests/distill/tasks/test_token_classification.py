import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks_data import model, tagged

from edgekd.distill.collate import Collator, model_inputs
from edgekd.distill.tasks import task_of
from edgekd.distill.tasks.token_classification import labels_of, token_logits
from edgekd.errors import DataError

TASK = task_of("token-classification")


def test_logits_are_those_of_labelled_tokens_alone() -> None:
    network, rows = model("tokens"), tagged()
    found = token_logits(network, rows, 5, 0)
    for row, logits in enumerate(found):
        ids = torch.tensor([rows[row]["input_ids"]])
        with torch.no_grad():
            alone = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 1:-1]
        assert np.allclose(logits.reshape(-1, 3), alone.numpy(), atol=1e-5)


def test_the_cache_keeps_rows_of_different_length(tmp_path: Path) -> None:
    network, rows = model("tokens"), tagged()
    cached = TASK.cached(network, rows, tmp_path, key="k", batch_size=5, pad_token_id=0, on_rows=None)
    for stored, fresh in zip(cached["teacher_logits"], token_logits(network, rows, 5, 0), strict=True):
        assert np.allclose(stored, fresh, atol=1e-5)
    again = TASK.cached(network, rows, tmp_path, key="k", batch_size=5, pad_token_id=0, on_rows=None)
    assert again["teacher_logits"][:] == cached["teacher_logits"][:]


def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(tmp_path: Path) -> None:
    network, rows = model("tokens"), tagged()
    cached = TASK.cached(network, rows, tmp_path, key="k", batch_size=5, pad_token_id=0, on_rows=None)
    batch = Collator(0)(cached.with_format("numpy").__getitems__(list(range(12))))
    for own, nothing in ((network, True), (model("tokens", seed=1), False)):
        outputs = own(**model_inputs(batch))
        soft = TASK.soft_loss(outputs, batch, temperature=2.0, alpha=1.0, normaliser=None, loss="kl").item()
        assert (soft < 1e-6) == nothing
        hard = TASK.soft_loss(outputs, batch, temperature=2.0, alpha=0.0, normaliser=None, loss="kl").item()
        assert hard == pytest.approx(TASK.hard_loss(outputs, batch, None).item(), rel=1e-5)
        assert hard == pytest.approx(TASK.answers(own, rows, 5, 0).loss, rel=1e-4)


def test_units_are_labelled_tokens() -> None:
    network, rows = model("tokens"), tagged()
    found = TASK.answers(network, rows, 5, 0)
    assert len(found.truth) == len(labels_of(rows)) == sum(len(ids) - 2 for ids in rows["input_ids"])
    assert TASK.score(found) == (found.answers == found.truth).mean()
    assert TASK.class_counts(rows, 3).sum() == len(found.truth)


def test_labels_beyond_the_models_are_refused() -> None:
    TASK.check_labels(model("tokens"), tagged(), "training")
    with pytest.raises(DataError, match="expected 0 to 1"):
        TASK.check_labels(model("tokens", labels=2), tagged(), "training")
    empty = tagged().map(lambda row: {"labels": [-100] * len(row["labels"])})
    with pytest.raises(DataError, match="no token of the training part"):
        TASK.check_labels(model("tokens"), empty, "training")
