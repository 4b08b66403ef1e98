import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

import lm_processes as driver
from lm_lessons import by_hand, rows, teacher, tokenizer
from tiny_language import tiny_llama

from edgekd.distill.collate import Collator, model_inputs
from edgekd.distill.language import perplexity
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.tasks import task_of
from edgekd.distill.tasks.base import Asked
from edgekd.distill.tasks.causal_lm import unigram_bar
from edgekd.distill.train import train
from edgekd.errors import DataError, InputError, TeacherError

TASK = task_of("causal-lm")


def cached(dataset: Any, folder: Path, top_k: int = 10_000) -> Any:
    return TASK.cached(
        teacher(), dataset, folder, key="rows", batch_size=8, pad_token_id=None, on_rows=None, top_k=top_k
    )  # fmt: skip


def batch_of(dataset: Any) -> dict[str, torch.Tensor]:
    return Collator()(dataset.with_format("numpy").__getitems__(list(range(len(dataset)))))


def soft(outputs: Any, batch: Any, alpha: float, **options: Any) -> torch.Tensor:
    return TASK.soft_loss(
        outputs, batch, **({"temperature": 1.0, "alpha": alpha, "normaliser": None, "loss": "kl"} | options)
    )  # fmt: skip


def test_the_teachers_part_is_the_mean_kl_over_the_tokens_that_are_asked_for(tmp_path: Path) -> None:
    dataset, student = rows(50, 2), tiny_llama(len(tokenizer()), seed=3)
    batch = batch_of(cached(dataset, tmp_path))
    outputs = student(**model_inputs(batch))
    ours, truth = by_hand(student, dataset)
    its, _ = by_hand(teacher(), dataset)
    kl = float((its.exp() * (its - ours)).sum(dim=-1).mean())
    ce = float(-ours[torch.arange(len(truth)), truth].mean())
    assert soft(outputs, batch, 1.0).item() == pytest.approx(kl, rel=2e-3)
    assert TASK.hard_loss(outputs, batch, None).item() == pytest.approx(ce, rel=1e-5)
    assert soft(outputs, batch, 0.6).item() == pytest.approx(0.6 * kl + 0.4 * ce, rel=2e-3)
    assert soft(outputs, batch, 1.0, normaliser=1.0).item() == pytest.approx(kl * len(truth), rel=2e-3)


def test_a_place_that_predicts_nothing_has_no_part_in_either_loss(tmp_path: Path) -> None:
    """The mask belongs to what is predicted, not to where it is predicted from."""
    batch = batch_of(cached(rows(50, 2), tmp_path, 5))
    torch.manual_seed(0)
    logits = torch.randn(*batch["labels"].shape, len(tokenizer()))
    before = soft(SimpleNamespace(logits=logits), batch, 0.5)
    asked = torch.zeros_like(batch["labels"], dtype=torch.bool)
    asked[:, :-1] = batch["labels"][:, 1:] != -100
    changed = torch.where(asked[..., None], logits, 100.0)
    assert not asked.all()
    torch.testing.assert_close(soft(SimpleNamespace(logits=changed), batch, 0.5), before)
    one = logits.clone()
    one[0, 0, 0] += 5
    assert soft(SimpleNamespace(logits=one), batch, 0.5) != before


def test_with_alpha_one_labels_do_not_matter(tmp_path: Path) -> None:
    batch = batch_of(cached(rows(50, 1), tmp_path, 5))
    outputs = tiny_llama(len(tokenizer()), seed=3)(**model_inputs(batch))
    other = {**batch, "labels": torch.where(batch["labels"] == -100, -100, 7)}
    assert soft(outputs, batch, 1.0) == soft(outputs, other, 1.0)
    assert soft(outputs, batch, 0.9) != soft(outputs, other, 0.9)


def test_the_tail_teaches_nearer_to_the_whole_teacher_than_the_kept_tokens_alone(tmp_path: Path) -> None:
    dataset, student = rows(50, 1), tiny_llama(len(tokenizer()), seed=3)

    def gradient(batch: Any, tail: bool) -> torch.Tensor:
        student.zero_grad()
        outputs = student(**model_inputs(batch))
        if tail:
            soft(outputs, batch, 1.0).backward()
        else:
            shape = batch["labels"][:, 1:].shape
            ids = batch["teacher_ids"].reshape(*shape, -1)
            its = torch.log_softmax(batch["teacher_log_probabilities"].reshape(*shape, -1), dim=-1)
            own = torch.log_softmax(outputs.logits[:, :-1], dim=-1).gather(-1, ids)
            kl = functional.kl_div(own, its, reduction="none", log_target=True).sum(dim=-1)
            asked = batch["labels"][:, 1:] != -100
            (kl[asked].sum() / asked.sum()).backward()
        return torch.cat([weight.grad.flatten() for weight in student.parameters() if weight.grad is not None])

    whole = gradient(batch_of(cached(dataset, tmp_path)), tail=True)
    few = batch_of(cached(dataset, tmp_path, 4))
    assert (gradient(few, tail=True) - whole).norm() < 0.7 * (gradient(few, tail=False) - whole).norm()


