import math
from typing import Any

import pytest
import torch
from logit_tables import random_logits
from torch.nn import functional

from edgekd.distill.losses.relations import relation_loss
from edgekd.errors import InputError

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def states(seed: int, heads: int, width: int, kv_heads: int | None = None) -> list[torch.Tensor]:
    """Queries, keys and values of two sentences of at most five tokens."""
    of_each = (heads, kv_heads or heads, kv_heads or heads)
    return [random_logits(10 * seed + kind, 2, count, 5, width, scale=1.0) for kind, count in enumerate(of_each)]


def by_definition(student: Any, teacher: Any, heads: int, mask: Any) -> float:
    """Sentence by sentence, head by head, token by token, in float64."""
    found, tokens = 0.0, 0
    for row in range(len(mask)):
        valid = mask[row].bool()
        tokens += int(valid.sum())
        for ours, its in zip(student, teacher, strict=True):
            pair = []
            for side in (its, ours):
                joined = side[row].double().transpose(0, 1).flatten(1)[valid]
                parts = joined.chunk(heads, dim=1)
                pair.append([torch.log_softmax(x @ x.T / math.sqrt(x.shape[1]), -1) for x in parts])
            for true, model in zip(*pair, strict=True):
                found += (true.exp() * (true - model)).sum().item() / heads / len(student)
    return found / tokens


@pytest.mark.parametrize(("heads", "width", "kv_heads"), [(2, 6, None), (3, 8, None), (4, 4, 2)])
def test_it_is_what_its_definition_says_for_other_widths_and_heads(heads: int, width: int, kv_heads: Any) -> None:
    ours, its = states(1, 2, 6), states(2, heads, width, kv_heads)
    found = relation_loss(ours, its, 4, mask=MASK)
    assert found.item() == pytest.approx(by_definition(ours, its, 4, MASK), rel=1e-5)


def test_it_is_nothing_for_equal_states_and_positive_for_others() -> None:
    ours = states(1, 2, 6)
    assert relation_loss(ours, ours, 4, mask=MASK).item() == pytest.approx(0, abs=1e-6)
    assert relation_loss(ours, states(2, 2, 6), 4, mask=MASK).item() > 0.05


def test_a_student_of_other_heads_can_have_the_same_relations() -> None:
    ours = states(1, 2, 6)
    recut = [side.transpose(1, 2).flatten(2).unflatten(2, (4, 3)).transpose(1, 2) for side in ours]
    assert relation_loss(recut, ours, 4, mask=MASK).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("left", "right"), [(0, 7), (7, 0), (2, 5)])
def test_pads_on_either_side_are_neither_asked_nor_looked_at(left: int, right: int) -> None:
    ours, its = states(1, 2, 6), states(2, 3, 8)
    plain = relation_loss(ours, its, 4, mask=MASK)
    wide = [
        [functional.pad(side, (0, 0, left, right), value=value) for side in sides]
        for sides, value in ((ours, 9.0), (its, -7.0))
    ]
    found = relation_loss(wide[0], wide[1], 4, mask=functional.pad(MASK, (left, right)))
    assert found.item() == pytest.approx(plain.item(), abs=1e-6)


def test_pads_get_no_gradient_and_a_batch_of_pads_is_nothing() -> None:
    ours, its = [side.requires_grad_() for side in states(1, 2, 6)], states(2, 3, 8)
    relation_loss(ours, its, 4, mask=MASK).backward()
    for side in ours:
        assert side.grad is not None
        assert side.grad[0].abs().min(-1).values.max() > 0
        assert not side.grad[1, :, 3:].any()
        side.grad = None
    found = relation_loss(ours, its, 4, mask=MASK * 0)
    assert found.item() == 0
    found.backward()
    assert all(side.grad is not None and not side.grad.any() for side in ours)


def test_it_computes_in_float32_and_the_teacher_gets_no_gradient() -> None:
    ours, its = ([side.half().mul(60).requires_grad_() for side in states(seed, 2, 6)] for seed in (1, 2))
    found = relation_loss(ours, its, 4, mask=MASK)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_definition(ours, its, 4, MASK), rel=1e-3)
    found.backward()
    assert all(side.grad is None for side in its)
    assert all(torch.isfinite(side.grad).all() for side in ours if side.grad is not None)


def test_mixed_precision_around_it_changes_nothing() -> None:
    ours, its = [side.requires_grad_() for side in states(1, 2, 6)], states(2, 3, 8)
    plain = torch.autograd.grad(relation_loss(ours, its, 4, mask=MASK), ours)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found_loss = relation_loss(ours, its, 4, mask=MASK)
    found = torch.autograd.grad(found_loss, ours)
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))


def test_weights_and_a_normaliser_make_parts_of_a_step_add_up() -> None:
    ours, its = states(1, 2, 6), states(2, 3, 8)
    weights = MASK / MASK.sum(-1, keepdim=True)
    whole = relation_loss(ours, its, 4, mask=weights)
    parts = [
        relation_loss([side[row] for side in ours], [side[row] for side in its], 4, 2, mask=weights[row])
        for row in (slice(0, 1), slice(1, 2))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_what_does_not_fit_is_refused() -> None:
    ours, its = states(1, 2, 6), states(2, 3, 8)
    with pytest.raises(InputError, match="found 5 relation heads for states of width 12"):
        relation_loss(ours, its, 5)
    with pytest.raises(InputError, match="expected queries, keys and values"):
        relation_loss(ours, its[:2], 4)
    with pytest.raises(InputError, match="expected queries, keys and values"):
        relation_loss(ours, [side[:, :, :4] for side in its], 4)
    with pytest.raises(InputError, match="found a mask"):
        relation_loss(ours, its, 4, mask=MASK[:1])
