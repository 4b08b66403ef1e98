import math
from typing import Any

import pytest
import torch
from logit_tables import gradient, random_logits

from edgekd.distill.losses import bernoulli_loss, binary_loss, multi_label_loss, soft_target_loss
from edgekd.errors import InputError

LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]])


def as_two_classes(logits: torch.Tensor) -> torch.Tensor:
    return torch.stack([logits / 2, -logits / 2], dim=-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 8.0])
def test_the_soft_loss_is_that_of_two_classes(temperature: float) -> None:
    ours, its = random_logits(1, 4, 6), random_logits(2, 4, 6)
    expected = soft_target_loss(as_two_classes(ours), as_two_classes(its), temperature)
    assert bernoulli_loss(ours, its, temperature).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_hard_loss_is_the_cross_entropy_of_two_classes() -> None:
    logits = random_logits(3, 3, 3)
    classes = 1 - LABELS  # the first class is that the label applies
    expected = torch.nn.functional.cross_entropy(as_two_classes(logits).reshape(-1, 2), classes.reshape(-1))
    assert binary_loss(logits, LABELS).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_gradient_is_temperature_times_the_difference_of_probabilities() -> None:
    ours, its = random_logits(1, 4, 3), random_logits(2, 4, 3)
    found = gradient(lambda logits: bernoulli_loss(logits, its, 3.0, 1), ours)
    assert torch.allclose(found, 3.0 * (torch.sigmoid(ours / 3) - torch.sigmoid(its / 3)), atol=1e-5)
    hard = gradient(lambda logits: binary_loss(logits, LABELS, 1), ours[:3])
    assert torch.allclose(hard, torch.sigmoid(ours[:3]) - LABELS, atol=1e-6)


def test_at_a_high_temperature_it_is_a_squared_difference_of_logits() -> None:
    ours, its = random_logits(1, 4, 3), random_logits(2, 4, 3)
    # KL(p ‖ q) of two close Bernoullis is (p - q)² / (2 p (1 - p)), and p - q = (z - z') / (4 T) around one half.
    limit = ((ours - its) ** 2 / 8).mean().item()
    assert bernoulli_loss(ours, its, 1000.0).item() == pytest.approx(limit, rel=1e-2)


def test_it_is_nothing_for_equal_logits_and_positive_for_others() -> None:
    logits = random_logits(0, 5, 4)
    assert bernoulli_loss(logits, logits, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert bernoulli_loss(logits + 7, logits, 2.0).item() > 0.1  # unlike a softmax, where a common shift is nothing


def test_a_label_is_judged_alone() -> None:
    ours, its = random_logits(1, 2, 3), random_logits(2, 2, 3)
    changed = ours.clone()
    changed[:, 1] += 5
    before = gradient(lambda logits: bernoulli_loss(logits, its, 2.0, 1), ours)
    after = gradient(lambda logits: bernoulli_loss(logits, its, 2.0, 1), changed)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_stay_finite(dtype: torch.dtype) -> None:
    ours = torch.tensor([[60.0, -60.0, 0.0]], dtype=dtype)
    its = torch.tensor([[-60.0, 60.0, 0.0]], dtype=dtype)
    assert bernoulli_loss(ours, its, 1.0).item() == pytest.approx((60 + 60 + 0) / 3, rel=1e-3)
    assert binary_loss(ours, torch.tensor([[0, 1, 1]])).item() == pytest.approx((120 + math.log(2)) / 3, rel=1e-3)


def test_entries_without_a_label_have_no_part_in_either() -> None:
    ours, its = random_logits(1, 3, 3), random_logits(2, 3, 3)
    unknown = LABELS.clone()
    unknown[1] = -100
    its_nan = its.clone()
    its_nan[1] = float("nan")
    for alpha in (0.0, 0.4, 1.0):
        found = multi_label_loss(ours, its_nan, unknown, temperature=2.0, alpha=alpha)
        others = [0, 2]
        expected = multi_label_loss(ours[others], its[others], LABELS[others], temperature=2.0, alpha=alpha)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    nothing = gradient(
        lambda logits: multi_label_loss(logits, its_nan, unknown, temperature=2.0, alpha=0.5)[None].sum(), ours
    )
    assert torch.equal(nothing[1], torch.zeros(3))


def test_parts_of_a_step_add_up_to_its_loss() -> None:
    ours, its = random_logits(1, 3, 3), random_logits(2, 3, 3)
    whole = multi_label_loss(ours, its, LABELS, temperature=2.0, alpha=0.7)
    parts = [
        multi_label_loss(ours[part], its[part], LABELS[part], temperature=2.0, alpha=0.7, normaliser=LABELS.numel())
        for part in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part.item() for part in parts) == pytest.approx(whole.item(), rel=1e-6)


def test_no_gradient_reaches_the_teacher() -> None:
    its = random_logits(2, 3, 3).requires_grad_()
    ours = random_logits(1, 3, 3).requires_grad_()
    multi_label_loss(ours, its, LABELS, temperature=2.0, alpha=0.5).backward()
    assert its.grad is None
    assert ours.grad is not None


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("found logits .3, 3. and labels .3,.", lambda: binary_loss(torch.zeros(3, 3), torch.zeros(3))),
        ("expected 0, 1, or -100", lambda: binary_loss(torch.zeros(1, 2), torch.tensor([[0, 2]]))),
        ("and teacher .2, 2.", lambda: bernoulli_loss(torch.zeros(3, 3), torch.zeros(2, 2), 1.0)),
        ("the temperature 0", lambda: bernoulli_loss(torch.zeros(1, 1), torch.zeros(1, 1), 0.0)),
        (
            "found alpha 2",
            lambda: multi_label_loss(
                torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1), temperature=1.0, alpha=2.0
            ),
        ),
    ],
)
def test_what_does_not_fit_is_refused(said: str, call: Any) -> None:
    with pytest.raises(InputError, match=said):
        call()


def test_a_network_learns_labels_from_the_teachers_probabilities_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    teacher = torch.nn.Linear(8, 4)
    student = torch.nn.Linear(8, 4)
    with torch.no_grad():
        teacher.weight.copy_(torch.randn(4, 8, generator=generator) * 2)
    logits, unknown = teacher(inputs).detach(), torch.zeros(256, 4)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        multi_label_loss(student(inputs), logits, unknown, temperature=2.0, alpha=1.0).backward()
        optimiser.step()
    agreement = ((student(inputs) > 0) == (logits > 0)).float().mean().item()
    assert agreement > 0.97
