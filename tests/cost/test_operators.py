from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekd.cost.operators import most_tokens, operators
from edgekd.errors import SpecError
from edgekd.student import StudentSpec

BERT = StudentSpec(
    architecture="bert", layers=3, hidden=16, heads=4, ffn=64, vocabulary=50, positions=40, token_types=2, labels=3
)
LLAMA = StudentSpec(
    architecture="llama",
    layers=4,
    hidden=16,
    heads=4,
    kv_heads=2,
    ffn=24,
    vocabulary=50,
    positions=40,
    tied=True,
)
GPT2 = StudentSpec(architecture="gpt2", layers=2, hidden=16, heads=2, ffn=24, vocabulary=50, positions=40)
VIT = StudentSpec(
    architecture="vit", layers=2, hidden=16, heads=2, ffn=24, labels=3, image_size=8, patch_size=4, channels=1
)


def test_every_tensor_of_the_trace_is_made_before_it_is_read_and_overwritten_by_its_like() -> None:
    for spec in (BERT, LLAMA, GPT2, VIT):
        made: dict[str, int] = {}
        for op in operators(spec, batch=2, sequence=spec.tokens or 7):
            assert set(op.reads) <= made.keys()
            assert op.name not in made
            if op.overwrites:
                assert made[op.reads[0]] == op.elements
            made[op.name] = op.elements


def test_the_second_layer_stands_for_all_further_ones() -> None:
    for spec in (BERT, LLAMA, GPT2, VIT):
        shape = {"batch": 1, "sequence": spec.tokens or 7}
        deep = operators(replace(spec, layers=6), **shape)
        twice = operators(replace(spec, layers=2), **shape)
        assert [op.name for op in deep] == [op.name for op in twice]
        assert {op.times for op in deep if op.name.startswith("layer1.")} == {5}
        assert {op.times for op in deep if not op.name.startswith("layer1.")} == {1}


def test_a_vit_brings_its_own_sequence() -> None:
    assert operators(VIT, batch=1, sequence=0) == operators(VIT, batch=1, sequence=VIT.tokens)
    with pytest.raises(SpecError, match=f"expected {VIT.tokens} or 0"):
        operators(VIT, batch=1, sequence=VIT.tokens + 1)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, {"batch": 0, "sequence": 4}, "the batch is 0"),
        ({}, {"batch": 1, "sequence": 41}, "expected 1 to 40"),
        ({}, {"batch": 1, "sequence": 0}, "expected 1 to 40"),
        ({"architecture": "roberta"}, {"batch": 1, "sequence": 39}, "expected 1 to 38"),
        ({"labels": 0, "head": ""}, {"batch": 1, "sequence": 4}, "no labels"),
        ({"token_types": 0}, {"batch": 1, "sequence": 4}, "token types"),
        ({"architecture": "llama", "heads": 3, "kv_heads": 3}, {"batch": 1, "sequence": 4}, "multiple of heads"),
    ],
)
def test_inputs_and_specs_that_no_model_takes_are_refused(
    changes: dict[str, Any], shape: dict[str, int], message: str
) -> None:
    spec = StudentSpec(**(BERT.to_dict() | changes))
    with pytest.raises(SpecError, match=message):
        operators(spec, **shape)


def test_roberta_never_uses_its_first_two_positions() -> None:
    assert most_tokens(BERT) == most_tokens(LLAMA) == 40
    roberta = replace(BERT, architecture="roberta")
    assert most_tokens(roberta) == 38
    assert operators(roberta, batch=1, sequence=38)
    with pytest.raises(SpecError, match="expected 1 to 38"):
        operators(roberta, batch=1, sequence=39)
