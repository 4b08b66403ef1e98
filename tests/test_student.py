"""A student spec is either possible or refused with a reason."""

from typing import Any

import pytest

from edgekd.errors import SpecError
from edgekd.student import Candidate, StudentSpec

BERT: dict[str, Any] = {"architecture": "bert", "layers": 3, "hidden": 64, "heads": 4, "ffn": 128, "vocabulary": 100, "positions": 32, "labels": 2}  # fmt: skip
LLAMA: dict[str, Any] = {**BERT, "architecture": "llama", "labels": 0}
VIT: dict[str, Any] = {"architecture": "vit", "layers": 2, "hidden": 32, "heads": 2, "ffn": 64, "image_size": 8, "patch_size": 2, "channels": 1, "labels": 10}  # fmt: skip

T5: dict[str, Any] = {**BERT, "architecture": "t5", "labels": 0}


def test_a_decoder_has_as_many_layers_as_its_encoder_unless_told_otherwise() -> None:
    assert StudentSpec(**T5).name == "L3.3-H64-A4-F128"
    few = StudentSpec(**{**T5, "decoder_layers": 1, "head_dim": 8, "gated": True})
    assert (few.name, few.family, few.tokens) == ("L3.1-H64-A4-D8-F128", "encoder-decoder", 0)
    assert StudentSpec.from_dict(few.to_dict()) == few


def test_derived_values_follow_from_the_given_ones() -> None:
    spec = StudentSpec(**BERT)
    assert (spec.head_dim, spec.kv_heads, spec.family, spec.name) == (16, 4, "encoder", "L3-H64-A4-F128")
    assert StudentSpec(**VIT).tokens == 17
    assert StudentSpec(**{**LLAMA, "kv_heads": 2, "head_dim": 32}).name == "L3-H64-A4-G2-D32-F128"


def test_a_spec_round_trips_through_plain_values() -> None:
    for table in (BERT, LLAMA, VIT):
        spec = StudentSpec(**table)
        assert StudentSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (BERT, {"architecture": "resnet"}, "expected one of"),
        (BERT, {"layers": 0}, "layers is 0"),
        (BERT, {"hidden": 65}, "cannot be shared by 4 heads"),
        (BERT, {"head_dim": 32}, "needs heads x head_dim"),
        (BERT, {"kv_heads": 2}, "as many key as query heads"),
        (LLAMA, {"kv_heads": 3}, "share 3 key heads evenly"),
        (LLAMA, {"head_dim": 7}, "even head_dim"),
        (BERT, {"vocabulary": 0}, "needs a vocabulary"),
        (VIT, {"patch_size": 3}, "cannot be cut into patches"),
        (VIT, {"labels": 0}, "needs channels and labels"),
        (BERT, {"decoder_layers": 2}, "has 2 decoder_layers, expected none"),
        (T5, {"decoder_layers": -1}, "has -1 decoder_layers"),
        (T5, {"kv_heads": 2}, "as many key as query heads"),
        (BERT, {"head": "words"}, "found the head 'words', expected one of sequence, tokens, language, none"),
        (BERT, {"head": "none"}, "the head none goes with no labels"),
        (BERT, {"head": "tokens", "labels": 0}, "the head tokens goes with some labels"),
        (BERT, {"gated": True}, "only a t5 is told"),
    ],
)
def test_impossible_dimensions_are_refused(base: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StudentSpec(**{**base, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"colour": 1}, "unknown key 'colour'"), ({"layers": "3"}, "layers is '3'"), ({"layers": True}, "layers is True")],
)
def test_a_wrong_table_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StudentSpec.from_dict({**BERT, **change})


def test_a_table_without_dimensions_is_refused() -> None:
    with pytest.raises(SpecError, match="needs architecture"):
        StudentSpec.from_dict({"architecture": "bert"})


def test_a_candidate_is_a_student_in_a_known_precision() -> None:
    assert Candidate(StudentSpec(**BERT), "int8").name == "L3-H64-A4-F128-int8"
    with pytest.raises(SpecError, match="fp64"):
        Candidate(StudentSpec(**BERT), "fp64")


def test_a_candidate_at_one_of_several_lengths_is_named_by_it() -> None:
    spec = StudentSpec(architecture="gpt2", layers=2, hidden=8, heads=2, ffn=16, vocabulary=9, positions=9)
    assert Candidate(spec, "int8").name == f"{spec.name}-int8"
    assert Candidate(spec, "int8", 4).name == f"{spec.name}-S4-int8"
    assert Candidate(spec, sequence=4).student == f"{spec.name}-S4"
