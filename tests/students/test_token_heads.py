"""Every start of a student keeps the head of a teacher that labels tokens."""

from typing import Any

import pytest
import torch

from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.initialise import initialise, methods_for

CASES = [
    (name, method)
    for name in ("bert", "roberta", "gpt2", "llama")
    for method in methods_for(name)
    if method != "random"
]
GATES = torch.tensor([[1.0, 2.0], [2.0, 1.0]])  # of two layers with two heads


def tagger(architecture: str, layers: int, hidden: int, ffn: int, seed: int, teacher: Any = None) -> Any:
    types = 2 if architecture in ("bert", "roberta") else 0
    spec = StudentSpec(
        architecture=architecture, layers=layers, hidden=hidden, heads=2, head_dim=hidden // 2, ffn=ffn, vocabulary=40,
        positions=24, token_types=types, labels=5, head="tokens",
    )  # fmt: skip
    model = build(spec, None if teacher is None else teacher.config, seed=seed)
    if teacher is None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 40, (4, 12), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_a_student_of_the_teachers_size_is_its_copy(architecture: str, method: Any) -> None:
    teacher = tagger(architecture, 2, 16, 32, seed=0)
    student = tagger(architecture, 2, 16, 32, seed=5, teacher=teacher)
    initialise(student, teacher, method, batches=[inputs()], gates=GATES if method == "gates" else None)
    with torch.no_grad():
        own, its = student(**inputs()).logits, teacher(**inputs()).logits
    assert own.shape == (4, 12, 5)
    assert torch.allclose(own, its, atol=1e-3)


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_a_smaller_student_keeps_a_part_of_the_head(architecture: str, method: Any) -> None:
    teacher = tagger(architecture, 2, 16, 32, seed=0)
    student = tagger(architecture, 1, 8, 16, seed=5, teacher=teacher)
    kept = initialise(student, teacher, method, batches=[inputs()], gates=GATES if method == "gates" else None)
    own, its = ((model.score if architecture == "llama" else model.classifier) for model in (student, teacher))
    if kept.channels:
        assert torch.equal(own.weight, its.weight[:, kept.channels])
        assert torch.equal(own.bias, its.bias)
    assert torch.isfinite(student(**inputs()).logits).all()
