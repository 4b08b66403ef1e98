"""The ends of rows outside whole strides: how many there are, and how few there may be between two sizes."""

import random
from dataclasses import replace

import pytest

from edgekd.cost.operators import operators
from edgekd.cost.tails import STRIDE, TAILS, has_tails, least_tails, left_over, tails
from edgekd.cost.trace import Operator
from edgekd.student import PRECISIONS, StudentSpec

BERT = StudentSpec(
    architecture="bert", layers=3, hidden=320, heads=5, ffn=640, vocabulary=50, positions=40, token_types=2, labels=2
)
LLAMA = StudentSpec(
    architecture="llama", layers=4, hidden=96, heads=6, kv_heads=3, ffn=200, vocabulary=50, positions=40
)


def passed(spec: StudentSpec) -> list[Operator]:
    return operators(spec, batch=1, sequence=7)


def test_only_four_bits_have_tails() -> None:
    assert [precision for precision in PRECISIONS if has_tails(precision)] == ["int4"]
    assert TAILS.startswith("macs.")  # the explanation counts them as arithmetic


@pytest.mark.parametrize(
    ("inputs", "expected"), [(1, 32), (32, 32), (33, 96), (64, 96), (96, 192), (97, 0), (128, 0), (320, 96), (480, 192)]
)
def test_one_to_three_blocks_are_left_over(inputs: int, expected: int) -> None:
    assert left_over(inputs) == expected


def test_tails_are_those_of_each_layer() -> None:
    # Two blocks are left over of 320 inputs, and none of 640.
    rows, outputs = 7, 4 * 320 + 640
    head = 320 + 2
    assert tails(passed(BERT)) == 96 * (3 * rows * outputs + head)
    assert tails(passed(replace(BERT, hidden=384, heads=6, kv_heads=6, ffn=1536))) == 0


@pytest.mark.parametrize("spec", [BERT, LLAMA])
def test_no_student_between_two_has_fewer_tails_than_the_least(spec: StudentSpec) -> None:
    draw = random.Random(spec.architecture)
    certain = 0
    for _ in range(60):
        low = {"layers": draw.randint(2, 4), "key_heads": draw.randint(1, 4), "ffn": draw.randint(1, 900)}
        high = {name: value + draw.choice([0, 0, 1, 30]) for name, value in low.items()}
        first, last = (_sized(spec, **ends) for ends in (low, high))
        least = least_tails(passed(first), passed(last))
        certain += least > 0
        for _ in range(12):
            inside = {name: draw.randint(low[name], high[name]) for name in low}
            assert least <= tails(passed(_sized(spec, **inside)))
    assert certain > 10


def _sized(spec: StudentSpec, layers: int, key_heads: int, ffn: int) -> StudentSpec:
    heads = key_heads * spec.heads // spec.kv_heads
    return replace(spec, layers=layers, heads=heads, kv_heads=key_heads, hidden=heads * spec.head_dim, ffn=ffn)


def test_between_equal_students_the_least_is_what_there_is_and_a_further_stride_may_leave_none() -> None:
    assert least_tails(passed(BERT), passed(BERT)) == tails(passed(BERT)) > 0
    wider = replace(BERT, hidden=384, heads=6, kv_heads=6)
    assert tails(passed(wider)) == least_tails(passed(BERT), passed(wider)) == 0
    # Of 700 inputs two blocks are left over, of 640 none: the matrix that ffn goes into has no sure tails.
    longer = replace(BERT, ffn=700)
    assert 700 // 32 // STRIDE == 640 // 32 // STRIDE
    assert least_tails(passed(BERT), passed(longer)) == tails(passed(BERT))


def test_passes_of_other_numbers_of_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        least_tails(passed(BERT), passed(LLAMA))
