from __future__ import annotations

from typing import Any

import pytest
import torch
from small_teachers import TEACHERS, batches_of, resized, teacher_of

from edgekd.students.build import build
from edgekd.students.gain import calibrate_norms, fit_norm, paired_norms
from edgekd.students.initialise import initialise
from edgekd.students.weights import module_at, norm_names, read_weights


@pytest.mark.parametrize(
    ("layers", "teacher", "post_norm", "expected"),
    [
        # Before what reads the stream: each norm of a layer stands for the teacher's own, the last for the last.
        ([0, 1, 2], 3, False, [0, 1, 2, 3, 4, 5, 6]),
        ([0, 2], 4, False, [0, 1, 4, 5, 8]),
        # On the stream: the last norm of layer 0 stands for that of layer 1, because layer 2 follows.
        ([0, 1, 2], 3, True, [0, 1, 2, 3, 4, 5, 6]),
        ([0, 2], 4, True, [0, 1, 4, 5, 8]),
        ([0], 6, True, [0, 1, 12]),
    ],
)
def test_norms_are_paired_with_what_they_stand_for(
    layers: list[int], teacher: int, post_norm: bool, expected: list[int]
) -> None:
    assert paired_norms(layers, teacher, post_norm=post_norm) == expected


def outputs(model: Any, norm: str, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    found: list[torch.Tensor] = []
    handle = module_at(model, norm).register_forward_hook(lambda _module, _given, out: found.append(out))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    handle.remove()
    masks = [batch.get("attention_mask") for batch in batches]
    rows = [seen.flatten(0, 1) if mask is None else seen[mask.bool()] for seen, mask in zip(found, masks, strict=True)]
    return torch.cat(rows)


@pytest.mark.parametrize("name", ["bert", "vit", "gpt2", "llama"])
def test_calibrated_norms_hand_on_what_is_nearest_to_the_teachers(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    smaller = resized(
        spec, layers=3, hidden=12, heads=2 if name == "llama" else 3, kv_heads=1 if name == "llama" else 3
    )
    plain, fitted = (build(smaller, teacher.config, seed=4) for _ in range(2))
    kept = initialise(plain, teacher)
    initialise(fitted, teacher)
    weights, names = read_weights(teacher), norm_names(teacher, spec.layers)

    def target(index: int, stream: torch.Tensor) -> torch.Tensor:
        bias = weights.get(f"{names[index]}.bias", torch.zeros(spec.hidden)).double()
        return (stream * weights[f"{names[index]}.weight"].double() + bias)[:, kept.channels]

    calibrate_norms(fitted, teacher, kept.layer_map, batches, target)
    pairs = paired_norms(kept.layer_map, spec.layers, post_norm=name == "bert")
    # The last norm is fitted to the tokens that the head reads, and looked at in test_importance.
    for own, index in list(zip(norm_names(fitted, 3), pairs, strict=True))[:-1]:
        wanted = outputs(teacher, names[index], batches)[:, kept.channels]
        errors = [(outputs(model, own, batches) - wanted).pow(2).mean().item() for model in (fitted, plain)]
        assert errors[0] < errors[1]
        # Nothing that a gain or a bias could still say is left over.
        norm = module_at(fitted, own)
        left = outputs(fitted, own, batches) - wanted
        plain_stream = (outputs(fitted, own, batches) - getattr(norm, "bias", 0.0)) / norm.weight
        assert (left * plain_stream).mean(dim=0).abs().max().item() < 1e-3


def test_only_the_first_tokens_count() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec)
    batch = batches_of(spec)[0]
    many = [batch] * 40
    first, again = (build(spec, teacher.config, seed=4) for _ in range(2))
    tokens = int(batch["attention_mask"].sum())
    enough = many[: -(-4096 // tokens)]
    for student, batches in ((first, many), (again, enough)):
        initialise(student, teacher, "importance", batches=batches)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_channel_that_never_moves_hands_on_its_mean() -> None:
    norm = torch.nn.LayerNorm(2)
    plain = torch.tensor([[3.0, -1.0], [3.0, 1.0], [3.0, 0.0]]).double()
    wanted = torch.tensor([[1.0, 4.0], [2.0, 8.0], [6.0, 6.0]]).double()
    fit_norm(norm, plain, wanted)
    assert norm.weight.tolist() == [0.0, 2.0]
    assert norm.bias.tolist() == [3.0, 6.0]


def test_a_norm_without_a_bias_goes_through_the_origin() -> None:
    norm = torch.nn.RMSNorm(1)
    fit_norm(norm, torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[2.0], [2.0]]).double())
    assert norm.weight.item() == pytest.approx(6 / 5)
