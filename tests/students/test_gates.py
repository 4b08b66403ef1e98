from __future__ import annotations

from typing import Any

import pytest
import torch
from small_teachers import TEACHERS, batches_of, logits, teacher_of
from torch.nn import functional

from edgekd.errors import DataError
from edgekd.students.gates import gate_importance, gates_at
from edgekd.students.weights import read_weights, roles_of

CLASSIFIERS = ["bert", "roberta", "vit", "gpt2", "llama"]


def labels_of(batches: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.arange(len(next(iter(batch.values())))) % 3 for batch in batches]


@pytest.mark.parametrize("name", TEACHERS)
def test_open_gates_change_nothing_and_a_closed_one_is_a_head_that_writes_nothing(name: str) -> None:
    spec = TEACHERS[name]
    teacher, without = teacher_of(spec), teacher_of(spec)
    before = logits(teacher, spec)
    gates = torch.ones(spec.layers, spec.heads)
    with gates_at(teacher, gates):
        torch.testing.assert_close(logits(teacher, spec), before, rtol=1e-5, atol=1e-6)
    gates[2, 1] = 0.0
    with gates_at(teacher, gates):
        closed = logits(teacher, spec)
    rows = slice(spec.head_dim, 2 * spec.head_dim)
    read_weights(without)[f"{roles_of(without).layers}.2.{roles_of(without).mixed}.weight"][:, rows] = 0.0
    torch.testing.assert_close(closed, logits(without, spec), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(closed, before, atol=1e-3)
    assert torch.equal(logits(teacher, spec), before)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_heads_score_by_how_much_the_loss_hangs_on_them(name: str) -> None:
    spec = TEACHERS[name]
    teacher: Any = teacher_of(spec)
    batches = batches_of(spec, 2)
    labels = labels_of(batches)
    with torch.no_grad():
        roles, weights = roles_of(teacher), read_weights(teacher)
        rows = slice(spec.head_dim, 2 * spec.head_dim)
        weights[f"{roles.layers}.3.{roles.mixed}.weight"][:, rows] = 0.0
    scores = gate_importance(teacher, batches, labels)
    assert scores.shape == (spec.layers, spec.heads)
    assert scores[3, 1] == 0
    assert (scores[3, [0, 2]] > 0).all()
    torch.testing.assert_close(scores.norm(dim=1), torch.ones(spec.layers).double())

    def slopes(head: int) -> float:
        gates = torch.ones(spec.layers, spec.heads)
        found = []
        for shift in (1e-2, -1e-2):
            gates[1, head] = 1 + shift
            with gates_at(teacher, gates), torch.no_grad():
                answers = [functional.cross_entropy(teacher(**batch).logits, wanted, reduction="none")
                           for batch, wanted in zip(batches, labels, strict=True)]  # fmt: skip
            found.append(torch.cat(answers).double())
        return float(((found[0] - found[1]) / 2e-2).abs().sum())

    assert (scores[1, 0] / scores[1, 2]).item() == pytest.approx(slopes(0) / slopes(2), rel=0.05)


def test_the_loss_may_be_another_one() -> None:
    spec = TEACHERS["vit"]
    teacher, batches = teacher_of(spec), batches_of(spec, 2)
    labels = labels_of(batches)
    asked = []

    def twice(outputs: Any, wanted: torch.Tensor) -> torch.Tensor:
        asked.append(wanted.shape)
        return 2 * functional.cross_entropy(outputs.logits, wanted[:, 0], reduction="sum")

    plain = gate_importance(teacher, batches, labels)
    of_rows = gate_importance(teacher, batches, [torch.stack([part, part], dim=1) for part in labels], twice)
    torch.testing.assert_close(of_rows, plain)
    assert asked == [(16, 2)] * 2

    def nothing(outputs: Any, _wanted: torch.Tensor) -> torch.Tensor:
        return 0 * outputs.logits.sum()

    assert not gate_importance(teacher, batches, labels, nothing).any()


def test_the_model_is_left_as_it_was() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec).train()
    batches = batches_of(spec, 1)
    gate_importance(teacher, batches, labels_of(batches))
    assert teacher.training
    assert teacher.config._attn_implementation == "sdpa"
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any("edgekd_gates" in vars(module) for module in teacher.modules())


def test_batches_and_labels_that_do_not_fit_are_refused() -> None:
    spec = TEACHERS["bert"]
    teacher, batches = teacher_of(spec), batches_of(spec, 1)
    with pytest.raises(DataError, match="found 0 batches"):
        gate_importance(teacher, [], [])
    with pytest.raises(DataError, match=r"found labels of shape \(4,\), expected \(16, ...\)"):
        gate_importance(teacher, batches, [torch.zeros(4, dtype=torch.long)])
    assert teacher.config._attn_implementation == "sdpa"
