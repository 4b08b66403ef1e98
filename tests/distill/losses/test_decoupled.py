from typing import Any

import pytest
import torch
from logit_tables import extreme, gradient, kl, log_p, random_logits
from tiny_lessons import accuracy, nearer_than_labels_alone, student

from edgekd.distill.losses.decoupled import decoupled_loss
from edgekd.distill.losses.divergences import soft_target_loss
from edgekd.errors import InputError

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def by_definition(ours: Any, its: Any, labels: Any, temperature: float, weights: tuple[float, float]) -> Any:
    """Row by row, from probabilities in float64."""
    found = []
    for row, label in enumerate(labels.tolist()):
        p, q = log_p(its[row], temperature), log_p(ours[row], temperature)
        others = [number for number in range(len(p)) if number != label]
        binary = [torch.stack([side[label], torch.logsumexp(side[others], 0)]) for side in (p, q)]
        among = [torch.log_softmax(side[others], 0) for side in (p, q)]
        found.append(weights[0] * kl(*binary) + weights[1] * kl(*among))
    return temperature**2 * torch.stack(found)


@pytest.mark.parametrize("weights", [(1.0, 8.0), (1.0, 0.0), (0.0, 1.0)])
def test_it_is_what_its_definition_says(weights: tuple[float, float]) -> None:
    ours, its = random_logits(1), random_logits(2)
    found = decoupled_loss(ours, its, LABELS, 3.0, target_weight=weights[0], others_weight=weights[1])
    assert found.item() == pytest.approx(by_definition(ours, its, LABELS, 3.0, weights).mean().item(), rel=1e-5)


def test_weighed_by_what_the_teacher_leaves_to_the_others_it_is_the_forward_kl() -> None:
    for row in range(6):
        ours, its, label = random_logits(1)[row : row + 1], random_logits(2)[row : row + 1], LABELS[row : row + 1]
        left = 1 - log_p(its, 2.0).exp()[0, label].item()
        found = decoupled_loss(ours, its, label, 2.0, target_weight=1.0, others_weight=left)
        assert found.item() == pytest.approx(soft_target_loss(ours, its, 2.0).item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_the_loss_of_float64(dtype: torch.dtype) -> None:
    ours, its = extreme(dtype)
    labels = torch.tensor([1, 1, 2])
    found = decoupled_loss(ours, its, labels, 1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_definition(ours, its, labels, 1.0, (1.0, 8.0)).mean().item(), rel=1e-3)
    assert torch.isfinite(gradient(lambda logits: decoupled_loss(logits, its, labels, 1.0), ours)).all()


def test_of_two_classes_only_the_first_part_is_left() -> None:
    ours, its = random_logits(1, 6, 2), random_logits(2, 6, 2)
    found = decoupled_loss(ours, its, LABELS % 2, 2.0)
    assert found.item() == pytest.approx(soft_target_loss(ours, its, 2.0).item(), rel=1e-4)


def test_rows_without_a_label_do_not_count_and_are_never_looked_up() -> None:
    ours, its = random_logits(1), random_logits(2)
    some = LABELS.clone()
    some[[1, 4]] = -100
    rest = [0, 2, 3, 5]
    expected = decoupled_loss(ours[rest], its[rest], LABELS[rest], 2.0)
    torch.testing.assert_close(decoupled_loss(ours, its, some, 2.0), expected)
    none = gradient(lambda logits: decoupled_loss(logits, its, torch.full((6,), -100), 2.0), ours)
    assert torch.equal(none, torch.zeros(6, 5))


def test_one_class_and_foreign_labels_are_refused() -> None:
    with pytest.raises(InputError, match="found one class"):
        decoupled_loss(torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4).long(), 2.0)
    with pytest.raises(InputError, match=r"labels \(3,\)"):
        decoupled_loss(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(3).long(), 2.0)


def test_it_brings_a_student_nearer_to_its_teacher_than_labels_alone() -> None:
    def at_2(ours: Any, its: Any, labels: Any) -> Any:
        return decoupled_loss(ours, its, labels, 2.0)

    taught, alone = nearer_than_labels_alone(at_2)
    assert taught < 0.8 * alone
    assert accuracy(student(at_2)) > 0.5
