from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgekd.errors import InputError
from edgekd.pooling import KEY, Pooling, PoolingMode, embedded, is_encoder, pooled, pooling_of, set_pooling
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

HIDDEN = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3) + 1
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
SIZES = {"layers": 1, "hidden": 8, "heads": 2, "ffn": 8, "vocabulary": 20, "positions": 12, "token_types": 2}


def tiny(pooling: Pooling | None = None, *, labels: int = 0) -> Any:
    spec = StudentSpec(architecture="bert", head="sequence" if labels else "none", labels=labels, **SIZES)
    config = config_from_spec(spec)
    if pooling is not None:
        set_pooling(config, pooling)
    return build(spec, config, seed=3)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("mean", [HIDDEN[0].mean(0), HIDDEN[1, :2].mean(0)]),
        ("cls", [HIDDEN[0, 0], HIDDEN[1, 0]]),
        ("last", [HIDDEN[0, 3], HIDDEN[1, 1]]),
    ],
)
def test_what_becomes_of_the_hidden_states(mode: PoolingMode, expected: list[torch.Tensor]) -> None:
    plain = pooled(HIDDEN, MASK, Pooling(mode, normalised=False))
    assert torch.allclose(plain, torch.stack(expected))
    unit = pooled(HIDDEN, MASK, Pooling(mode))
    assert torch.allclose(unit, nn.functional.normalize(plain, dim=-1))


@pytest.mark.parametrize("mode", ["mean", "cls", "last"])
def test_padding_does_not_count(mode: PoolingMode) -> None:
    short = pooled(HIDDEN[1:, :2], MASK[1:, :2], Pooling(mode))
    changed = HIDDEN.clone()
    changed[1, 2:] = 1000
    assert torch.equal(pooled(changed, MASK, Pooling(mode))[1:], short)


def test_without_a_mask_all_tokens_are_real_and_without_tokens_there_is_nothing() -> None:
    assert torch.equal(pooled(HIDDEN, None, Pooling()), pooled(HIDDEN, torch.ones(2, 4, dtype=torch.long), Pooling()))
    assert torch.equal(pooled(HIDDEN, torch.zeros(2, 4), Pooling()), torch.zeros(2, 3))


def test_a_model_keeps_its_pooling_and_hands_it_to_its_students() -> None:
    teacher = tiny(Pooling("cls", normalised=False))
    smaller = StudentSpec(architecture="bert", head="none", **(SIZES | {"ffn": 4}))
    student = build(smaller, teacher.config, seed=0)
    for model in (teacher, student):
        assert is_encoder(model)
        assert pooling_of(model.config) == Pooling("cls", normalised=False)
    inputs = {"input_ids": torch.tensor([[2, 5, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(embedded(teacher, inputs), teacher(**inputs).last_hidden_state[:, 0])
        assert torch.equal(embedded(nn.DataParallel(teacher), inputs), embedded(teacher, inputs))


def test_a_model_with_a_head_or_without_a_pooling_is_no_encoder() -> None:
    assert not is_encoder(tiny())
    classifier = tiny(Pooling(), labels=2)
    assert pooling_of(classifier.config) == Pooling()
    assert not is_encoder(classifier)
    with pytest.raises(InputError, match="BertModel that does not say how it pools"):
        embedded(tiny(), {"input_ids": torch.tensor([[2]])})


@pytest.mark.parametrize(
    "told", ["mean", {"mode": "max", "normalised": True}, {"mode": "mean"}, {"mode": "mean", "normalised": 1}]
)
def test_a_pooling_that_is_none_is_refused(told: Any) -> None:
    with pytest.raises(InputError, match=rf"{KEY} is .*expected a mode \(mean, cls, last\)"):
        pooling_of(SimpleNamespace(**{KEY: told}))
