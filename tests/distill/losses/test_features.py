from typing import Any

import pytest
import torch
from logit_tables import gradient, random_logits
from tiny_digits import tiny_vit
from tiny_lessons import images, steps, teacher
from torch import nn
from torch.nn import functional

from edgekd.distill.losses.features import (
    by_example,
    check_pairs,
    cosine_distance_loss,
    hidden_state_loss,
    spread_pairs,
)
from edgekd.errors import InputError

STUDENT, TEACHER = random_logits(1, 3, 4, 8), random_logits(2, 3, 4, 8)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
BOTH = pytest.mark.parametrize("loss", [hidden_state_loss, cosine_distance_loss])


def padded(states: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """With pads that hold something, as a model's answers for pads do."""
    rows, _, width = states.shape
    return torch.cat([torch.full((rows, left, width), 9.0), states, torch.full((rows, right, width), -7.0)], dim=1)


def test_hidden_states_are_compared_per_token_and_feature() -> None:
    expected = functional.mse_loss(STUDENT, TEACHER)
    torch.testing.assert_close(hidden_state_loss(STUDENT, TEACHER), expected)
    valid = MASK.bool()
    torch.testing.assert_close(
        hidden_state_loss(STUDENT, TEACHER, mask=MASK), functional.mse_loss(STUDENT[valid], TEACHER[valid])
    )


def test_the_distance_of_directions_is_one_less_their_cosine() -> None:
    ours = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    its = torch.tensor([[5.0, 0.0], [4.0, 3.0], [0.0, -1.0]])
    assert cosine_distance_loss(ours, its).item() == pytest.approx((0 + 1 - 24 / 25 + 2) / 3, abs=1e-6)
    assert torch.isfinite(gradient(lambda states: cosine_distance_loss(states, its), torch.zeros(3, 2))).all()


@BOTH
@pytest.mark.parametrize(("left", "right"), [(0, 7), (7, 0), (2, 5)])
def test_pads_on_either_side_change_nothing(loss: Any, left: int, right: int) -> None:
    plain = loss(STUDENT, TEACHER, mask=MASK)
    found = loss(padded(STUDENT, left, right), padded(TEACHER, left, right), mask=functional.pad(MASK, (left, right)))
    assert found.item() == pytest.approx(plain.item(), abs=1e-6)


@BOTH
def test_a_batch_of_pads_is_nothing_and_teaches_nothing(loss: Any) -> None:
    projector = nn.Linear(8, 8)
    found = gradient(lambda states: loss(states, TEACHER, mask=MASK * 0, projector=projector), STUDENT)
    assert torch.equal(found, torch.zeros_like(STUDENT))
    assert projector.weight.grad is not None
    assert not projector.weight.grad.any()


@BOTH
def test_it_computes_in_float32_and_the_teacher_gets_no_gradient(loss: Any) -> None:
    its = TEACHER.half().requires_grad_()
    ours = STUDENT.half().requires_grad_()
    found = loss(ours, its)
    assert found.dtype == torch.float32
    found.backward()
    assert its.grad is None
    assert ours.grad is not None
    huge = torch.full((2, 64), 3.0e4, dtype=torch.float16)
    assert torch.isfinite(loss(huge, -huge))


def test_a_projector_brings_the_student_to_its_teachers_width_and_learns_to() -> None:
    wide = random_logits(3, 3, 4, 12)
    projector = nn.Linear(8, 12)
    optimiser = torch.optim.Adam(projector.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        found = hidden_state_loss(STUDENT, wide, mask=MASK, projector=projector)
        found.backward()
        optimiser.step()
        losses.append(found.item())
    assert losses[-1] < 0.5 * losses[0]


def test_mixed_precision_around_it_does_not_round_the_projector() -> None:
    wide, projector = random_logits(3, 3, 4, 12), nn.Linear(8, 12)
    plain = hidden_state_loss(STUDENT, wide, mask=MASK, projector=projector)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert hidden_state_loss(STUDENT, wide, mask=MASK, projector=projector).item() == plain.item()


def test_weights_let_every_example_count_the_same() -> None:
    weights = by_example(MASK)
    assert weights.sum(-1).tolist() == pytest.approx([1, 1, 1])
    assert by_example(torch.zeros(2, 3)).sum() == 0
    found = hidden_state_loss(STUDENT, TEACHER, 3, mask=weights)
    each = [hidden_state_loss(STUDENT[row], TEACHER[row], mask=MASK[row]) for row in range(3)]
    torch.testing.assert_close(found, sum(each) / 3)
    parts = [hidden_state_loss(STUDENT[part], TEACHER[part], 3, mask=by_example(MASK[part])) for part in ([0, 1], [2])]
    torch.testing.assert_close(sum(parts), found)


def test_layers_are_spread_evenly_and_the_last_answers_the_last() -> None:
    assert spread_pairs(3, 6) == [(0, 1), (1, 3), (2, 5)]
    assert spread_pairs(1, 6) == [(0, 5)]
    assert spread_pairs(4, 4) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert spread_pairs(2, 5) == [(0, 2), (1, 4)]
    with pytest.raises(InputError, match="a student of 7 layers"):
        spread_pairs(7, 6)


def test_layers_that_one_of_them_does_not_have_are_refused() -> None:
    check_pairs([(0, 5), (2, 0)], 3, 6)
    with pytest.raises(InputError, match=r"layers \[3, 5\]: found layer 3 of the student, expected 0 to 2"):
        check_pairs([(0, 0), (3, 5)], 3, 6)
    with pytest.raises(InputError, match="found layer 6 of the teacher"):
        check_pairs([(0, 6)], 3, 6)


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="give a projector"):
        hidden_state_loss(STUDENT, random_logits(3, 3, 4, 12))
    with pytest.raises(InputError, match="expected the same but for the width"):
        hidden_state_loss(STUDENT, TEACHER[:2])
    with pytest.raises(InputError, match="found a mask"):
        cosine_distance_loss(STUDENT, TEACHER, mask=MASK[:2])


def class_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model.vit(pixel_values=pixels).last_hidden_state[:, 0]


def test_it_turns_a_students_features_nearer_to_its_teachers_than_labels_alone() -> None:
    unseen, found = images(600, 800)[0], []
    for by_teacher in (True, False):
        student = tiny_vit(2, layers=1)

        def loss(logits: Any, pixels: Any, labels: Any, model: Any = student, by_teacher: bool = by_teacher) -> Any:
            if by_teacher:
                return cosine_distance_loss(class_features(model, pixels), class_features(teacher(), pixels))
            return functional.cross_entropy(logits, labels)

        steps(student, 60, loss)
        with torch.no_grad():
            distance = cosine_distance_loss(class_features(student, unseen), class_features(teacher(), unseen))
        found.append(distance.item())
    assert found[0] < 0.5 * found[1]
