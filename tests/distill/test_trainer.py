import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from transformers import TrainerCallback, TrainingArguments

from edgekd.distill.cache import cached_logits
from edgekd.distill.calibration import calibration
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.losses import distillation_loss
from edgekd.distill.schedule import Schedule, level_at
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError, TrainingError


def arguments(folder: Path, **changes: Any) -> Any:
    given = {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
    }
    return TrainingArguments(**{**given, **changes})


class GradientCopy(TrainerCallback):
    def __init__(self) -> None:
        self.steps = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append(torch.cat([weight.grad.flatten().clone() for weight in model.parameters()]))


class ForwardWithoutExtras(torch.nn.Module):
    """A model whose forward takes no **kwargs: the stock loop counts no examples for it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_vit()

    def forward(self, pixel_values: Any) -> Any:
        return self.inner(pixel_values=pixel_values)


def gradients(tmp_path: Path, model: Any, rows: Any, parts: tuple[int, int], alpha: float, **more: Any) -> Any:
    batch_size, accumulation = parts
    copied = GradientCopy()
    trainer = DistillationTrainer(
        model,
        arguments(tmp_path, per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation),
        train_dataset=rows,
        temperature=4.0,
        alpha=alpha,
        pad_token_id=PAD,
        callbacks=[copied],
        **more,
    )
    trainer.train()
    return copied.steps


@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_gradients_are_the_same_for_accumulation_1_2_4_and_8_with_ragged_batches(tmp_path: Path, alpha: float) -> None:
    # 10 sentences of different lengths: one batch of 10, or 6 + 4, or 3 + 3 + 3 + 1, or five of 2 where 8 may be.
    rows = cached_logits(tiny_bert(5), digit_sequences(0, 10), tmp_path / "cache", batch_size=5, pad_token_id=PAD)
    (whole,) = gradients(tmp_path, tiny_bert(), rows, (10, 1), alpha)
    for parts in ((6, 2), (3, 4), (2, 8)):
        (summed,) = gradients(tmp_path, tiny_bert(), rows, parts, alpha)
        torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-7)


def test_gradients_are_the_same_for_a_model_whose_forward_takes_no_extras(tmp_path: Path) -> None:
    rows = cached_logits(tiny_vit(5), digit_images(0, 10), tmp_path / "cache", batch_size=5)
    (whole,) = gradients(tmp_path, ForwardWithoutExtras(), rows, (10, 1), 0.9)
    (parts,) = gradients(tmp_path, ForwardWithoutExtras(), rows, (3, 4), 0.9)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_the_gradient_is_that_of_the_distillation_loss(tmp_path: Path) -> None:
    rows = cached_logits(tiny_vit(5), digit_images(0, 10), tmp_path / "cache", batch_size=5)
    (taken,) = gradients(tmp_path, tiny_vit(), rows, (10, 1), 0.7)
    model = tiny_vit().train()
    logits = model(pixel_values=torch.tensor(np.asarray(rows["pixel_values"]), dtype=torch.float32)).logits
    labels, teacher = torch.tensor(rows["labels"]), torch.tensor(rows["teacher_logits"])
    distillation_loss(logits, teacher, labels, temperature=4.0, alpha=0.7).backward()
    expected = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    torch.testing.assert_close(taken, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("alpha", "temperature", "loss"),
    [(Schedule(1.0, 0.0), 4.0, "kl"), (0.7, Schedule(6.0, 2.0, "cosine", 0.5), "dkd"), (0.7, 2.0, "reverse_kl")],
)
def test_the_gradient_of_each_step_is_that_of_the_loss_at_its_alpha_and_temperature(
    tmp_path: Path, alpha: Any, temperature: Any, loss: Any
) -> None:
    rows = cached_logits(tiny_vit(5), digit_images(0, 10), tmp_path / "cache", batch_size=5)
    copied = GradientCopy()
    # With a learning rate of 0 each of the 4 steps, of 8 that are planned, meets the same model and the same rows.
    DistillationTrainer(
        tiny_vit(),
        arguments(tmp_path, per_device_train_batch_size=10, learning_rate=0.0, num_train_epochs=4),
        train_dataset=rows,
        alpha=alpha,
        temperature=temperature,
        loss=loss,
        schedule_steps=8,
        callbacks=[copied],
    ).train()
    labels, teacher = torch.tensor(rows["labels"]), torch.tensor(rows["teacher_logits"])
    for step, taken in enumerate(copied.steps):
        model = tiny_vit().train()
        logits = model(pixel_values=torch.tensor(np.asarray(rows["pixel_values"]), dtype=torch.float32)).logits
        levels = {"alpha": level_at(alpha, step, 8), "temperature": level_at(temperature, step, 8)}
        distillation_loss(logits, teacher, labels, loss=loss, **levels).backward()
        expected = torch.cat([weight.grad.flatten() for weight in model.parameters()])
        torch.testing.assert_close(taken, expected, rtol=1e-4, atol=1e-6)
    changes = isinstance(alpha, Schedule) or isinstance(temperature, Schedule)
    assert torch.allclose(copied.steps[0], copied.steps[-1], rtol=0.05) != changes


def test_without_a_plan_a_schedule_follows_the_steps_of_the_training(tmp_path: Path) -> None:
    rows = cached_logits(tiny_vit(5), digit_images(0, 10), tmp_path / "cache", batch_size=5)
    plain, copied = [], GradientCopy()
    for alpha in (Schedule(0.0, 1.0, "linear", 0.5), 1.0):
        copied = GradientCopy()
        DistillationTrainer(
            tiny_vit(),
            arguments(tmp_path, per_device_train_batch_size=10, learning_rate=0.0, num_train_epochs=4),
            train_dataset=rows,
            alpha=alpha,
            callbacks=[copied],
        ).train()
        plain.append(copied.steps)
    torch.testing.assert_close(plain[0][2], plain[1][2])
    assert not torch.allclose(plain[0][1], plain[1][1], rtol=0.05)


def test_without_teacher_logits_the_gradient_is_that_of_plain_cross_entropy(tmp_path: Path) -> None:
    rows = digit_images(0, 10)
    (plain,) = gradients(tmp_path, tiny_vit(), rows, (10, 1), 0.9)
    with_logits = cached_logits(tiny_vit(5), rows, tmp_path / "cache", batch_size=5)
    (alpha_zero,) = gradients(tmp_path, tiny_vit(), with_logits, (10, 1), 0.0)
    (alpha_high,) = gradients(tmp_path, tiny_vit(), with_logits, (10, 1), 0.9)
    torch.testing.assert_close(plain, alpha_zero)
    assert not torch.allclose(plain, alpha_high, rtol=0.1)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_until_dropout_hides_it(tmp_path: Path) -> None:
    rows = cached_logits(tiny_bert(), digit_sequences(0, 12), tmp_path / "cache", batch_size=5, pad_token_id=PAD)
    losses = []
    for dropout in (0.0, 0.1):
        trainer = DistillationTrainer(
            tiny_bert(dropout=dropout),
            arguments(tmp_path, per_device_train_batch_size=12, learning_rate=0.0),
            train_dataset=rows,
            alpha=1.0,
            pad_token_id=PAD,
        )
        trainer.train()
        losses.append(trainer.step_loss)
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[1] > 1e-3


def test_shuffled_and_loaded_by_two_workers_each_row_keeps_its_teachers_answer(tmp_path: Path) -> None:
    teacher, rows = tiny_vit(5), digit_images(0, 41)
    trainer = DistillationTrainer(
        tiny_vit(),
        arguments(
            tmp_path, per_device_train_batch_size=8, dataloader_num_workers=2, train_sampling_strategy="random"
        ),
        train_dataset=cached_logits(teacher, rows, tmp_path / "cache", batch_size=5),
        alpha=1.0,
    )  # fmt: skip
    batches = list(trainer.get_train_dataloader())
    order = torch.cat([batch["row"] for batch in batches])
    assert sorted(order.tolist()) == list(range(41))
    assert order.tolist() != list(range(41))
    expected = torch.tensor(predict_logits(teacher, rows, 41))[order]
    torch.testing.assert_close(torch.cat([batch["teacher_logits"] for batch in batches]), expected)


def test_evaluation_is_plain_cross_entropy_over_all_rows_also_with_a_short_last_batch(tmp_path: Path) -> None:
    rows = digit_images(0, 11)
    model = tiny_vit()
    trainer = DistillationTrainer(
        model, arguments(tmp_path, per_device_eval_batch_size=4), train_dataset=rows, eval_dataset=rows, alpha=0.9
    )
    metrics = trainer.evaluate()
    logits, labels = torch.tensor(predict_logits(model, rows, 11)), torch.tensor(rows["labels"])
    assert metrics["eval_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert metrics["eval_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    calibrated = calibration(logits.numpy(), labels.numpy())
    assert metrics["eval_calibration_error"] == pytest.approx(calibrated.error, rel=1e-4)
    assert metrics["eval_calibration_chance"] == pytest.approx(calibrated.chance, rel=0.05)


def test_bf16_is_the_precision_of_the_forward_pass_in_training_alone(tmp_path: Path) -> None:
    rows = cached_logits(tiny_vit(5), digit_images(0, 12), tmp_path / "cache", batch_size=5)
    model, seen, losses = tiny_vit(), [], []
    model.register_forward_hook(lambda module, _inputs, output: seen.append((module.training, output.logits.dtype)))
    trainer = DistillationTrainer(
        model,
        arguments(tmp_path, per_device_train_batch_size=4),
        train_dataset=rows,
        eval_dataset=rows,
        alpha=0.7,
        precision="bf16",
    )
    compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda *given, **more: losses.append(compute_loss(*given, **more)) or losses[-1]
    trainer.train()
    trainer.evaluate()
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    predict_logits(model, rows, 4)
    assert seen[-1] == (False, torch.float32)


def test_a_step_in_bf16_is_near_one_in_fp32_and_not_the_same(tmp_path: Path) -> None:
    rows = digit_images(0, 10)
    (exact,) = gradients(tmp_path, tiny_vit(), rows, (10, 1), 0.0)
    (mixed,) = gradients(tmp_path, tiny_vit(), rows, (10, 1), 0.0, precision="bf16")
    assert not torch.equal(exact, mixed)
    assert torch.nn.functional.cosine_similarity(exact, mixed, dim=0) > 0.999


@pytest.mark.parametrize("by", ["arguments", "environment"])
def test_fsdp1_is_refused(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments(tmp_path)
    if by == "arguments":
        given.fsdp, given.fsdp_config = True, {"version": 1}
    else:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="found FSDP1, expected FSDP2 or DDP"):
        DistillationTrainer(tiny_vit(), given, train_dataset=digit_images(0, 4))


def test_label_smoothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label_smoothing_factor"):
        DistillationTrainer(
            tiny_vit(), arguments(tmp_path, label_smoothing_factor=0.1), train_dataset=digit_images(0, 4)
        )


def test_a_loss_that_is_no_number_stops_the_training_at_once_and_names_step_and_rate(tmp_path: Path) -> None:
    rows = digit_images(0, 12).map(
        lambda row: {"pixel_values": [[[math.nan] * 8] * 8]} if row["row"] == 9 else row, load_from_cache_file=False
    )
    model = tiny_vit()
    trainer = DistillationTrainer(
        model,
        arguments(tmp_path, per_device_train_batch_size=4, lr_scheduler_type="constant"),
        train_dataset=rows,
    )
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3 with learning rate 0\.001"):
        trainer.train()
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_nothing_is_printed_and_nothing_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trainer = DistillationTrainer(
        tiny_vit(),
        arguments(tmp_path, logging_strategy="steps", logging_steps=1, per_device_train_batch_size=4),
        train_dataset=digit_images(0, 8),
    )
    trainer.train()
    assert capfd.readouterr() == ("", "")
    assert trainer.args.report_to in ([], "none", ["none"])
