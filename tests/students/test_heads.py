from __future__ import annotations

import pytest
import torch
from small_teachers import TEACHERS, batches_of, logits, teacher_of

from edgekd.students.build import build
from edgekd.students.heads import scale_queries, turn_heads
from edgekd.students.importance import Importance, measure_importance
from edgekd.students.weights import Roles, Weights, read_weights, roles_of, write_weights

WITHOUT_ROTARY = ["bert", "roberta", "vit", "gpt2", "gpt2-lm-tied"]


def random_moment(width: int, seed: int) -> torch.Tensor:
    rows = torch.randn(3 * width, width, generator=torch.Generator().manual_seed(seed)).double()
    rows = rows * torch.logspace(0, -1, width).double()
    return rows.t() @ rows / len(rows)


def turned(name: str, inputs: torch.Tensor, mixed: torch.Tensor) -> tuple[Weights, Weights, Roles]:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    weights = dict(read_weights(teacher))
    before = {name: weight.clone() for name, weight in weights.items()}
    for layer in range(spec.layers):
        turn_heads(weights, roles_of(teacher), spec, layer, inputs, mixed)
    assert all(torch.equal(before[name], weight) for name, weight in read_weights(teacher).items())
    return before, weights, roles_of(teacher)


@pytest.mark.parametrize("name", WITHOUT_ROTARY)
def test_turned_heads_compute_the_same(name: str) -> None:
    spec = TEACHERS[name]
    mixed = torch.stack([random_moment(spec.head_dim, head) for head in range(spec.heads)])
    _, weights, roles = turned(name, random_moment(spec.hidden + 1, 9), mixed)
    other = build(spec, seed=3)
    write_weights(other, weights)
    teacher = teacher_of(spec)
    assert not torch.allclose(
        weights[f"{roles.layers}.0.{roles.keys}.weight"], read_weights(teacher)[f"{roles.layers}.0.{roles.keys}.weight"]
    )
    torch.testing.assert_close(logits(other, spec), logits(teacher, spec), rtol=1e-3, atol=1e-4)


def scores(weights: Weights, roles: Roles, head: int, rows: list[int], seen: torch.Tensor) -> torch.Tensor:
    """The products of queries and keys of some rows of a head of the first layer, for all pairs of what was seen."""
    found = []
    for part in (roles.queries, roles.keys):
        place = f"{roles.layers}.0.{part}"
        picked = [head * 4 + row for row in rows]
        found.append(seen @ weights[f"{place}.weight"][picked].double().t() + weights[f"{place}.bias"][picked].double())
    return found[0] @ found[1].t()


def test_the_leading_rows_of_a_turned_head_keep_more_of_its_scores_than_any_two_of_its_own() -> None:
    inputs = random_moment(25, 9)
    inputs[-1, :-1] = inputs[:-1, -1] = 0.0
    inputs[-1, -1] = 1.0
    before, weights, roles = turned("bert", inputs, torch.eye(4).double().expand(6, 4, 4))
    values, vectors = torch.linalg.eigh(inputs[:-1, :-1])
    seen = (
        torch.randn(400, 24, generator=torch.Generator().manual_seed(1)).double()
        @ (vectors * values.clamp(min=0).sqrt()).t()
    )
    for head in range(6):
        whole = scores(before, roles, head, [0, 1, 2, 3], seen)
        lost = (scores(weights, roles, head, [0, 1], seen) - whole).norm()
        pairs = [(first, second) for first in range(4) for second in range(first)]
        assert all(lost < (scores(before, roles, head, list(pair), seen) - whole).norm() for pair in pairs)
        torch.testing.assert_close(scores(weights, roles, head, [0, 1, 2, 3], seen), whole, rtol=1e-3, atol=1e-4)


def written(weights: Weights, roles: Roles, head: int, rows: list[int], seen: torch.Tensor) -> torch.Tensor:
    picked = [head * 4 + row for row in rows]
    values = seen @ weights[f"{roles.layers}.0.{roles.values}.weight"][picked].double().t()
    return values @ weights[f"{roles.layers}.0.{roles.mixed}.weight"][:, picked].double().t()


def test_the_leading_rows_of_a_turned_head_write_most_of_what_it_wrote() -> None:
    spec = TEACHERS["bert"]
    seen = torch.randn(400, 24, generator=torch.Generator().manual_seed(1)).double()
    values = read_weights(teacher_of(spec))["bert.encoder.layer.0.attention.self.value.weight"].double()
    handed = (seen @ values.t()).reshape(400, 6, 4)
    mixed = torch.einsum("nhi,nhj->hij", handed, handed) / 400
    before, weights, roles = turned("bert", torch.eye(25).double(), mixed)
    for head in range(6):
        whole = written(before, roles, head, [0, 1, 2, 3], seen)
        lost = (written(weights, roles, head, [0, 1], seen) - whole).norm()
        pairs = [(first, second) for first in range(4) for second in range(first)]
        assert all(lost < (written(before, roles, head, list(pair), seen) - whole).norm() for pair in pairs)


def test_heads_of_a_trained_kind_survive_moments_without_full_rank() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec)
    found: Importance = measure_importance(teacher, [{key: value[:1] for key, value in batches_of(spec)[0].items()}])
    weights = dict(read_weights(teacher))
    turn_heads(weights, roles_of(teacher), spec, 0, found.moments[0], torch.zeros(6, 4, 4).double())
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_scaled_queries_scale_the_scores(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    weights, roles = dict(read_weights(teacher)), roles_of(teacher)
    place = f"{roles.layers}.2.{roles.queries}"
    before = {kind: weights[f"{place}.{kind}"].clone() for kind in ("weight", "bias") if f"{place}.{kind}" in weights}
    scale_queries(weights, roles, 2, 0.5)
    assert all(torch.equal(weights[f"{place}.{kind}"], 0.5 * weight) for kind, weight in before.items())
    assert len(before) == (1 if name == "llama" else 2)
    assert torch.equal(read_weights(teacher)[f"{place}.weight"], before["weight"])
