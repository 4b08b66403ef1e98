"""A deep student taken apart: what is kept is what it was, and what is left stands behind it in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_teachers import TEACHERS, batches_of, logits, resized, teacher_of

from edgekd.errors import SpecError
from edgekd.students.build import build
from edgekd.students.deeper import deeper, of_layers, taken_apart
from edgekd.students.initialise import initialise
from edgekd.students.weights import module_at, roles_of

CASES = ["bert", "roberta", "vit", "gpt2", "gpt2-lm-tied", "llama", "llama-lm-untied"]


def begun(name: str, method: Any = "importance") -> tuple[Any, Any, Any, Any]:
    """A narrow student of three layers, its spec, a deep one that was begun by `method`, and how."""
    teacher_spec = TEACHERS[name]
    teacher = teacher_of(teacher_spec)
    heads = {"heads": 2, "kv_heads": 2} if "llama" in name else {"heads": 3, "kv_heads": 3}
    spec = resized(teacher_spec, layers=3, hidden=12, ffn=20, **(heads if name != "llama-lm-untied" else {"heads": 3}))
    deep = build(deeper(spec, teacher_spec), teacher.config, seed=1)
    batches = batches_of(teacher_spec) if method == "importance" else []
    done = initialise(deep, teacher, method, batches=batches)
    return build(spec, teacher.config, seed=2), spec, deep, done


@pytest.mark.parametrize("name", CASES)
def test_put_together_again_it_computes_what_the_deep_student_computes(name: str) -> None:
    student, spec, deep, _ = begun(name)
    whole = logits(deep, spec)
    behind = taken_apart(student, deep, [0, 1, 4])
    assert [len(stretch) for stretch in behind] == [0, 2, 0]
    alone = logits(student, spec)
    assert not torch.allclose(alone, whole, atol=1e-3)
    # The layers stand where they stood: in a deep network of the student's own layers and those behind them.
    stack = module_at(deep, roles_of(deep).layers)
    for index, layer in zip((0, 1, 4), module_at(student, roles_of(student).layers), strict=True):
        stack[index].load_state_dict(layer.state_dict())
    assert torch.allclose(logits(deep, spec), whole, atol=1e-6)
    assert [stretch[0] is stack[2] and stretch[1] is stack[3] for stretch in behind if stretch] == [True]


def test_what_is_said_of_it_is_of_the_layers_that_are_kept() -> None:
    student, _, _, done = begun("bert")
    count = sum(weight.numel() for weight in student.parameters())
    kept = of_layers(done, [0, 1, 4], count)
    assert kept.layer_map == [0, 1, 4]
    assert kept.heads == [done.heads[0], done.heads[1], done.heads[4]]
    assert kept.neurons == [done.neurons[0], done.neurons[1], done.neurons[4]]
    assert (kept.copied_parameters, kept.channels, kept.method) == (count, done.channels, "importance")


def test_students_that_differ_in_more_than_their_layers_and_foreign_layers_are_refused() -> None:
    student, _, deep, _ = begun("vit", "uniform")
    with pytest.raises(SpecError, match="expected two that differ in their layers alone"):
        taken_apart(student, build(TEACHERS["vit"], seed=0), [0, 1, 4])
    with pytest.raises(SpecError, match="expected 3 of 0 to 4 that ascend from 0"):
        taken_apart(student, deep, [1, 2, 4])
