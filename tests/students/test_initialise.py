from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_teachers import TEACHERS, logits, resized, teacher_of

from edgekd.errors import SpecError
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.choose import even_layers, spaced
from edgekd.students.initialise import initialise
from edgekd.students.weights import axes_of, read_weights

torch.set_num_threads(1)


def narrow(spec: StudentSpec, seed: int) -> StudentSpec:
    """A random student of `spec`: fewer or equal layers, groups, heads per group and neurons."""
    draw = random.Random(seed)
    groups = draw.randint(1, spec.kv_heads)
    heads = groups * draw.randint(1, spec.heads // spec.kv_heads)
    hidden = heads * spec.head_dim
    if spec.architecture == "llama":
        hidden = heads * draw.randint(1, spec.hidden // heads)
    sizes = {"layers": draw.randint(1, spec.layers), "ffn": draw.randint(1, spec.ffn)}
    return resized(spec, heads=heads, kv_heads=groups, hidden=hidden, **sizes)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_student_of_the_same_size_computes_what_its_teacher_computes(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    student = build(spec, teacher.config, seed=4)
    assert not torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-3)
    done = initialise(student, teacher)
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)
    assert done.layer_map == list(range(spec.layers))
    assert done.copied_parameters == sum(parameter.numel() for parameter in student.parameters())


LAYER_LISTS = {"bert": "encoder.layer", "roberta": "encoder.layer", "vit": "layers", "gpt2": "h", "llama": "layers"}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_shallow_student_is_the_teacher_without_the_dropped_layers(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    shallow = resized(spec, layers=3)
    student = build(shallow, teacher.config, seed=4)
    assert initialise(student, teacher).layer_map == [0, 2, 4]
    layers = teacher.base_model.get_submodule(LAYER_LISTS[spec.architecture])
    for index in (3, 1):
        del layers[index]
    teacher.config.num_hidden_layers = 3
    if spec.family == "decoder":
        for index, layer in enumerate(layers):
            (layer.attn if spec.architecture == "gpt2" else layer.self_attn).layer_idx = index
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)


WRITERS_OF_HEADS = ("attention.output.dense.weight", "attn.c_proj.weight", "o_proj.weight")
WRITERS_OF_NEURONS = ("mlp.c_proj.weight", "down_proj.weight", "mlp.fc2.weight")


def kill(model: Any, spec: StudentSpec, heads: set[int], neurons: set[int]) -> None:
    """Zero what the given heads and neurons write into the residual stream."""
    rows = [head * spec.head_dim + row for head in heads for row in range(spec.head_dim)]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            by_input = parameter if spec.architecture == "gpt2" else parameter.t() if parameter.dim() == 2 else None
            if name.endswith(WRITERS_OF_HEADS):
                by_input[rows] = 0.0
            feed_forward = name.endswith(".output.dense.weight") and "attention" not in name
            if name.endswith(WRITERS_OF_NEURONS) or feed_forward:
                by_input[sorted(neurons)] = 0.0


@pytest.mark.parametrize("name", TEACHERS)
def test_dropping_dead_neurons_changes_nothing(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    kept = set(spaced(40, 16))
    kill(teacher, spec, set(), set(range(40)) - kept)
    thin = resized(spec, ffn=16)
    student = build(thin, teacher.config, seed=4)
    assert initialise(student, teacher).neurons == [sorted(kept)] * spec.layers
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "heads", "groups", "kept"),
    [
        ("llama", 2, 1, [0, 1]),
        ("llama", 2, 2, [0, 2]),
        ("llama-lm-tied", 2, 2, [0, 2]),
        ("llama-lm-untied", 4, 2, [0, 1, 2, 3]),
        ("llama-lm-untied", 2, 2, [0, 2]),
    ],
)
def test_dropping_dead_heads_of_a_llama_changes_nothing(name: str, heads: int, groups: int, kept: list[int]) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    kill(teacher, spec, set(range(spec.heads)) - set(kept), set())
    fewer = resized(spec, heads=heads, kv_heads=groups)
    student = build(fewer, teacher.config, seed=4)
    done = initialise(student, teacher)
    assert done.heads == [kept] * spec.layers
    assert [len(found) for found in done.kv_heads] == [groups] * spec.layers
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "vit", "gpt2", "gpt2-lm-untied"])
def test_heads_of_the_other_families_keep_their_rows_together(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    thin = resized(spec, heads=3, kv_heads=3, hidden=12)
    student = build(thin, teacher.config, seed=4)
    done = initialise(student, teacher)
    assert done.heads == [[0, 2, 4]] * spec.layers
    assert done.channels == list(range(0, 24, 2))
    first, copied = query_weight(teacher, spec), query_weight(student, thin)
    for position, head in enumerate(done.heads[0]):
        rows = first[head * 4 : head * 4 + 4][:, done.channels]
        assert torch.equal(copied[position * 4 : position * 4 + 4], rows)


def query_weight(model: Any, spec: StudentSpec) -> torch.Tensor:
    """The query matrix of the first layer, rows first."""
    for name, parameter in model.named_parameters():
        if name.endswith(("self.query.weight", "q_proj.weight")):
            return parameter
        if name.endswith("c_attn.weight"):
            return parameter.t()[: spec.hidden]
    raise AssertionError(name)


def test_the_fused_projection_of_gpt2_keeps_query_key_and_value_apart() -> None:
    spec = TEACHERS["gpt2"]
    teacher = teacher_of(spec)
    student = build(resized(spec, heads=2, kv_heads=2, hidden=8), teacher.config, seed=4)
    initialise(student, teacher)
    whole = teacher.transformer.h[0].attn.c_attn.bias.view(3, 6, 4)
    part = student.transformer.h[0].attn.c_attn.bias.view(3, 2, 4)
    assert torch.equal(part, whole[:, [0, 3]])


READERS = re.compile(
    r"query|key|value|intermediate|c_fc|(q|k|v|gate|up)_proj|fc1|lm_head|score|out_proj|^classifier\.weight"
    r"|(pooler|classifier)\.dense\.weight"
)


def pair_channels(model: Any, spec: StudentSpec) -> None:
    """Give every even channel a twin in the odd one beside it, which nothing reads: norms cannot tell them apart."""
    with torch.no_grad():
        for name, parameter in read_weights(model, with_tied=False).items():
            for dimension, axis in enumerate(axes_of(name, spec.architecture, parameter.dim())):
                if axis != "channels":
                    continue
                channels = parameter.transpose(0, dimension)
                square = name.endswith(("pooler.dense.weight", "classifier.dense.weight"))
                read = READERS.search(name) and not (square and dimension == 0)
                channels[1::2] = 0.0 if read else channels[0::2].clone()


@pytest.mark.parametrize("name", [name for name, spec in TEACHERS.items() if spec.head != "none"])
def test_dropping_channels_that_say_nothing_new_changes_nothing(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    pair_channels(teacher, spec)
    fewer = {} if spec.architecture == "llama" else {"heads": 3, "kv_heads": 3}
    if fewer:
        kill(teacher, spec, {1, 3, 5}, set())
    smaller = resized(spec, hidden=12, **fewer)
    student = build(smaller, teacher.config, seed=4)
    assert initialise(student, teacher).channels == list(range(0, 24, 2))
    # A tied head reads the table itself, twins included, so everything counts twice there.
    share = 2 if spec.tied and not spec.labels else 1
    assert torch.allclose(share * logits(student, smaller), logits(teacher, spec), atol=2e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", TEACHERS)
def test_random_smaller_students_are_wholly_copied_and_compute(name: str, seed: int) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec, seed)
    smaller = narrow(spec, seed)
    student = build(smaller, teacher.config, seed=4)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(float("nan"))
    done = initialise(student, teacher)
    assert not any(parameter.isnan().any() for parameter in student.parameters())
    assert logits(student, smaller).isfinite().all()
    assert len(done.channels) == smaller.hidden
    assert {len(found) for found in done.heads} == {smaller.heads}
    assert {len(found) for found in done.neurons} == {smaller.ffn}
    assert done.to_dict()["layer_map"] == even_layers(spec.layers, smaller.layers)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_saved_student_loads_without_missing_or_unexpected_weights(name: str, tmp_path: Path) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    smaller = narrow(spec, seed=1)
    student: Any = build(smaller, teacher.config, seed=4)
    initialise(student, teacher)
    student.save_pretrained(tmp_path)
    options = {"add_pooling_layer": False} if spec.head == "none" else {}
    again, info = type(student).from_pretrained(tmp_path, output_loading_info=True, use_safetensors=True, **options)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.allclose(logits(again, smaller), logits(student, smaller), atol=1e-6)


def test_the_teacher_is_left_alone() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = build(spec, teacher.config, seed=4)
    initialise(student, teacher)
    with torch.no_grad():
        student.get_input_embeddings().weight.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_a_student_with_a_head_dim_that_does_not_divide_is_refused_with_the_reason() -> None:
    spec = TEACHERS["bert"]
    student = build(resized(spec, hidden=12, heads=4, kv_heads=4, head_dim=3), seed=0)
    with pytest.raises(SpecError, match="head_dim 3, which does not divide the teacher's 4"):
        initialise(student, build(spec, seed=0))


@pytest.mark.parametrize("name", [name for name in TEACHERS if "llama" not in name])
def test_of_a_narrower_head_evenly_spaced_rows_are_kept(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    slim = resized(spec, hidden=12, head_dim=2)
    student = build(slim, teacher.config, seed=4)
    found = initialise(student, teacher)
    assert found.head_rows == [0, 2]
    assert found.heads == [list(range(6))] * spec.layers
    mixed = next(name for name, _ in student.named_parameters() if name.endswith(WRITERS_OF_HEADS))
    own, whole = (dict(model.named_parameters())[mixed].detach() for model in (student, teacher))
    rows = [head * 4 + row for head in range(6) for row in (0, 2)]
    by_input = (own, whole) if spec.architecture == "gpt2" else (own.t(), whole.t())
    assert torch.equal(by_input[0], by_input[1][rows][:, found.channels])


def test_rows_kept_of_a_llama_head_turn_with_position_as_they_did() -> None:
    spec = resized(TEACHERS["llama"], head_dim=8)
    teacher = teacher_of(spec)
    # Rows that are dropped write nothing, and scores are scaled by head_dim, which the queries make up for.
    dead = [head * 8 + row for head in range(spec.heads) for row in range(1, 8, 2)]
    with torch.no_grad():
        for name, weight in teacher.named_parameters():
            if name.endswith("q_proj.weight"):
                weight[dead] = 0.0
            elif name.endswith(("k_proj.weight", "v_proj.weight")):
                weight[[row for row in dead if row < len(weight)]] = 0.0
        slim = resized(spec, head_dim=4)
        student = build(slim, teacher.config, seed=4)
        assert initialise(student, teacher).head_rows == [0, 2, 4, 6]
    assert torch.allclose(logits(student, slim), logits(teacher, spec), atol=1e-5)


def test_a_student_with_another_activation_is_refused() -> None:
    teacher = build(TEACHERS["bert"], seed=0)
    student = build(TEACHERS["bert"], teacher.config, seed=0)
    student.config.hidden_act = "relu"
    with pytest.raises(SpecError, match="hidden_act = 'relu', expected the teacher's 'gelu'"):
        initialise(student, teacher)


def test_a_language_model_is_no_student_of_a_classifier() -> None:
    with pytest.raises(SpecError, match="labels 0"):
        initialise(build(TEACHERS["gpt2-lm-tied"], seed=0), build(TEACHERS["gpt2"], seed=0))


def test_an_encoder_decoder_is_not_cut_by_rules_that_are_not_its_own() -> None:
    spec = StudentSpec(architecture="t5", layers=2, hidden=8, heads=2, ffn=8, vocabulary=20, positions=4)
    teacher = build(spec, seed=0)
    with pytest.raises(SpecError, match="cannot be cut out of a t5 yet"):
        initialise(build(spec, seed=1), teacher)
