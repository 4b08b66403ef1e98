from __future__ import annotations

import pytest
import torch
from small_teachers import TEACHERS, logits, teacher_of

from edgekd.errors import SpecError
from edgekd.students.build import build
from edgekd.students.weights import (
    axes_of,
    in_layer,
    layer_of,
    module_at,
    norm_names,
    read_weights,
    roles_of,
    write_weights,
)


@pytest.mark.parametrize("name", TEACHERS)
def test_written_weights_are_those_that_were_read(name: str) -> None:
    spec = TEACHERS[name]
    teacher, other = teacher_of(spec), build(spec, seed=3)
    written = write_weights(other, read_weights(teacher))
    assert written == sum(parameter.numel() for parameter in other.parameters())
    assert torch.equal(logits(other, spec), logits(teacher, spec))


@pytest.mark.parametrize("name", TEACHERS)
def test_every_axis_of_a_matrix_has_the_length_of_what_it_counts(name: str) -> None:
    spec = TEACHERS[name]
    lengths = {
        "channels": spec.hidden,
        "heads": spec.heads * spec.head_dim,
        "kv_heads": spec.kv_heads * spec.head_dim,
        "neurons": spec.ffn,
    }
    for weight_name, weight in read_weights(teacher_of(spec)).items():
        axes = axes_of(weight_name, spec.architecture, weight.dim())
        assert len(axes) == weight.dim()
        for length, axis in zip(weight.shape, axes, strict=True):
            assert axis == "whole" or length == lengths[axis], weight_name


@pytest.mark.parametrize("name", TEACHERS)
def test_all_roles_are_modules_of_the_model(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    roles, weights = roles_of(teacher), read_weights(teacher)
    for layer in range(spec.layers):
        for part in (roles.queries, roles.keys, roles.values, roles.mixed, roles.down, *roles.ups):
            assert f"{roles.layers}.{layer}.{part}.weight" in weights
    for norm in norm_names(teacher, spec.layers):
        assert module_at(teacher, norm).weight.shape == (spec.hidden,)


@pytest.mark.parametrize("name", ["bert", "vit", "llama"])
def test_norms_are_named_in_the_order_a_token_passes_them(name: str) -> None:
    teacher = teacher_of(TEACHERS[name])
    passed: list[str] = []
    names = norm_names(teacher, TEACHERS[name].layers)
    for norm in names:
        module_at(teacher, norm).register_forward_hook(lambda *_, norm=norm: passed.append(norm))
    logits(teacher, TEACHERS[name])
    assert passed == names


def test_the_fused_projection_of_gpt2_is_read_as_three_in_its_order() -> None:
    spec = TEACHERS["gpt2"]
    teacher = teacher_of(spec)
    fused = teacher.transformer.h[1].attn.c_attn
    read = read_weights(teacher)
    for part, name in enumerate("qkv"):
        columns = slice(part * spec.hidden, (part + 1) * spec.hidden)
        assert torch.equal(read[f"transformer.h.1.attn.{name}_proj.weight"], fused.weight[:, columns].t())
        assert torch.equal(read[f"transformer.h.1.attn.{name}_proj.bias"], fused.bias[columns])


def test_weights_that_are_missing_or_of_another_shape_are_refused() -> None:
    teacher = teacher_of(TEACHERS["bert"])
    weights = read_weights(teacher)
    with pytest.raises(SpecError, match=r"classifier.weight: found none, expected the shape \(3, 24\)"):
        write_weights(teacher, {name: weight for name, weight in weights.items() if name != "classifier.weight"})
    with pytest.raises(SpecError, match=r"found \(2, 24\), expected the shape \(3, 24\)"):
        write_weights(teacher, weights | {"classifier.weight": torch.zeros(2, 24)})


def test_layers_of_names() -> None:
    assert layer_of("bert.encoder.layer.3.output.dense.weight") == 3
    assert layer_of("bert.embeddings.word_embeddings.weight") is None
    assert in_layer("transformer.h.3.ln_1.weight", 11) == "transformer.h.11.ln_1.weight"
    assert in_layer("score.weight", 2) == "score.weight"


def test_a_weight_that_no_family_has_is_refused() -> None:
    with pytest.raises(SpecError, match=r"the bert has the weight adapter\.weight"):
        axes_of("adapter.weight", "bert", 2)
