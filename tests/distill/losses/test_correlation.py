from typing import Any

import numpy as np
import pytest
import torch
from logit_tables import extreme, gradient, log_p, random_logits
from tiny_lessons import accuracy, nearer_than_labels_alone, student

from edgekd.distill.losses.correlation import correlation_loss


def by_definition(ours: Any, its: Any, temperature: float) -> float:
    p, q = (log_p(logits, temperature).exp().numpy() for logits in (ours, its))
    with np.errstate(invalid="ignore"):
        rows = [1 - np.corrcoef(p[row], q[row])[0, 1] for row in range(len(p))]
        classes = [1 - np.corrcoef(p[:, number], q[:, number])[0, 1] for number in range(p.shape[1])]
    return float(np.mean(rows) + np.mean(classes))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_what_its_definition_says(temperature: float) -> None:
    ours, its = random_logits(1), random_logits(2)
    assert correlation_loss(ours, its, temperature).item() == pytest.approx(
        by_definition(ours, its, temperature), rel=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_the_loss_of_float64(dtype: torch.dtype) -> None:
    ours, its = extreme(dtype)
    found = correlation_loss(ours, its, 1.0)
    assert found.dtype == torch.float32
    p, q = (log_p(logits).exp() for logits in (ours, its))
    centred = [(table - table.mean(0), table - table.mean(1, keepdim=True)) for table in (p, q)]
    expected = 0.0
    for side in (0, 1):
        a, b = centred[0][side], centred[1][side]
        floor = [x.norm(dim=side).clamp(min=1e-8) for x in (a, b)]
        expected += (1 - (a * b).sum(side) / (floor[0] * floor[1])).mean().item()
    assert found.item() == pytest.approx(expected, rel=1e-3)


def test_only_preferences_count_and_not_how_sure_they_are() -> None:
    its = random_logits(2, scale=0.05)
    assert correlation_loss(its * 2, its, 1.0).item() == pytest.approx(0, abs=1e-2)
    assert correlation_loss(its, its, 1.0).item() == pytest.approx(0, abs=1e-5)
    assert correlation_loss(-its, its, 1.0).item() == pytest.approx(4, abs=0.05)


def test_the_gradient_keeps_its_size_when_the_temperature_doubles() -> None:
    ours, its = random_logits(1, scale=1.0), random_logits(2, scale=1.0)
    sizes = [gradient(lambda logits, t=t: correlation_loss(logits, its, t), ours).norm().item() for t in (4.0, 8.0)]
    assert sizes[1] / sizes[0] == pytest.approx(1, abs=0.3)


def parts_of_a_step(ours: Any, its: Any, count: int, **weights: float) -> Any:
    rows = torch.arange(len(ours)).chunk(count)
    return gradient(
        lambda logits: sum(correlation_loss(logits[part], its[part], 2.0, len(ours), **weights) for part in rows), ours
    )


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_part_over_classes_is_exact_under_accumulation_and_the_part_over_rows_is_not(count: int) -> None:
    ours, its = random_logits(1, 19, 5), random_logits(2, 19, 5)
    only_rows = {"classes_weight": 0.0}
    whole = parts_of_a_step(ours, its, 1, **only_rows)
    torch.testing.assert_close(parts_of_a_step(ours, its, count, **only_rows), whole, rtol=1e-4, atol=1e-7)
    both = parts_of_a_step(ours, its, 1)
    assert not torch.allclose(parts_of_a_step(ours, its, count), both, rtol=0.05, atol=1e-4)


def test_one_row_or_equal_probabilities_have_a_finite_gradient() -> None:
    its = random_logits(2)
    for ours, rows in ((random_logits(1)[:1], its[:1]), (torch.ones(6, 5), its), (random_logits(1), torch.ones(6, 5))):
        assert torch.isfinite(gradient(lambda logits, rows=rows: correlation_loss(logits, rows, 1.0), ours)).all()


def test_of_two_classes_the_part_over_them_teaches_nothing() -> None:
    ours, its = random_logits(1, 6, 2, scale=1.0), random_logits(2, 6, 2, scale=1.0)
    found = gradient(lambda logits: correlation_loss(logits, its, 1.0, classes_weight=0.0), ours)
    assert found.abs().max() < 1e-5


def test_it_brings_a_student_nearer_to_its_teacher_than_labels_alone() -> None:
    def at_2(ours: Any, its: Any, _labels: Any) -> Any:
        return correlation_loss(ours, its, 2.0)

    taught, alone = nearer_than_labels_alone(at_2)
    assert taught < 0.8 * alone
    assert accuracy(student(at_2)) > 0.5
