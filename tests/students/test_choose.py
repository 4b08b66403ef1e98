from __future__ import annotations

import itertools

import pytest
import torch
from small_teachers import TEACHERS, resized, teacher_of

from edgekd.errors import SpecError
from edgekd.students.choose import (
    Scores,
    best,
    checked_layers,
    even_layers,
    first_layers,
    influential_layers,
    keep_best,
    keep_evenly,
    scores_of_magnitude,
    spaced,
)
from edgekd.students.weights import read_weights, roles_of


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (6, 3, [0, 2, 5]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (12, 6, [0, 2, 4, 7, 9, 11]),
        (12, 4, [0, 4, 7, 11]),
        (6, 1, [0]),
        (1, 1, [0]),
        (5, 2, [0, 4]),
    ],
)
def test_kept_layers_are_evenly_spaced(teacher: int, student: int, expected: list[int]) -> None:
    assert even_layers(teacher, student) == expected


def test_every_layer_map_keeps_the_first_and_last_layer_and_the_order() -> None:
    for teacher in range(1, 30):
        for student in range(1, teacher + 1):
            kept = even_layers(teacher, student)
            assert kept[0] == 0
            assert student == 1 or kept[-1] == teacher - 1
            assert kept == sorted(set(kept))
            assert len(kept) == student
            gaps = [after - before for before, after in itertools.pairwise(kept)]
            assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("student", [0, 7])
def test_a_layer_map_beyond_the_teacher_is_refused(student: int) -> None:
    with pytest.raises(SpecError, match="expected 1 to 6"):
        even_layers(6, student)


def test_spacing_is_a_stride_where_it_divides_and_keeps_all_when_equal() -> None:
    assert spaced(12, 4) == [0, 3, 6, 9]
    assert spaced(7, 7) == list(range(7))
    assert spaced(7, 3) == [0, 2, 4]


def test_first_layers_are_the_lowest() -> None:
    assert first_layers(6, 3) == [0, 1, 2]
    with pytest.raises(SpecError, match="expected 1 to 6"):
        first_layers(6, 7)


def test_influential_layers_always_hold_the_first() -> None:
    assert influential_layers([0.0, 0.3, 0.1, 0.4, 0.2], 3) == [0, 1, 3]
    assert influential_layers([0.0, 0.3], 1) == [0]


@pytest.mark.parametrize("layers", [[1, 3, 5], [0, 3, 2], [0, 2, 6], [0, 2], [0, 0, 1]])
def test_a_map_that_is_none_is_refused(layers: list[int]) -> None:
    with pytest.raises(SpecError, match="expected 3 of 0 to 5 that ascend from 0"):
        checked_layers(layers, 6, 3)


def test_a_map_from_the_first_layer_is_accepted() -> None:
    assert checked_layers((0, 2, 5), 6, 3) == [0, 2, 5]


def test_the_best_stay_in_their_order_and_of_equal_ones_the_first() -> None:
    assert best(torch.tensor([1.0, 5.0, 3.0, 5.0]), 2) == [1, 3]
    assert best(torch.tensor([2.0, 2.0, 2.0]), 2) == [0, 1]


def test_even_strides_are_the_same_in_every_layer() -> None:
    spec = TEACHERS["llama-lm-untied"]
    kept = keep_evenly(resized(spec, heads=2, kv_heads=2, ffn=10, hidden=12, layers=2), spec, [0, 4])
    assert kept.heads == [[0, 2], [0, 2]]
    assert kept.kv_heads == [[0, 1], [0, 1]]
    assert kept.neurons == [list(range(0, 40, 4))] * 2
    assert kept.channels == list(range(0, 24, 2))


def test_every_layer_keeps_its_own_best_heads_and_neurons() -> None:
    spec = TEACHERS["bert"]
    heads = torch.zeros(5, 6)
    heads[0, [1, 2, 5]] = heads[3, [0, 3, 4]] = 1.0
    neurons = torch.zeros(5, 40)
    neurons[0, 7] = neurons[3, 9] = 1.0
    student = resized(spec, layers=2, heads=3, kv_heads=3, hidden=12, ffn=1)
    kept = keep_best(student, spec, [0, 3], Scores(torch.arange(24.0), heads, neurons))
    assert kept.heads == kept.kv_heads == [[1, 2, 5], [0, 3, 4]]
    assert kept.neurons == [[7], [9]]
    assert kept.channels == list(range(12, 24))


def test_query_heads_go_with_the_group_whose_best_are_worth_most() -> None:
    spec = TEACHERS["llama-lm-untied"]  # six heads in three groups
    heads = torch.tensor([[9.0, 0.0, 4.0, 4.0, 1.0, 6.0]]).repeat(5, 1)
    one_each = resized(spec, layers=1, heads=2, kv_heads=2)
    kept = keep_best(one_each, spec, [0], Scores(torch.zeros(24), heads, torch.zeros(5, 40)))
    assert (kept.kv_heads, kept.heads) == ([[0, 2]], [[0, 5]])
    both = resized(spec, layers=1, heads=4, kv_heads=2)
    kept = keep_best(both, spec, [0], Scores(torch.zeros(24), heads, torch.zeros(5, 40)))
    assert (kept.kv_heads, kept.heads) == ([[0, 1]], [[0, 1, 2, 3]])


@pytest.mark.parametrize("name", TEACHERS)
def test_magnitudes_find_what_has_small_weights(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    roles, weights = roles_of(teacher), read_weights(teacher)
    with torch.no_grad():
        for layer in range(spec.layers):
            place = f"{roles.layers}.{layer}."
            rows = slice(spec.head_dim, 2 * spec.head_dim)
            weights[f"{place}{roles.mixed}.weight"][:, rows] *= 1e-3
            weights[f"{place}{roles.ups[0]}.weight"][3] *= 1e-3
        for weight in weights.values():
            if weight.dim() >= 2 and weight.shape[-1] == spec.hidden:
                weight[..., 5] *= 1e-3
    scores = scores_of_magnitude(weights, spec, roles, range(spec.layers))
    assert scores.heads.argmin(dim=1).tolist() == [1] * spec.layers
    assert scores.neurons.argmin(dim=1).tolist() == [3] * spec.layers
    assert int(scores.channels.argmin()) == 5
