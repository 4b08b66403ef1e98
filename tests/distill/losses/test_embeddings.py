from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.distill.losses.embeddings import embedding_loss, similarity_loss
from edgekd.errors import InputError
from edgekd.retrieval import agreement, nearest


def vectors(texts: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(texts, width, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_that_by_which_embeddings_are_judged() -> None:
    student, teacher = vectors(9, 4, 0), vectors(9, 6, 1)
    expected = nearest(student.numpy(), teacher.numpy(), 0.2).losses
    assert similarity_loss(student, teacher, 0.2).item() == pytest.approx(expected.mean(), rel=1e-4)
    assert similarity_loss(student, teacher, 0.2, 36).item() == pytest.approx(expected.sum() / 36, rel=1e-4)


def test_lengths_and_turns_cost_nothing_and_other_relations_do() -> None:
    teacher = vectors(8, 5, 2)
    turned = torch.linalg.qr(vectors(5, 5, 3)).Q
    assert similarity_loss(7 * teacher @ turned, teacher, 0.05).item() == pytest.approx(0, abs=1e-4)
    assert similarity_loss(vectors(8, 5, 4), teacher, 0.05).item() > 1


def test_placed_as_the_teacher_costs_nothing_and_a_turn_does() -> None:
    teacher = vectors(8, 5, 2)
    assert embedding_loss(3 * teacher, teacher, 0.05).item() == pytest.approx(0, abs=1e-4)
    turned = teacher @ torch.linalg.qr(vectors(5, 5, 3)).Q
    assert embedding_loss(turned, teacher, 0.05).item() > 0.3
    narrow = teacher[:, :3]
    alone = similarity_loss(narrow, teacher, 0.05)
    assert torch.allclose(embedding_loss(narrow, teacher, 0.05, projected=teacher), alone, atol=1e-5)
    with pytest.raises(InputError, match="found the width 3 of the student and 5"):
        embedding_loss(narrow, teacher, 0.05)


def test_a_text_alone_teaches_no_relation_and_the_teacher_learns_nothing() -> None:
    student, teacher = vectors(1, 4, 0).requires_grad_(), vectors(1, 4, 1).requires_grad_()
    loss = similarity_loss(student, teacher, 0.05)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    embedding_loss(vectors(5, 4, 0).requires_grad_(), others := vectors(5, 4, 1).requires_grad_(), 0.05).backward()
    assert others.grad is None


def test_mixed_precision_around_it_changes_nothing() -> None:
    """Rounded to 16 bits, cosines by 0.05 would be off by more than what texts that are much alike differ in."""
    teacher = 1 + 0.1 * vectors(16, 12, 7)
    student = (teacher + 0.02 * vectors(16, 12, 8)).requires_grad_()
    plain = similarity_loss(student, teacher, 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity_loss(student, teacher, 0.05)
    assert found.item() == plain.item() > 0
    assert torch.equal(torch.autograd.grad(found, student)[0], torch.autograd.grad(plain, student)[0])


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        similarity_loss(vectors(3, 2, 0), vectors(3, 2, 1), 0)
    with pytest.raises(InputError, match=r"found \(3, 2\) of the student and \(4, 2\)"):
        similarity_loss(vectors(3, 2, 0), vectors(4, 2, 1), 0.1)


def test_vectors_that_are_moved_by_it_find_their_teachers_neighbours() -> None:
    """A narrower table of vectors, moved by the loss alone, ends with nearly its teacher's order."""
    teacher = vectors(60, 12, 5)
    student = vectors(60, 8, 6).requires_grad_()
    before = agreement(student.detach().numpy(), teacher.numpy())
    optimiser = torch.optim.Adam([student], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        similarity_loss(student, teacher, 0.1).backward()
        optimiser.step()
    after = agreement(np.asarray(student.detach()), teacher.numpy())
    assert before.top_1 < 0.15
    assert after.top_1 > 0.9
    assert after.spearman > before.spearman + 0.5
