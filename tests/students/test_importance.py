from __future__ import annotations

from typing import Any

import pytest
import torch
from small_teachers import TEACHERS, batches_of, logits, teacher_of
from torch.nn import functional

from edgekd.errors import DataError
from edgekd.students.importance import Importance, measure_importance
from edgekd.students.weights import module_at, norm_names, roles_of


def inputs_of(teacher: Any, module: str, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """What a module of the teacher is given for every token that is no padding."""
    found: list[torch.Tensor] = []
    handle = module_at(teacher, module).register_forward_pre_hook(lambda _module, given: found.append(given[0]))
    with torch.no_grad():
        for batch in batches:
            teacher(**batch)
    handle.remove()
    masks = [batch.get("attention_mask") for batch in batches]
    rows = [seen.flatten(0, 1) if mask is None else seen[mask.bool()] for seen, mask in zip(found, masks, strict=True)]
    return torch.cat(rows).double()


@pytest.mark.parametrize("name", TEACHERS)
def test_what_heads_and_neurons_write_is_their_mean_square(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    roles, found = roles_of(teacher), measure_importance(teacher, batches)
    place = f"{roles.layers}.3."
    mixed, neurons = (inputs_of(teacher, place + part, batches) for part in (roles.mixed, roles.down))
    output, down = (module_at(teacher, place + part) for part in (roles.mixed, roles.down))
    rows = {
        part: part.weight.double() if spec.architecture == "gpt2" else part.weight.double().t()
        for part in (output, down)
    }
    for head in (0, spec.heads - 1):
        part = slice(head * spec.head_dim, (head + 1) * spec.head_dim)
        written = mixed[:, part] @ rows[output][part]
        assert found.heads[3, head].item() == pytest.approx(written.pow(2).sum(dim=1).mean().item(), rel=1e-4)
    written = neurons[:, 11:12] * rows[down][11]
    assert found.neurons[3, 11].item() == pytest.approx(written.pow(2).sum(dim=1).mean().item(), rel=1e-4)
    assert found.tokens == len(mixed)


@pytest.mark.parametrize("name", TEACHERS)
def test_channels_are_measured_behind_every_norm(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    found = measure_importance(teacher, batches)
    for index, norm in enumerate(norm_names(teacher, spec.layers)[:-1]):
        behind = module_at(teacher, norm)(inputs_of(teacher, norm, batches).float()).double()
        torch.testing.assert_close(found.channels[index], behind.pow(2).mean(dim=0).sqrt(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TEACHERS)
def test_behind_the_last_norm_only_what_the_head_reads_counts(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    before = measure_importance(teacher, batches).channels[-1]
    norm = module_at(teacher, norm_names(teacher, spec.layers)[-1])
    read = {0} if spec.family in ("encoder", "vit") else {7, 10}  # the last tokens of texts of 8 and of 11

    def spoil(_norm: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        spoilt = given[0].clone()
        others = sorted(set(range(spoilt.shape[1])) - read)
        spoilt[:, others] = 100 * torch.randn(1)
        return (spoilt,)

    norm.register_forward_pre_hook(spoil)
    after = measure_importance(teacher, batches).channels[-1]
    assert torch.allclose(after, before) is (spec.labels > 0)


@pytest.mark.parametrize("name", ["bert", "vit", "gpt2", "llama"])
def test_influence_is_what_a_layer_turns_the_stream_by(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    found = measure_importance(teacher, batches)
    before = inputs_of(teacher, f"{roles_of(teacher).layers}.2", batches)
    after = inputs_of(teacher, f"{roles_of(teacher).layers}.3", batches)
    expected = 1 - functional.cosine_similarity(before, after, dim=1).mean().item()
    assert found.influence[2].item() == pytest.approx(expected, rel=1e-4)
    assert found.influence.shape == (spec.layers,)
    assert (found.influence > 0).all()


def tensors(found: Importance) -> list[torch.Tensor]:
    return [found.channels, found.moments, found.heads, found.neurons, found.mixed, found.influence]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_padding_counts_for_nothing(name: str) -> None:
    spec = TEACHERS[name]
    teacher, batches = teacher_of(spec), batches_of(spec)
    longer = [
        {
            "input_ids": functional.pad(batch["input_ids"], (0, 7)),
            "attention_mask": functional.pad(batch["attention_mask"], (0, 7)),
        }
        for batch in batches
    ]
    if name == "roberta":  # whose positions skip its padding token, 1
        longer = [{**batch, "input_ids": batch["input_ids"] + (batch["input_ids"] == 0)} for batch in longer]
    for short, long in zip(
        tensors(measure_importance(teacher, batches)), tensors(measure_importance(teacher, longer)), strict=True
    ):
        torch.testing.assert_close(short, long, rtol=1e-4, atol=1e-5)


def test_importance_of_batches_is_that_of_all_their_tokens() -> None:
    spec = TEACHERS["vit"]
    teacher, batches = teacher_of(spec), batches_of(spec)
    joined = [{"pixel_values": torch.cat([batch["pixel_values"] for batch in batches])}]
    for apart, whole in zip(
        tensors(measure_importance(teacher, batches)), tensors(measure_importance(teacher, joined)), strict=True
    ):
        torch.testing.assert_close(apart, whole, rtol=1e-5, atol=1e-6)


def test_the_teacher_is_left_as_it_was() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec).train()
    expected = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    first = measure_importance(teacher, batches_of(spec))
    assert teacher.training
    assert all(torch.equal(expected[name], tensor) for name, tensor in teacher.state_dict().items())
    # Dropout is off while it is watched, and no hook stays behind.
    assert torch.equal(first.heads, measure_importance(teacher, batches_of(spec)).heads)
    assert not any(module._forward_pre_hooks for module in teacher.modules())
    assert logits(teacher.eval(), spec).isfinite().all()


def test_no_inputs_and_nothing_but_padding_are_refused() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec)
    with pytest.raises(DataError, match="found no inputs"):
        measure_importance(teacher, [])
    tokens = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(DataError, match="only padding"):
        measure_importance(teacher, [{"input_ids": tokens, "attention_mask": torch.zeros_like(tokens)}])
