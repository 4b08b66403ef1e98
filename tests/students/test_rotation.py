from __future__ import annotations

import pytest
import torch
from small_teachers import TEACHERS, logits, teacher_of

from edgekd.errors import SpecError
from edgekd.students.build import build
from edgekd.students.rotation import bias_through, fold_norms, head_of, principal_directions
from edgekd.students.weights import read_weights, roles_of, write_weights

PRE_NORM = [name for name in TEACHERS if name.split("-")[0] not in ("bert", "roberta")]


@pytest.mark.parametrize("name", PRE_NORM)
def test_folding_changes_no_logit_and_leaves_no_gain(name: str) -> None:
    spec = TEACHERS[name]
    teacher, other = teacher_of(spec), build(spec, seed=3)
    tied = spec.labels == 0 and spec.tied
    folded = fold_norms(read_weights(teacher), roles_of(teacher), spec.layers, tied=tied)
    write_weights(other, folded)
    roles = roles_of(teacher)
    gains = [folded[f"{roles.layers}.{layer}.{norm}.weight"] for layer in range(spec.layers) for norm in roles.norms]
    assert all(torch.equal(gain, torch.ones_like(gain)) for gain in gains)
    last = folded[f"{roles.last_norm}.weight"]
    assert torch.equal(last, torch.ones_like(last)) is not tied
    if name not in ("gpt2", "gpt2-lm-untied"):
        torch.testing.assert_close(logits(other, spec), logits(teacher, spec), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-lm-untied"])
def test_a_head_without_bias_leaves_the_last_bias_to_be_said_elsewhere(name: str) -> None:
    spec = TEACHERS[name]
    teacher, other = teacher_of(spec), build(spec, seed=3)
    with torch.no_grad():
        teacher.transformer.ln_f.bias.zero_()
    write_weights(other, fold_norms(read_weights(teacher), roles_of(teacher), spec.layers, tied=False))
    torch.testing.assert_close(logits(other, spec), logits(teacher, spec), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_model_with_norms_on_the_stream_is_not_folded(name: str) -> None:
    teacher = teacher_of(TEACHERS[name])
    with pytest.raises(SpecError, match="choose importance or uniform"):
        fold_norms(read_weights(teacher), roles_of(teacher), 5, tied=False)


def low_rank(rank: int, width: int, *, without_mean: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(200, rank, generator=generator).double() @ torch.randn(rank, width, generator=generator).double()
    rows = rows - rows.mean(dim=1, keepdim=True) if without_mean else rows
    return rows, rows.t() @ rows / len(rows)


@pytest.mark.parametrize("without_mean", [False, True])
def test_directions_hold_all_of_what_lies_in_few(without_mean: bool) -> None:
    rows, moment = low_rank(4, 10, without_mean=without_mean)
    basis, share = principal_directions(moment, 5 if without_mean else 4, without_mean=without_mean)
    assert share == pytest.approx(1)
    inside = rows @ basis
    torch.testing.assert_close(inside @ basis.t(), rows)
    torch.testing.assert_close(inside.pow(2).sum(dim=1), rows.pow(2).sum(dim=1))
    if without_mean:
        torch.testing.assert_close(inside.sum(dim=1), torch.zeros(len(rows)).double())


def test_directions_are_those_along_which_most_happens() -> None:
    moment = torch.diag(torch.tensor([1.0, 7.0, 2.0, 5.0]).double())
    basis, share = principal_directions(moment, 2, without_mean=False)
    torch.testing.assert_close(basis.abs(), torch.tensor([[0.0, 0], [1, 0], [0, 0], [0, 1]]).double())
    assert share == pytest.approx(12 / 15)


@pytest.mark.parametrize(("width", "kept"), [(6, 6), (6, 4), (5, 1)])
def test_directions_without_a_mean_have_none_on_either_side(width: int, kept: int) -> None:
    _, moment = low_rank(width, width, without_mean=True)
    basis, _ = principal_directions(moment, kept, without_mean=True)
    torch.testing.assert_close(basis.sum(dim=0), torch.zeros(kept).double())
    torch.testing.assert_close(basis.sum(dim=1), torch.zeros(width).double())
    assert torch.linalg.matrix_rank(basis) == kept - 1


def test_a_bias_through_a_head_says_what_was_wanted() -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(3, 8, generator=generator)
    few = few - few.mean(dim=1, keepdim=True)
    bias, head = bias_through(few, torch.tensor([1.0, -2.0, 0.5]))
    assert torch.equal(head, few.double())
    torch.testing.assert_close(head @ bias, torch.tensor([1.0, -2.0, 0.5]).double())
    many = torch.randn(30, 8, generator=generator)
    many = many - many.mean(dim=1, keepdim=True)
    wanted = torch.randn(30, generator=generator)
    bias, head = bias_through(many, wanted)
    torch.testing.assert_close(head @ bias, wanted.double(), rtol=1e-5, atol=1e-6)
    stream = torch.randn(5, 8, generator=generator).double()
    stream = stream - stream.mean(dim=1, keepdim=True)
    torch.testing.assert_close(stream @ head.t(), stream @ many.double().t())


def test_heads_are_found_by_name() -> None:
    assert head_of(read_weights(teacher_of(TEACHERS["vit"]))) == "classifier"
    assert head_of(read_weights(teacher_of(TEACHERS["gpt2-lm-untied"]))) == "lm_head"
    assert head_of({}) is None
