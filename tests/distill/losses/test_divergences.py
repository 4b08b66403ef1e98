import math
from typing import Any

import pytest
import torch
from logit_tables import extreme, gradient, kl, log_p, random_logits
from tiny_lessons import accuracy, nearer_than_labels_alone, student

from edgekd.distill.losses.divergences import (
    jensen_shannon_loss,
    reverse_kl_loss,
    soft_target_loss,
    standardised_loss,
)
from edgekd.errors import InputError


def js_by_definition(ours: Any, its: Any, weight: float) -> Any:
    mixture = (weight * its.exp() + (1 - weight) * ours.exp()).log()
    return weight * kl(its, mixture) + (1 - weight) * kl(ours, mixture)


def standard(logits: Any) -> Any:
    wide = logits.double()
    return (wide - wide.mean(-1, keepdim=True)) / wide.std(-1, keepdim=True, correction=0)


BY_DEFINITION = {
    soft_target_loss: lambda s, t, at: at**2 * kl(log_p(t, at), log_p(s, at)),
    reverse_kl_loss: lambda s, t, at: at**2 * kl(log_p(s, at), log_p(t, at)),
    jensen_shannon_loss: lambda s, t, at: at**2 * js_by_definition(log_p(s, at), log_p(t, at), 0.5),
    standardised_loss: lambda s, t, at: at**2 * kl(log_p(standard(t), at), log_p(standard(s), at)),
}
LOSSES = pytest.mark.parametrize("loss", BY_DEFINITION, ids=lambda loss: loss.__name__)


@LOSSES
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_what_its_definition_says(loss: Any, temperature: float) -> None:
    ours, its = random_logits(1), random_logits(2)
    expected = BY_DEFINITION[loss](ours, its, temperature).mean().item()
    assert loss(ours, its, temperature).item() == pytest.approx(expected, rel=1e-5)


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_the_loss_of_float64(loss: Any, dtype: torch.dtype) -> None:
    ours, its = extreme(dtype)
    found = loss(ours, its, 1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(BY_DEFINITION[loss](ours, its, 1.0).mean().item(), rel=1e-3)


@LOSSES
def test_it_is_nothing_for_equal_logits_and_positive_for_others(loss: Any) -> None:
    logits = random_logits(0)
    assert loss(logits, logits, 4.0).item() == pytest.approx(0, abs=1e-6)
    assert loss(logits + 7, logits, 2.0).item() == pytest.approx(0, abs=1e-5)
    assert loss(random_logits(1), logits, 2.0).item() > 0.1


@LOSSES
def test_the_gradient_keeps_its_size_when_the_temperature_doubles(loss: Any) -> None:
    ours, its = random_logits(1, scale=1.0), random_logits(2, scale=1.0)
    sizes = [gradient(lambda logits, t=t: loss(logits, its, t), ours).norm().item() for t in (4.0, 8.0)]
    assert sizes[1] / sizes[0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("loss", "share"), [(soft_target_loss, 1), (reverse_kl_loss, 1), (jensen_shannon_loss, 0.25)])
def test_at_high_temperature_it_is_a_squared_distance_of_centred_logits(loss: Any, share: float) -> None:
    ours, its = random_logits(1).double(), random_logits(2).double()
    gap = (ours - ours.mean(1, keepdim=True)) - (its - its.mean(1, keepdim=True))
    limit = share * (gap**2).sum() / (2 * ours.shape[1] * len(ours))
    assert loss(ours, its, 200.0).item() == pytest.approx(limit.item(), rel=0.03)


def test_the_order_of_the_two_is_pinned_by_two_classes() -> None:
    ours, its = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(9), 0.0]])
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    backward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert soft_target_loss(ours, its, 1.0).item() == pytest.approx(forward, rel=1e-5)
    assert soft_target_loss(its, ours, 1.0).item() == pytest.approx(backward, rel=1e-5)
    assert reverse_kl_loss(ours, its, 1.0).item() == pytest.approx(backward, rel=1e-5)
    assert reverse_kl_loss(its, ours, 1.0).item() == pytest.approx(forward, rel=1e-5)


def test_the_divergence_of_jensen_and_shannon_is_bounded_and_symmetric() -> None:
    ours, its = extreme(torch.float32)
    assert jensen_shannon_loss(ours[:1], its[:1], 1.0).item() == pytest.approx(math.log(2), rel=1e-5)
    one, other = random_logits(1), random_logits(2)
    assert jensen_shannon_loss(one, other, 2.0).item() == pytest.approx(jensen_shannon_loss(other, one, 2.0).item())


@pytest.mark.parametrize(("weight", "limit"), [(1e-4, soft_target_loss), (1 - 1e-4, reverse_kl_loss)])
def test_at_its_ends_its_gradient_is_that_of_a_kl(weight: float, limit: Any) -> None:
    ours, its = random_logits(1, scale=1.0), random_logits(2, scale=1.0)
    found = gradient(lambda logits: jensen_shannon_loss(logits, its, 1.0, weight=weight), ours)
    expected = gradient(lambda logits: limit(logits, its, 1.0), ours)
    torch.testing.assert_close(found / 1e-4, expected, rtol=0.01, atol=1e-3)
    other = jensen_shannon_loss(ours, its, 1.0, weight=0.3).item()
    assert other == pytest.approx(js_by_definition(log_p(ours), log_p(its), 0.3).mean().item(), rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.1, math.nan])
def test_a_weight_outside_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="the weight"):
        jensen_shannon_loss(random_logits(1), random_logits(2), 1.0, weight=weight)


def test_standardised_logits_have_no_size() -> None:
    ours, its = random_logits(1), random_logits(2)
    plain = standardised_loss(ours, its, 2.0).item()
    assert standardised_loss(5 * ours + 3, its / 4, 2.0).item() == pytest.approx(plain, rel=1e-4)
    assert soft_target_loss(5 * ours, its, 2.0).item() != pytest.approx(
        soft_target_loss(ours, its, 2.0).item(), rel=0.1
    )


def test_equal_logits_can_be_standardised_and_two_classes_cannot() -> None:
    found = gradient(lambda logits: standardised_loss(logits, random_logits(2), 2.0), torch.ones(6, 5))
    assert torch.isfinite(found).all()
    with pytest.raises(InputError, match="found 2 classes, expected at least 3"):
        standardised_loss(torch.zeros(4, 2), torch.zeros(4, 2), 2.0)


@pytest.mark.parametrize("loss", [soft_target_loss, reverse_kl_loss, jensen_shannon_loss, standardised_loss])
def test_it_brings_a_student_nearer_to_its_teacher_than_labels_alone(loss: Any) -> None:
    def at_2(ours: Any, its: Any, _labels: Any) -> Any:
        return loss(ours, its, 2.0)

    taught, alone = nearer_than_labels_alone(at_2)
    assert taught < 0.8 * alone
    assert accuracy(student(at_2)) > 0.5
