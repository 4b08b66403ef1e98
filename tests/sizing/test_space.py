from __future__ import annotations

from dataclasses import replace

import pytest
from every import enumerated, specs_of

from edgekd.cost.count import parameters
from edgekd.errors import SpecError
from edgekd.space import Space
from edgekd.student import StudentSpec


def test_every_combination_stands_once_in_a_fixed_order(teacher: StudentSpec) -> None:
    found = enumerated(Space(layers=[4, 2, 2], hidden=[128, 64], ffn=[256]), teacher)
    assert [student.name for student in specs_of(found)] == [
        "L2-H64-A2-F256",
        "L2-H128-A4-F256",
        "L4-H64-A2-F256",
        "L4-H128-A4-F256",
    ]
    assert specs_of(found) == specs_of(enumerated(Space(layers=[2, 4], hidden=[64, 128], ffn=[256]), teacher))


def test_what_is_left_out_is_kept_from_the_teacher(teacher: StudentSpec) -> None:
    found = enumerated(Space(layers=[3]), teacher)
    assert specs_of(found) == [replace(teacher, layers=3)]


def test_heads_keep_the_head_dim_of_the_teacher(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[64, 100, 320]), teacher)
    assert [(student.hidden, student.heads, student.head_dim) for student in specs_of(found)] == [
        (64, 2, 32),
        (320, 10, 32),
    ]
    assert found.refused == {"hidden gives no whole number of heads at the teacher's head_dim 32": 1}


def test_named_heads_that_change_the_head_dim_are_refused(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[128], heads=[2, 4]), teacher)
    assert [student.heads for student in specs_of(found)] == [4]
    assert found.refused == {"heads x the teacher's head_dim 32 is not hidden": 1}


def test_ratio_of_ffn_is_rounded_to_eight(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[128], ffn_ratio=[2.67, 4.0]), teacher)
    assert [student.ffn for student in specs_of(found)] == [344, 512]


def test_ratios_that_round_to_the_same_ffn_count_once(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[128], ffn_ratio=[2.0, 2.01]), teacher)
    assert len(found) == 1
    assert found.refused == {"repeats another combination": 1}
    assert found.considered == 2


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (Space(layers=[3, 7]), "layers above the teacher's 6"),
        (Space(hidden=[64, 512]), "hidden above the teacher's 384"),
        (Space(hidden=[64], heads=[2, 16]), "heads above the teacher's 12"),
        (Space(ffn=[64, 2048]), "ffn above the teacher's 1536"),
    ],
)
def test_nothing_exceeds_the_teacher(teacher: StudentSpec, space: Space, reason: str) -> None:
    found = enumerated(space, teacher)
    assert found.refused == {reason: 1}
    assert len(found) == 1


def test_llama_keeps_its_query_heads_per_key_head(llama: StudentSpec) -> None:
    found = enumerated(Space(hidden=[64, 128, 256]), llama)
    assert [(student.heads, student.kv_heads) for student in specs_of(found)] == [(2, 1), (4, 2)]
    assert found.refused == {"heads are no multiple of the teacher's 2 query heads per key head": 1}


def test_llama_takes_fewer_heads_than_hidden_would_give(llama: StudentSpec) -> None:
    found = enumerated(Space(hidden=[256], heads=[2, 6]), llama)
    assert [(student.heads, student.kv_heads, student.head_dim) for student in specs_of(found)] == [(2, 1, 64)]
    assert found.refused == {"hidden is no multiple of heads": 1}


def test_llama_with_wide_heads_keeps_their_ratio_to_hidden(llama: StudentSpec) -> None:
    wide = replace(llama, head_dim=128)
    found = enumerated(Space(hidden=[256]), wide)
    assert [(student.heads, student.head_dim) for student in specs_of(found)] == [(4, 128)]


def test_shares_bound_the_parameters(teacher: StudentSpec) -> None:
    found = enumerated(Space(layers=[1, 3, 6], max_share=0.9, min_share=0.4), teacher)
    assert [student.layers for student in specs_of(found)] == [3]
    assert found.refused == {
        "less than min_share 40.0 % of the teacher's parameters": 1,
        "more than max_share 90.0 % of the teacher's parameters": 1,
    }
    share = parameters(specs_of(found)[0]) / parameters(teacher)
    assert 0.4 <= share <= 0.9


def test_tiny_students_are_refused_until_min_share_is_lowered(teacher: StudentSpec) -> None:
    large = replace(teacher, layers=12, hidden=768, heads=24, kv_heads=24, ffn=3072, vocabulary=1000)
    space = {"layers": [1, 12], "hidden": [64, 768], "ffn": [64]}
    refused = enumerated(Space.model_validate(space), large)
    allowed = enumerated(Space.model_validate({**space, "min_share": 0.0001}), large)
    assert sum("min_share" in reason for reason in refused.refused) == 1
    assert len(allowed) > len(refused)
    assert "less than 5 %" in allowed.warnings[0]


def test_space_with_the_teacher_itself_says_so(teacher: StudentSpec) -> None:
    assert any(teacher.name in warning for warning in enumerated(Space(layers=[5, 6]), teacher).warnings)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space(hidden=[50, 70]), r"all 2 combinations.*2 x hidden gives no whole.*multiples of 32"),
        (Space(layers=[9]), r"layers above the teacher's 6.*stay within the teacher \(L6"),
        (Space(layers=[6], max_share=0.5), r"max_share.*raise space.max_share \(now 0.5\)"),
        (Space(layers=[1], min_share=0.9), r"min_share.*lower space.min_share \(now 0.9\)"),
    ],
)
def test_empty_space_says_why_and_what_to_change(teacher: StudentSpec, space: Space, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        enumerated(space, teacher)


def test_vit_students_keep_the_image(vit: StudentSpec) -> None:
    found = enumerated(Space(layers=[2], hidden=[96]), vit)
    assert [(s.heads, s.image_size, s.patch_size, s.labels) for s in specs_of(found)] == [(3, 32, 4, 10)]


def test_the_advice_fits_the_reason(teacher: StudentSpec, llama: StudentSpec) -> None:
    cases = [
        (Space(kv_heads=[1]), teacher, "leave kv_heads and kv_group out"),
        (Space(head_dim=[7]), teacher, "choose head_dim among 1, 2, 4, 8, 16, 32"),
        (Space(kv_heads=[llama.kv_heads * 2]), llama, f"choose kv_heads that divide heads, at most {llama.kv_heads}"),
    ]
    for space, reference, advice in cases:
        with pytest.raises(SpecError, match=f"To get students: {advice}"):
            enumerated(space, reference)
