import math
from typing import Any, get_args

import pytest
import torch
from logit_tables import gradient, random_logits
from torch.nn import functional

from edgekd.distill import losses
from edgekd.distill.losses import distillation_loss, hard_target_loss, soft_target_loss
from edgekd.errors import InputError
from edgekd.teaching import SoftLoss

EACH = pytest.mark.parametrize("name", get_args(SoftLoss))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def taught(name: Any, ours: Any, its: Any, labels: Any, **others: Any) -> Any:
    """The teacher's part alone."""
    return distillation_loss(ours, its, labels, temperature=2.0, alpha=1.0, loss=name, **others)


def test_each_name_is_another_loss() -> None:
    found = [taught(name, random_logits(1), random_logits(2), LABELS).item() for name in get_args(SoftLoss)]
    assert len({round(value, 4) for value in found}) == len(get_args(SoftLoss))
    by_itself = losses.decoupled_loss(random_logits(1), random_logits(2), LABELS, 2.0)
    assert taught("dkd", random_logits(1), random_logits(2), LABELS).item() == by_itself.item()


@EACH
def test_sequences_are_as_many_rows_and_rows_that_come_twice_change_nothing(name: Any) -> None:
    ours, its = random_logits(1, 2, 3, 5), random_logits(2, 2, 3, 5)
    labels = LABELS.reshape(2, 3)
    flat = taught(name, ours.flatten(0, 1), its.flatten(0, 1), LABELS)
    torch.testing.assert_close(taught(name, ours, its, labels), flat)
    twice = [torch.cat([table, table]) for table in (ours, its, labels)]
    torch.testing.assert_close(taught(name, *twice), flat)


@EACH
@pytest.mark.parametrize(("left", "right"), [(0, 7), (7, 0)])
def test_pads_on_either_side_change_nothing(name: Any, left: int, right: int) -> None:
    ours, its, labels = random_logits(1, 2, 3, 5), random_logits(2, 2, 3, 5), LABELS.reshape(2, 3)
    sides = (0, 0, left, right)
    plain = distillation_loss(ours, its, labels, temperature=2.0, alpha=0.9, loss=name)
    found = distillation_loss(
        functional.pad(ours, sides, value=9.0), functional.pad(its, sides, value=-7.0),
        functional.pad(labels, (left, right), value=-100), temperature=2.0, alpha=0.9, loss=name,
        mask=functional.pad(torch.ones(2, 3), (left, right)),
    )  # fmt: skip
    assert found.item() == pytest.approx(plain.item(), abs=1e-6)


@EACH
def test_of_a_prompt_and_its_answer_only_places_that_predict_the_answer_count(name: Any) -> None:
    # Place i predicts token i + 1, so logits lose their last place, and labels and with them the mask their first.
    tokens = torch.tensor([[-100, -100, -100, 2, 4, 1, -100, -100]])
    labels = tokens[:, 1:]
    ours, its = random_logits(1, 1, 8, 5), random_logits(2, 1, 8, 5)

    def loss(its: torch.Tensor) -> float:
        found = distillation_loss(
            ours[:, :-1], its[:, :-1], labels, temperature=2.0, alpha=0.9, loss=name, mask=labels != -100
        )
        return float(found)

    changed = []
    for place in range(8):
        other = its.clone()
        other[:, place, 0] += 3.0
        if abs(loss(other) - loss(its)) > 1e-6:
            changed.append(place)
    assert changed == [2, 3, 4]


@EACH
@pytest.mark.parametrize("normaliser", [None, torch.tensor(0)])
def test_rows_that_do_not_count_matter_nothing_not_even_as_nan(name: Any, normaliser: Any) -> None:
    ours, its, mask = random_logits(1), random_logits(2), torch.tensor([1, 1, 0, 1, 1, 0])
    rows = mask.bool()
    spoilt = ours.masked_fill(~rows[:, None], torch.nan)
    labels = LABELS.masked_fill(~rows, 10**6)
    found = distillation_loss(spoilt, its, labels, temperature=2.0, alpha=0.9, loss=name, mask=mask)
    expected = distillation_loss(ours[rows], its[rows], LABELS[rows], temperature=2.0, alpha=0.9, loss=name)
    torch.testing.assert_close(found, expected)
    unseen = gradient(
        lambda logits: distillation_loss(
            logits, its, labels, temperature=2.0, alpha=0.9, loss=name, mask=mask * 0, normaliser=normaliser
        ),
        spoilt,
    )
    assert torch.equal(unseen, torch.zeros_like(ours))


