import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from edgekd.distill.losses import distillation_loss, hard_target_loss, soft_target_loss
from edgekd.errors import InputError


def random_logits(seed: int, rows: int = 6, classes: int = 5, scale: float = 3.0) -> Any:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def test_soft_loss_of_equal_logits_is_zero() -> None:
    logits = random_logits(0)
    assert soft_target_loss(logits, logits, 4.0).item() == pytest.approx(0, abs=1e-6)


def test_soft_loss_ignores_a_constant_added_to_all_logits() -> None:
    logits = random_logits(0)
    assert soft_target_loss(logits + 7, logits, 2.0).item() == pytest.approx(0, abs=1e-5)


def test_soft_loss_equals_the_value_computed_by_hand() -> None:
    student = torch.tensor([[0.0, 0.0]])
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    # At T = 2 the teacher says 3/4 and 1/4, the student 1/2 and 1/2.
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_target_loss(student, teacher, 2.0).item() == pytest.approx(4 * by_hand, rel=1e-6)


def test_soft_loss_takes_the_expectation_under_the_teacher() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(9), 0.0]])
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert soft_target_loss(student, teacher, 1.0).item() == pytest.approx(forward, rel=1e-5)
    assert soft_target_loss(teacher, student, 1.0).item() == pytest.approx(backward, rel=1e-5)


def gradient_norm(temperature: float) -> Any:
    student = (random_logits(1, scale=1.0)).requires_grad_()
    soft_target_loss(student, random_logits(2, scale=1.0), temperature).backward()
    return student.grad.norm().item()


def test_gradient_keeps_its_size_when_the_temperature_doubles() -> None:
    assert gradient_norm(8.0) / gradient_norm(4.0) == pytest.approx(1, abs=0.3)


def test_soft_loss_at_high_temperature_is_half_the_squared_distance_of_centred_logits_per_class() -> None:
    student, teacher = random_logits(1).double(), random_logits(2).double()
    gap = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = (gap**2).sum() / (2 * student.shape[1] * len(student))
    assert soft_target_loss(student, teacher, 200.0).item() == pytest.approx(limit.item(), rel=0.03)


def test_alpha_zero_has_the_gradient_of_cross_entropy() -> None:
    student, labels = random_logits(1).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0])
    distillation_loss(student, random_logits(2), labels, temperature=4.0, alpha=0.0).backward()
    plain = student.detach().clone().requires_grad_()
    functional.cross_entropy(plain, labels).backward()
    torch.testing.assert_close(student.grad, plain.grad)


def test_alpha_one_does_not_look_at_the_labels() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.tensor([0, 1, 2, 3, 4, 0])
    losses = {
        distillation_loss(student, teacher, some, temperature=4.0, alpha=1.0).item()
        for some in (labels, labels.flip(0))
    }
    assert losses == {soft_target_loss(student, teacher, 4.0).item()}


def test_alpha_weighs_soft_and_hard_loss() -> None:
    student, teacher, labels = random_logits(1), random_logits(2), torch.tensor([0, 1, 2, 3, 4, 0])
    mixed = distillation_loss(student, teacher, labels, temperature=3.0, alpha=0.7)
    expected = 0.7 * soft_target_loss(student, teacher, 3.0) + 0.3 * functional.cross_entropy(student, labels)
    torch.testing.assert_close(mixed, expected)


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = random_logits(2).requires_grad_()
    student = random_logits(1).requires_grad_()
    distillation_loss(student, teacher, torch.zeros(6, dtype=torch.long), temperature=4.0, alpha=0.9).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_the_loss_of_float64(dtype: torch.dtype) -> None:
    student = torch.tensor([[60.0, -60.0, 0.0], [-60.0, 60.0, 1.0]], dtype=dtype)
    teacher = torch.tensor([[-60.0, 60.0, 0.0], [-60.0, 60.0, 5.0]], dtype=dtype)
    loss = soft_target_loss(student, teacher, 1.0)
    p = functional.softmax(teacher.double(), dim=-1)
    log_gap = functional.log_softmax(teacher.double(), -1) - functional.log_softmax(student.double(), -1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((p * log_gap).sum().item() / 2, rel=1e-3)


def test_losses_at_the_largest_float16_are_finite() -> None:
    top = torch.finfo(torch.float16).max
    student = torch.tensor([[top, -top]], dtype=torch.float16)
    loss = distillation_loss(student, student.flip(1), torch.tensor([1]), temperature=1.0, alpha=0.5)
    assert torch.isfinite(loss)


def test_parts_divided_by_the_whole_step_add_up_to_the_loss_of_the_step() -> None:
    student, teacher, labels = random_logits(1, rows=10), random_logits(2, rows=10), torch.arange(10) % 5
    whole = distillation_loss(student, teacher, labels, temperature=4.0, alpha=0.9)
    parts = [
        distillation_loss(student[part], teacher[part], labels[part], temperature=4.0, alpha=0.9, normaliser=10)
        for part in (slice(0, 7), slice(7, 9), slice(9, 10))
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 3), (4, 2)), ((4, 3), (3, 3)), ((2, 4, 3), (2, 4, 3)), ((3,), (3,))]
)
def test_logits_of_other_shapes_are_refused(student: Any, teacher: Any) -> None:
    with pytest.raises(InputError, match="expected the same"):
        soft_target_loss(torch.zeros(student), torch.zeros(teacher), 4.0)
    with pytest.raises(InputError, match="expected the same"):
        distillation_loss(torch.zeros(student), torch.zeros(teacher), torch.zeros(4).long(), temperature=4, alpha=0)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels \(3,\)"):
        hard_target_loss(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        soft_target_loss(torch.zeros(2, 2), torch.zeros(2, 2), temperature)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_outside_zero_to_one_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        distillation_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2).long(), temperature=4, alpha=alpha)
