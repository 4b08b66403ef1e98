from __future__ import annotations

from typing import Any

import pytest

from edgekd.cost.limits import check_within
from edgekd.errors import SpecError
from edgekd.student import StudentSpec

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


def test_the_teacher_itself_and_smaller_students_are_within_its_limits() -> None:
    check_within(LLAMA, LLAMA)
    check_within(StudentSpec(**(LLAMA.to_dict() | {"layers": 1, "heads": 2, "hidden": 12, "ffn": 7})), LLAMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gpt2", "kv_heads": 4}, "architecture 'gpt2', expected the teacher's 'llama'"),
        ({"vocabulary": 49}, "vocabulary 49, expected the teacher's 50"),
        ({"layers": 5}, "layers 5, expected at most the teacher's 4"),
        ({"hidden": 20}, "hidden 20"),
        ({"heads": 8, "kv_heads": 2, "hidden": 16}, "heads 8"),
        ({"heads": 4, "kv_heads": 4}, "kv_heads 4"),
        ({"ffn": 25}, "ffn 25"),
        ({"head_dim": 6}, "head_dim 6, which does not divide the teacher's 4"),
        ({"kv_heads": 1}, "4 query heads per key head"),
    ],
)
def test_a_student_beyond_a_limit_of_the_teacher_is_told_which(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_within(StudentSpec(**(LLAMA.to_dict() | changes)), LLAMA)


def test_a_tied_head_may_be_given_one_of_its_own_and_not_the_other_way_round() -> None:
    untied = StudentSpec(**(LLAMA.to_dict() | {"tied": False, "layers": 2}))
    check_within(untied, LLAMA)
    with pytest.raises(SpecError, match="has tied True, expected the teacher's False"):
        check_within(StudentSpec(**(LLAMA.to_dict() | {"layers": 2})), untied)


def test_an_encoder_decoder_has_a_limit_for_each_of_its_depths_and_keeps_its_gate() -> None:
    teacher = StudentSpec(
        architecture="t5",
        layers=4,
        decoder_layers=2,
        hidden=16,
        heads=4,
        ffn=24,
        vocabulary=50,
        positions=8,
        gated=True,
    )
    check_within(StudentSpec(**(teacher.to_dict() | {"layers": 1, "decoder_layers": 1})), teacher)
    for changes, message in (
        ({"decoder_layers": 3}, "has decoder_layers 3, expected at most"),
        ({"gated": False}, "has gated False"),
    ):
        with pytest.raises(SpecError, match=message):
            check_within(StudentSpec(**(teacher.to_dict() | changes)), teacher)
