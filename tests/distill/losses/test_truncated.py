import math
from typing import Any

import pytest
import torch
from logit_tables import gradient, log_p, random_logits
from tiny_lessons import answers, nearer_than_labels_alone, teacher
from torch.nn import functional

from edgekd.distill.losses.divergences import soft_target_loss
from edgekd.distill.losses.truncated import truncated_kl_loss
from edgekd.errors import InputError

VOCABULARY = 40


def kept(its: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and log-probabilities of the k most probable answers."""
    found = torch.log_softmax(its.float(), dim=-1).topk(k, dim=-1)
    return found.indices, found.values


def renormalised(ours: torch.Tensor, ids: torch.Tensor, log_probabilities: torch.Tensor) -> torch.Tensor:
    """What is often done instead: the kept answers as if there were no others."""
    its = torch.log_softmax(log_probabilities, dim=-1)
    return functional.kl_div(torch.log_softmax(ours, dim=-1).gather(-1, ids), its, reduction="sum", log_target=True)


def test_with_all_ids_it_is_the_forward_kl_and_so_is_its_gradient() -> None:
    ours, its = random_logits(1, 6, VOCABULARY), random_logits(2, 6, VOCABULARY)
    ids, known = kept(its, VOCABULARY)
    found, whole = truncated_kl_loss(ours, ids, known), soft_target_loss(ours, its, 1.0)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradient(lambda logits: truncated_kl_loss(logits, ids, known), ours),
        gradient(lambda logits: soft_target_loss(logits, its, 1.0), ours), rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_it_is_the_kl_of_the_kept_answers_and_one_for_all_others() -> None:
    ours = torch.tensor([[math.log(0.5), math.log(0.2), math.log(0.2), math.log(0.1)]])
    ids, known = torch.tensor([[2, 0]]), torch.tensor([[math.log(0.6), math.log(0.1)]])
    by_hand = 0.6 * math.log(0.6 / 0.2) + 0.1 * math.log(0.1 / 0.5) + 0.3 * math.log(0.3 / 0.3)
    assert truncated_kl_loss(ours, ids, known).item() == pytest.approx(by_hand, rel=1e-5)
    other = torch.tensor([[math.log(0.6), math.log(0.3)]])
    by_hand = 0.6 * math.log(0.6 / 0.2) + 0.3 * math.log(0.3 / 0.5) + 0.1 * math.log(0.1 / 0.3)
    assert truncated_kl_loss(ours, ids, other).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16])
def test_the_tail_brings_the_gradient_nearer_to_that_of_all_answers(k: int) -> None:
    ours, its = random_logits(1, 64, VOCABULARY, scale=1.0), random_logits(2, 64, VOCABULARY, scale=1.0)
    ids, known = kept(its, k)
    whole = gradient(lambda logits: soft_target_loss(logits, its, 1.0, 1), ours)
    with_tail = gradient(lambda logits: truncated_kl_loss(logits, ids, known, 1), ours)
    without = gradient(lambda logits: renormalised(logits, ids, known), ours)
    assert (with_tail - whole).norm() < 0.7 * (without - whole).norm()
    assert functional.cosine_similarity(with_tail.flatten(), whole.flatten(), dim=0) > functional.cosine_similarity(
        without.flatten(), whole.flatten(), dim=0
    )


def test_it_is_nothing_for_a_student_that_says_the_same() -> None:
    its = random_logits(2, 6, VOCABULARY)
    assert truncated_kl_loss(its, *kept(its, 5)).item() == pytest.approx(0, abs=1e-6)
    assert truncated_kl_loss(random_logits(1, 6, VOCABULARY), *kept(its, 5)).item() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_the_loss_of_float64(dtype: torch.dtype) -> None:
    ours = torch.tensor([[60.0, -60.0, 0.0, 2.0], [-60.0, 60.0, 1.0, 0.0]], dtype=dtype)
    ids, known = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[-0.25, -2.0], [-0.5, -1.0]], dtype=dtype)
    q, p = log_p(ours).gather(-1, ids), known.double()
    tails = [(1 - side.exp().sum(-1)).clamp(min=0) for side in (p, q)]
    logs = [tail.clamp(min=1e-6).log() for tail in tails]
    expected = ((p.exp() * (p - q)).sum() + (tails[0] * (logs[0] - logs[1])).sum()) / 2
    found = truncated_kl_loss(ours, ids, known)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    assert torch.isfinite(gradient(lambda logits: truncated_kl_loss(logits, ids, known), ours)).all()


def test_masked_rows_are_not_even_looked_up_and_no_rows_are_nothing() -> None:
    ours, its = random_logits(1, 2, 3, VOCABULARY), random_logits(2, 2, 3, VOCABULARY)
    ids, known = kept(its, 5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    ids, ours = ids.masked_fill(mask[..., None] == 0, 10**6), ours.masked_fill(mask[..., None] == 0, torch.nan)
    rows = mask.flatten().bool()
    expected = truncated_kl_loss(ours.flatten(0, 1)[rows], ids.flatten(0, 1)[rows], known.flatten(0, 1)[rows])
    torch.testing.assert_close(truncated_kl_loss(ours, ids, known, mask=mask), expected)
    found = gradient(lambda logits: truncated_kl_loss(logits, ids, known, mask=mask * 0), ours)
    assert torch.equal(found, torch.zeros_like(ours))


@pytest.mark.parametrize("count", [2, 4, 8])
def test_parts_of_a_step_add_up_to_its_gradient(count: int) -> None:
    ours, its = random_logits(1, 19, VOCABULARY), random_logits(2, 19, VOCABULARY)
    ids, known = kept(its, 5)
    whole = gradient(lambda logits: truncated_kl_loss(logits, ids, known), ours)
    parts = torch.arange(19).chunk(count)
    summed = gradient(
        lambda logits: sum(truncated_kl_loss(logits[part], ids[part], known[part], 19) for part in parts), ours
    )
    torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(((4, 9), (4, 3), (4, 2)), "expected"), (((4, 9), (3, 3), (3, 3)), "expected"), (((4, 2), (4, 3), (4, 3)), "3 ids of 2")],
)  # fmt: skip
def test_other_shapes_are_refused(shapes: Any, message: str) -> None:
    ours, ids, known = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(InputError, match=message):
        truncated_kl_loss(ours, ids.long(), known)


def test_four_answers_of_ten_bring_a_student_nearer_to_its_teacher_than_labels_alone() -> None:
    def of_four(ours: Any, its: Any, _labels: Any) -> Any:
        return truncated_kl_loss(ours, *kept(its, 4))

    taught, alone = nearer_than_labels_alone(of_four)
    assert taught < 0.8 * alone
    assert kept(answers(teacher())[0], 4)[1].exp().sum(-1).mean() < 0.9999, "there was a tail"


def test_a_tail_that_was_stored_is_taken_instead_of_what_is_missing_from_one() -> None:
    ours, its = random_logits(1, 6, VOCABULARY), random_logits(2, 6, VOCABULARY)
    ids, known = kept(its, 4)
    tail = (1 - known.exp().sum(dim=-1)).log()
    torch.testing.assert_close(
        truncated_kl_loss(ours, ids, known, log_tail=tail), truncated_kl_loss(ours, ids, known), rtol=1e-5, atol=1e-6
    )
    # Rounded, the kept ones may add up to more than 1; what is stored of the rest still counts.
    one, tails = torch.tensor([[0, 1]]), torch.tensor([math.log(0.05)])
    rounded, student = torch.tensor([[math.log(0.7), math.log(0.32)]]), torch.tensor([[0.5, 0.3, 0.1, 0.1]]).log()
    by_hand = 0.7 * math.log(0.7 / 0.5) + 0.32 * math.log(0.32 / 0.3) + 0.05 * math.log(0.05 / 0.2)
    assert truncated_kl_loss(student, one, rounded, log_tail=tails).item() == pytest.approx(by_hand, rel=1e-5)
    with pytest.raises(InputError, match="one for each row"):
        truncated_kl_loss(ours, ids, known, log_tail=tail[:3])
