"""What a cut must not lose, family by family: where nothing of worth is cut off, the student computes the same."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from small_teachers import TEACHERS, batches_of, logits, resized, teacher_of
from torch.nn import functional

from edgekd.errors import DataError, SpecError
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.gates import gate_importance
from edgekd.students.initialise import METHODS, Initialisation, initialise, methods_for
from edgekd.students.weights import module_at, norm_names, read_weights, roles_of, spec_of

ON_INPUTS = [(name, method) for name in TEACHERS for method in methods_for(TEACHERS[name].architecture)[3:]]
LOSSY = {("gpt2-lm-tied", "rotation"), ("llama-lm-tied", "rotation")}  # the head cannot be turned apart from the table


def begun(teacher: Any, spec: StudentSpec, method: Any, **options: Any) -> tuple[Any, Initialisation]:
    student = build(spec, teacher.config, seed=4)
    if method == "gates":
        its = spec_of(teacher)
        options["gates"] = torch.rand(its.layers, its.heads, generator=torch.Generator().manual_seed(6)).double()
    return student, initialise(student, teacher, method, batches=batches_of(spec), **options)


@pytest.mark.parametrize(("name", "method"), [*ON_INPUTS, *((name, "magnitude") for name in TEACHERS)])
def test_a_student_of_the_teachers_size_computes_the_same(name: str, method: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    student, done = begun(teacher, spec, method)
    close = torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)
    assert close is ((name, method) not in LOSSY)
    assert done.copied_parameters == sum(parameter.numel() for parameter in student.parameters())
    assert done.method == method
    assert (done.kept_energy is not None) is (method == "rotation")


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("name", ["gpt2-lm-tied", "llama-lm-tied"])
def test_a_head_of_its_own_begins_as_the_teachers_table_and_can_be_turned_apart(
    name: str, method: str, tmp_path: Path
) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    student, _ = begun(teacher, replace(spec, tied=False), method)
    table, head = student.get_input_embeddings().weight, student.get_output_embeddings().weight
    assert head.data_ptr() != table.data_ptr()
    assert torch.allclose(head, table) is (method != "rotation")
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)
    functional.cross_entropy(student(input_ids=torch.arange(8)[None]).logits[0], torch.arange(8)).backward()
    assert not torch.allclose(head.grad, table.grad)
    student.save_pretrained(tmp_path)
    again, info = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.allclose(logits(again, spec), logits(student, spec), atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2-lm-tied", "llama-lm-tied"])
def test_a_narrower_student_of_a_tied_teacher_begins_better_with_a_head_of_its_own(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    narrow_stream(teacher, 12 if "llama" in name else 11)
    heads = {"heads": 3, "kv_heads": 3} if name == "gpt2-lm-tied" else {}
    if heads:
        let_live(teacher, spec, [[0, 3, 5]] * spec.layers, [list(range(spec.ffn))] * spec.layers)
    smaller = resized(spec, hidden=12, **heads)
    apart = {}
    for tied in (True, False):
        student, _ = begun(teacher, replace(smaller, tied=tied), "rotation")
        apart[tied] = (logits(student, spec) - logits(teacher, spec)).abs().max().item()
    assert apart[False] < 5e-4
    assert apart[True] > 100 * apart[False]


def drawn(spec: StudentSpec) -> tuple[list[list[int]], list[list[int]]]:
    """Heads and neurons to live, others in every layer: as many of each group."""
    draw, size = random.Random(7), spec.heads // spec.kv_heads
    heads = []
    for _ in range(spec.layers):
        if size > 1:
            heads.append(sorted(group * size + draw.randrange(size) for group in range(spec.kv_heads)))
        else:
            heads.append(sorted(draw.sample(range(spec.heads), spec.heads // 2)))
    return heads, [sorted(draw.sample(range(spec.ffn), 16)) for _ in range(spec.layers)]


def let_live(teacher: Any, spec: StudentSpec, heads: list[list[int]], neurons: list[list[int]]) -> None:
    """Let all other heads and neurons write nothing."""
    roles, weights = roles_of(teacher), read_weights(teacher)
    for layer in range(spec.layers):
        dead = [row for row in range(spec.heads * spec.head_dim) if row // spec.head_dim not in heads[layer]]
        weights[f"{roles.layers}.{layer}.{roles.mixed}.weight"][:, dead] = 0.0
        silent = sorted(set(range(spec.ffn)) - set(neurons[layer]))
        weights[f"{roles.layers}.{layer}.{roles.down}.weight"][:, silent] = 0.0


@pytest.mark.parametrize("method", ["importance", "magnitude"])
@pytest.mark.parametrize("name", TEACHERS)
def test_neurons_that_write_nothing_are_found_in_every_layer(name: str, method: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    _, neurons = drawn(spec)
    let_live(teacher, spec, [list(range(spec.heads))] * spec.layers, neurons)
    smaller = resized(spec, ffn=16)
    student, done = begun(teacher, smaller, method)
    assert done.neurons == neurons
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)


@pytest.mark.parametrize("method", ["importance", "magnitude", "rotation"])
@pytest.mark.parametrize("name", ["llama", "llama-lm-untied"])
def test_heads_that_write_nothing_are_found_in_every_group(name: str, method: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    heads, _ = drawn(spec)
    let_live(teacher, spec, heads, [list(range(spec.ffn))] * spec.layers)
    smaller = resized(spec, heads=spec.kv_heads)
    student, done = begun(teacher, smaller, method)
    assert done.heads == heads
    assert torch.allclose(logits(student, spec), logits(teacher, spec), atol=1e-5)


def stream_parts(teacher: Any) -> list[torch.Tensor]:
    """Every weight that writes into the residual stream, as views with the channels last."""
    roles, found = roles_of(teacher), []
    for name, weight in read_weights(teacher, with_tied=False).items():
        kind = name.rsplit(".", 1)[0]
        if kind.endswith((roles.mixed, roles.down)):
            found.append(weight.transpose(0, -1))
        elif name.endswith(("embed_tokens.weight", "wte.weight", "wpe.weight", "cls_token", "position_embeddings")):
            found.append(weight)
        elif "patch_embeddings.projection" in name:
            found.append(weight.transpose(0, -1))
    return found


def narrow_stream(teacher: Any, directions: int) -> None:
    """Let the residual stream lie in few directions; where a norm takes the mean off, in such that have none."""
    draw = torch.randn(24, directions, generator=torch.Generator().manual_seed(3))
    if teacher.config.model_type != "llama":
        draw = draw - draw.mean(dim=0)
    inside = torch.linalg.qr(draw)[0]
    for weight in stream_parts(teacher):
        weight.copy_(weight @ inside @ inside.t())


@pytest.mark.parametrize("name", ["vit", "gpt2", "gpt2-lm-untied", "llama", "llama-lm-untied"])
def test_a_rotation_loses_nothing_of_a_stream_that_lies_in_few_directions(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    narrow_stream(teacher, 12 if "llama" in name else 11)
    heads = [[0, 3, 5]] * spec.layers
    sizes: dict[str, int] = {"hidden": 12}
    if "llama" not in name:
        let_live(teacher, spec, heads, [list(range(spec.ffn))] * spec.layers)
        sizes |= {"heads": 3, "kv_heads": 3}
    smaller = resized(spec, **sizes)
    student, done = begun(teacher, smaller, "rotation")
    assert done.kept_energy == pytest.approx(1)
    assert done.channels == []
    assert torch.allclose(logits(student, smaller), logits(teacher, spec), atol=5e-4)
    chosen, _ = begun(teacher, smaller, "importance")
    assert not torch.allclose(logits(chosen, smaller), logits(teacher, spec), atol=2e-2)


@pytest.mark.parametrize("name", ["llama", "llama-lm-tied", "llama-lm-untied"])
def test_channels_that_carry_nothing_are_found_by_importance(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    alive = sorted(random.Random(1).sample(range(24), 12))
    dead = sorted(set(range(24)) - set(alive))
    for weight in stream_parts(teacher):
        weight[..., dead] = 0.0
    smaller = resized(spec, hidden=12)
    student, done = begun(teacher, smaller, "importance")
    assert done.channels == alive
    assert torch.allclose(logits(student, smaller), logits(teacher, spec), atol=1e-3)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_channels_that_carry_nothing_are_found_where_norms_lie_on_the_stream(name: str) -> None:
    spec = TEACHERS[name]
    teacher = teacher_of(spec)
    alive = sorted(random.Random(1).sample(range(24), 12))
    dead = sorted(set(range(24)) - set(alive))
    heads = [[1, 2, 4]] * spec.layers
    let_live(teacher, spec, heads, [list(range(spec.ffn))] * spec.layers)
    with torch.no_grad():
        for norm in (module_at(teacher, norm) for norm in norm_names(teacher, spec.layers)):
            norm.weight.fill_(0.8)  # one gain for all keeps the mean of the stream where it is
            norm.bias.zero_()
            norm.weight[dead] = 0.0
    base = teacher.base_model
    writers = [
        base.embeddings.word_embeddings,
        base.embeddings.position_embeddings,
        base.embeddings.token_type_embeddings,
    ]
    layers = base.encoder.layer
    dense = [layer.attention.output.dense for layer in layers] + [layer.output.dense for layer in layers]
    views = [table.weight.detach() for table in writers]
    views += [module.weight.detach().t() for module in dense] + [module.bias.detach() for module in dense]
    for weight in views:
        weight[..., dead] = 0.0
        weight[..., alive] -= weight[..., alive].mean(dim=-1, keepdim=True)
    square = (base.pooler if name == "bert" else teacher.classifier).dense
    with torch.no_grad():
        square.weight[dead] = 0.0
        square.bias[dead] = 0.0
    smaller = resized(spec, hidden=12, heads=3, kv_heads=3)
    student, done = begun(teacher, smaller, "importance")
    assert done.channels == alive
    assert done.heads == heads
    assert torch.allclose(logits(student, smaller), logits(teacher, spec), atol=1e-4)


@pytest.mark.parametrize("method", ["magnitude", "importance", "rotation"])
def test_the_order_of_heads_in_a_group_changes_no_student(method: str) -> None:
    spec = TEACHERS["llama-lm-untied"]
    smaller = resized(spec, layers=3, hidden=12, heads=3, kv_heads=3, ffn=20)
    teacher, swapped = teacher_of(spec), teacher_of(spec)
    rows = [head * spec.head_dim + row for head in (1, 0, 3, 2, 5, 4) for row in range(spec.head_dim)]
    for layer in swapped.model.layers:
        with torch.no_grad():
            layer.self_attn.q_proj.weight.copy_(layer.self_attn.q_proj.weight[rows].clone())
            layer.self_attn.o_proj.weight.copy_(layer.self_attn.o_proj.weight[:, rows].clone())
    one, other = (begun(model, smaller, method)[0] for model in (teacher, swapped))
    assert torch.allclose(logits(one, smaller), logits(other, smaller), atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "gpt2", "gpt2 unscaled", "gpt2-lm-untied"])
def test_narrower_heads_that_say_all_in_two_rows_lose_nothing(name: str) -> None:
    spec = TEACHERS[name.split(maxsplit=1)[0]]
    teacher = teacher_of(spec)
    if "unscaled" in name:
        teacher.config.scale_attn_weights = False
        for block in teacher.transformer.h:
            block.attn.scale_attn_weights = False
            block.attn.scaling = 1.0
    narrow_stream(teacher, 11)
    roles, weights = roles_of(teacher), read_weights(teacher)
    generator = torch.Generator().manual_seed(2)
    for layer in range(spec.layers):
        for head in range(spec.heads):
            rows = slice(head * 4, head * 4 + 4)
            for part in (roles.queries, roles.values):
                inside = torch.linalg.qr(torch.randn(4, 2, generator=generator))[0]
                for kind in ("weight", "bias"):
                    weight = weights[f"{roles.layers}.{layer}.{part}.{kind}"]
                    weight[rows] = inside @ inside.t() @ weight[rows]
    smaller = resized(spec, hidden=12, head_dim=2)
    student, done = begun(teacher, smaller, "rotation")
    assert done.head_rows == [0, 1]
    assert done.heads == [list(range(6))] * spec.layers
    assert torch.allclose(logits(student, smaller), logits(teacher, spec), atol=5e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TEACHERS)
def test_a_saved_student_is_a_plain_checkpoint(name: str, method: Any, tmp_path: Path) -> None:
    spec = TEACHERS[name]
    if method not in methods_for(spec.architecture):
        with pytest.raises(SpecError, match="norms lie on the residual stream"):
            begun(teacher_of(spec), spec, method)
        return
    sizes = {"heads": 3, "kv_heads": 3}
    if "llama" in name:
        sizes = {"heads": spec.kv_heads}
    smaller = resized(spec, layers=3, hidden=12, ffn=20, **sizes)
    student, done = begun(teacher_of(spec), smaller, method)
    assert done.to_dict()["method"] == method
    student.save_pretrained(tmp_path)
    # Of a model without a head transformers would make a pooler that nobody asks.
    options = {"add_pooling_layer": False} if spec.head == "none" else {}
    again, info = type(student).from_pretrained(tmp_path, output_loading_info=True, use_safetensors=True, **options)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.allclose(logits(again, smaller), logits(student, smaller), atol=1e-6)


def test_inputs_are_needed_where_a_method_looks_at_them() -> None:
    spec = TEACHERS["bert"]
    teacher = teacher_of(spec)
    with pytest.raises(DataError, match="found no inputs"):
        initialise(build(spec, teacher.config, seed=4), teacher, "importance")
    batches, gates = batches_of(spec), torch.ones(spec.layers, spec.heads + 1)
    with pytest.raises(DataError, match=r"found none, expected what every head is worth, \(5, 6\)"):
        initialise(build(spec, teacher.config, seed=4), teacher, "gates", batches=batches)
    with pytest.raises(DataError, match=r"found a table of \(5, 7\)"):
        initialise(build(spec, teacher.config, seed=4), teacher, "gates", batches=batches, gates=gates)
    with pytest.raises(SpecError, match="found the method 'best', expected one of random, uniform"):
        initialise(build(spec, teacher.config, seed=4), teacher, "best")  # type: ignore[arg-type]


@lru_cache
def trained_vit() -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A ViT that reads digits, the digits it was not shown, and their labels."""
    spec = StudentSpec(
        architecture="vit", layers=4, hidden=48, heads=4, ffn=96, labels=10, image_size=8, patch_size=2, channels=1
    )
    model: Any = build(spec, seed=1)
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        for rows in torch.randperm(1400, generator=generator).split(50):
            optimiser.zero_grad()
            functional.cross_entropy(model(pixel_values=pixels[rows]).logits, labels[rows]).backward()
            optimiser.step()
    return model.eval(), pixels, labels