@EACH
def test_rows_without_a_label_are_taught_by_the_teacher_alone(name: Any) -> None:
    ours, its = random_logits(1), random_logits(2)
    some = LABELS.clone()
    some[[1, 4]] = -100
    found = distillation_loss(ours, its, some, temperature=2.0, alpha=0.5, loss=name)
    soft = taught(name, ours, its, some)
    hard = functional.cross_entropy(ours[[0, 2, 3, 5]], LABELS[[0, 2, 3, 5]], reduction="sum") / 6
    torch.testing.assert_close(found, 0.5 * soft + 0.5 * hard)


@EACH
def test_it_computes_in_float32_and_no_gradient_reaches_the_teacher(name: Any) -> None:
    ours, its = random_logits(1).bfloat16().requires_grad_(), random_logits(2).bfloat16().requires_grad_()
    found = taught(name, ours, its, LABELS)
    assert found.dtype == torch.float32
    found.backward()
    assert its.grad is None
    assert ours.grad is not None
    assert ours.grad.abs().max() > 0


@EACH
def test_a_sum_over_many_classes_and_tokens_does_not_overflow(name: Any) -> None:
    ours, its = random_logits(1, 2, 256, 2000).half(), random_logits(2, 2, 256, 2000).half()
    labels = torch.arange(512).reshape(2, 256)
    found = distillation_loss(ours, its, labels, temperature=1.0, alpha=0.9, loss=name)
    assert torch.isfinite(found)


@pytest.mark.parametrize("name", [name for name in get_args(SoftLoss) if name != "dist"])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_parts_of_a_step_add_up_to_its_gradient(name: Any, count: int) -> None:
    ours, its, labels = random_logits(1, 19, 5), random_logits(2, 19, 5), torch.arange(19) % 5
    whole = gradient(lambda logits: taught(name, logits, its, labels), ours)
    parts = torch.arange(19).chunk(count)
    summed = gradient(
        lambda logits: sum(taught(name, logits[part], its[part], labels[part], normaliser=19) for part in parts), ours
    )
    torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-7)


def test_cross_entropy_leaves_rows_without_a_label_out() -> None:
    logits, some = random_logits(1), LABELS.clone()
    some[[1, 4]] = -100
    torch.testing.assert_close(hard_target_loss(logits, some), functional.cross_entropy(logits, some))
    masked = hard_target_loss(logits, some, mask=torch.tensor([1, 1, 1, 0, 0, 0]))
    torch.testing.assert_close(masked, functional.cross_entropy(logits[[0, 2]], LABELS[[0, 2]]))
    none = gradient(lambda rows: hard_target_loss(rows, torch.full((6,), -100)), logits)
    assert torch.equal(none, torch.zeros_like(logits))


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


@EACH
def test_losses_at_the_largest_float16_are_finite_and_so_are_their_gradients(name: Any) -> None:
    top = torch.finfo(torch.float16).max
    student = torch.tensor([[top, 0.0, -top], [0.0, top, -top]], dtype=torch.float16)

    def loss(logits: Any) -> Any:
        labels = torch.tensor([1, 2])
        return distillation_loss(logits, student.flip(1), labels, temperature=1.0, alpha=0.5, loss=name)

    assert torch.isfinite(loss(student))
    assert torch.isfinite(gradient(loss, student)).all()


def test_parts_divided_by_the_whole_step_add_up_to_the_loss_of_the_step() -> None:
    student, teacher, labels = random_logits(1, 10, 5), random_logits(2, 10, 5), torch.arange(10) % 5
    whole = distillation_loss(student, teacher, labels, temperature=4.0, alpha=0.9)
    parts = [
        distillation_loss(student[part], teacher[part], labels[part], temperature=4.0, alpha=0.9, normaliser=10)
        for part in (slice(0, 7), slice(7, 9), slice(9, 10))
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 3), (4, 2)), ((4, 3), (3, 3)), ((2, 4, 3), (8, 3)), ((3,), (3,))]
)
def test_logits_of_other_shapes_are_refused(student: Any, teacher: Any) -> None:
    with pytest.raises(InputError, match="expected the same"):
        soft_target_loss(torch.zeros(student), torch.zeros(teacher), 4.0)
    with pytest.raises(InputError, match="expected the same"):
        distillation_loss(torch.zeros(student), torch.zeros(teacher), torch.zeros(4).long(), temperature=4, alpha=0)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels \(3,\)"):
        hard_target_loss(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_outside_zero_to_one_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        distillation_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2).long(), temperature=4, alpha=alpha)