@pytest.mark.parametrize(("option", "value"), [("temperature", 2.0), ("loss", "dist")])
def test_what_kept_tokens_do_not_tell_is_refused(tmp_path: Path, option: str, value: Any) -> None:
    batch = batch_of(cached(rows(50, 1), tmp_path, 4))
    outputs = SimpleNamespace(logits=torch.zeros(*batch["labels"].shape, len(tokenizer())))
    with pytest.raises(InputError, match="expected 1 and kl"):
        soft(outputs, batch, 0.9, **{option: value})


def settings(**changes: Any) -> TrainingSettings:
    values: dict[str, Any] = {
        "task": "causal-lm", "epochs": 3, "learning_rate": 5e-3, "batch_size": 16, "temperature": 1.0, "alpha": 0.9,
    }  # fmt: skip
    return TrainingSettings(**values | changes)


def test_a_distilled_student_learns_and_the_epoch_of_the_least_loss_is_kept(tmp_path: Path) -> None:
    student = tiny_llama(len(tokenizer()), seed=5, layers=1)
    validation = rows(60, 4)
    before = perplexity(TASK.answers(student, validation, 16).losses)
    result = train(student, cached(rows(0, 30), tmp_path / "cache", 16), validation, settings(), tmp_path / "run")
    found = TASK.answers(student, validation, 16)
    assert perplexity(found.losses) < before / 4
    assert result.best.validation_loss == min(record.validation_loss for record in result.history)
    assert result.best.validation_loss == pytest.approx(found.loss, rel=1e-6)
    assert result.best.validation_accuracy == pytest.approx(TASK.score(found))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_steps_in_parts_and_in_two_processes_have_the_gradients_of_whole_ones(
    two: Path, tmp_path: Path, family: str
) -> None:
    """The last block is a short one; whoever takes it must not count its tokens more than others."""
    whole = driver.gradients(tmp_path, family, 1)
    assert len(whole) == 3
    others = [driver.gradients(tmp_path / str(parts), family, 1, parts) for parts in (2, 4, 8)]
    others += [torch.load(two / f"{rank}.pt")[family] for rank in range(2)]
    for other in others:
        for step, expected in zip(other, whole, strict=True):
            torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes on this machine's loopback leave."""
    folder = tmp_path_factory.mktemp("two")
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", driver.__file__]
    run = subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


def test_a_student_of_the_same_weights_is_faithful_and_an_untrained_one_is_warned_of() -> None:
    data, model = rows(60, 3), teacher()
    counts = TASK.class_counts(rows(0, 30), 1)
    its = TASK.answers(model, data, 8)
    same = TASK.fidelity(its, its, counts, Asked(model, model, data, 8, None))
    assert (same.agreement, same.warning) == (1.0, None)
    assert same.divergence == pytest.approx(0, abs=1e-6)
    student = tiny_llama(len(tokenizer()), seed=5)
    other = TASK.fidelity(TASK.answers(student, data, 8), its, counts, Asked(student, model, data, 8, None))
    assert other.agreement < 0.5
    assert other.divergence > 1
    assert "frequencies of single tokens" in str(other.warning)


def test_a_teacher_must_beat_the_frequencies_of_single_tokens() -> None:
    data, counts = rows(60, 3), TASK.class_counts(rows(0, 30), 1)
    TASK.check_teacher(TASK.answers(teacher(), data, 8), counts)
    untrained = TASK.answers(tiny_llama(len(tokenizer()), seed=5), data, 8)
    with pytest.raises(TeacherError, match="frequencies of single tokens"):
        TASK.check_teacher(untrained, counts)


def test_the_bar_is_the_loss_of_smoothed_frequencies() -> None:
    found = TASK.answers(teacher(), rows(60, 1), 8)
    counts = np.bincount(found.truth, minlength=len(tokenizer()))
    by_rule, needed = unigram_bar(found, counts)
    shares = (counts + 1) / (counts.sum() + len(counts))
    assert by_rule == pytest.approx(-np.log(shares[found.truth]).mean())
    assert needed < by_rule


def test_blocks_that_do_not_fit_the_model_are_refused() -> None:
    model = tiny_llama(100)
    with pytest.raises(DataError, match="expected 0 to 99"):
        TASK.check_labels(model, rows(50, 1), "training")
    ragged = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3]], "labels": [[1, 2]]})
    with pytest.raises(DataError, match="3 tokens with 2 labels"):
        TASK.check_labels(model, ragged, "training")
    silent = datasets.Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[-100, -100]]})
    with pytest.raises(DataError, match="asks for no token"):
        TASK.check_labels(model, silent, "training")
    TASK.check_labels(teacher(), rows(50, 1), "training")