def test_on_a_trained_model_every_better_start_is_better() -> None:
    teacher, pixels, labels = trained_vit()
    spec = StudentSpec(
        architecture="vit", layers=4, hidden=36, heads=3, ffn=72, labels=10, image_size=8, patch_size=2, channels=1
    )
    batches = [{"pixel_values": part} for part in pixels[:256].split(64)]
    losses = {}
    for method in ("random", "uniform", "importance", "rotation"):
        student: Any = build(spec, teacher.config, seed=4)
        initialise(student, teacher, method, batches=batches)
        with torch.no_grad():
            losses[method] = functional.cross_entropy(student(pixel_values=pixels[1400:]).logits, labels[1400:]).item()
    assert losses["rotation"] < losses["importance"] < losses["uniform"] < losses["random"]


def test_gates_leave_out_heads_that_are_loud_and_say_nothing() -> None:
    trained, pixels, labels = trained_vit()
    teacher, batches = copy.deepcopy(trained), [{"pixel_values": part} for part in pixels[:256].split(64)]
    roles, weights = roles_of(teacher), read_weights(teacher)
    spec = spec_of(teacher)
    rows = slice(spec.head_dim, 2 * spec.head_dim)
    for layer in range(spec.layers):
        # Every norm takes off what is the same in all channels: the second head now shouts and is never heard.
        weights[f"{roles.layers}.{layer}.{roles.mixed}.weight"][:, rows] = 0.5
    gates = gate_importance(teacher, batches, list(labels[:256].split(64)))
    smaller = replace(spec, heads=3, kv_heads=3, hidden=36)
    losses, heads = {}, {}
    for method in ("importance", "gates"):
        student: Any = build(smaller, teacher.config, seed=4)
        done = initialise(student, teacher, method, batches=batches, gates=gates)
        heads[method] = done.heads
        with torch.no_grad():
            losses[method] = functional.cross_entropy(student(pixel_values=pixels[1400:]).logits, labels[1400:]).item()
    assert all(1 in kept for kept in heads["importance"])
    assert heads["gates"] == [[0, 2, 3]] * spec.layers
    assert losses["gates"] < losses["importance"]
