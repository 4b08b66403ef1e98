"""The counts of many students at once are those of each of them alone."""

import random
from dataclasses import replace

import numpy as np
import pytest

from edgekd.cost.columns import CHUNK, SpecColumns, count_columns, least_tail_columns
from edgekd.cost.count import count
from edgekd.cost.operators import operators
from edgekd.cost.tails import TAILS, least_tails, tails
from edgekd.cost.terms import latency_terms
from edgekd.errors import SpecError
from edgekd.student import PRECISIONS, StudentSpec

TEACHERS = {
    "bert": StudentSpec(
        architecture="bert", layers=6, hidden=48, heads=6, ffn=96, vocabulary=50, positions=40, token_types=2, labels=3
    ),
    "roberta": StudentSpec(
        architecture="roberta", layers=6, hidden=48, heads=6, ffn=96, vocabulary=50, positions=40, token_types=1, labels=3
    ),
    "vit": StudentSpec(
        architecture="vit", layers=6, hidden=48, heads=6, ffn=96, labels=3, image_size=8, patch_size=2, channels=3
    ),
    "gpt2": StudentSpec(architecture="gpt2", layers=6, hidden=48, heads=6, ffn=96, vocabulary=50, positions=40),
    "llama": StudentSpec(
        architecture="llama", layers=6, hidden=48, heads=6, kv_heads=2, ffn=96, vocabulary=50, positions=40, tied=False
    ),
    "llama classifier": StudentSpec(
        architecture="llama", layers=6, hidden=48, heads=6, kv_heads=2, ffn=96, vocabulary=50, positions=40, labels=2
    ),
}  # fmt: skip


def students_of(teacher: StudentSpec, number: int, seed: int) -> list[StudentSpec]:
    draw = random.Random(seed)
    found = []
    for _ in range(number):
        heads = draw.randint(1, 6)
        group = draw.choice([n for n in (1, 2, 3) if heads % n == 0]) if teacher.architecture == "llama" else 1
        found.append(
            replace(
                teacher,
                layers=draw.randint(1, 6),
                hidden=8 * heads,
                heads=heads,
                head_dim=8,
                kv_heads=heads // group,
                ffn=draw.randint(1, 96),
            )
        )
    return found


PASTS = [
    (name, past) for name, teacher in TEACHERS.items() for past in ((0, 9) if teacher.family == "decoder" else (0,))
]


@pytest.mark.parametrize(("name", "past"), PASTS)
def test_columns_hold_what_is_counted_one_by_one(name: str, past: int) -> None:
    teacher = TEACHERS[name]
    specs = students_of(teacher, 60, seed=len(name))
    shape = {"batch": 2, "sequence": 0 if teacher.tokens else 7}
    found = count_columns(SpecColumns.of(specs, teacher), PRECISIONS, **shape, past=past)
    for row, spec in enumerate(specs):
        trace = operators(spec, **shape, past=past)
        terms = latency_terms(trace) | {TAILS: tails(trace)}
        assert {key: float(values[row]) for key, values in found.terms.items()} == terms
        for precision in PRECISIONS:
            alone = count(spec, **shape, past=past, precision=precision)
            together = (
                found.parameters[row], found.macs[row], found.weight_bytes[precision][row],
                found.activation_bytes[precision][row], found.peak_activation_bytes[precision][row],
            )  # fmt: skip
            assert together == (
                alone.parameters, alone.macs, alone.weight_bytes, alone.activation_bytes, alone.peak_activation_bytes,
            )  # fmt: skip


def test_tails_are_counted_where_a_precision_has_them() -> None:
    teacher = TEACHERS["bert"]
    columns = SpecColumns.of(students_of(teacher, 5, seed=2), teacher)
    for precision in PRECISIONS:
        found = count_columns(columns, (precision,), batch=1, sequence=5)
        assert (TAILS in found.terms) == (precision == "int4")


@pytest.mark.parametrize("name", TEACHERS)
def test_least_tails_of_columns_are_those_of_each_pair(name: str) -> None:
    teacher = TEACHERS[name]
    shape = {"batch": 2, "sequence": 0 if teacher.tokens else 7}
    pairs = [(spec, replace(spec, layers=6, ffn=spec.ffn + 9)) for spec in students_of(teacher, 30, seed=4)]
    first, last = (SpecColumns.of(specs, teacher) for specs in zip(*pairs, strict=True))
    found = least_tail_columns(first, last, **shape)
    for row, (low, high) in enumerate(pairs):
        # The operators of a single layer are fewer; at its least depth the larger one has as many.
        traces = [operators(replace(spec, layers=low.layers), **shape) for spec in (low, high)]
        assert found[row] == least_tails(*traces)
    assert (found > 0).any()


def test_more_students_than_fit_in_one_chunk_are_counted_alike() -> None:
    teacher = TEACHERS["bert"]
    few = SpecColumns.of(students_of(teacher, 7, seed=3), teacher)
    index = np.arange(CHUNK + 3) % 7
    alone = count_columns(few, ("fp32",), batch=1, sequence=5)
    many = count_columns(few.rows(index), ("fp32",), batch=1, sequence=5)
    assert np.array_equal(many.parameters, alone.parameters[index])
    assert np.array_equal(many.terms["macs.attention"], alone.terms["macs.attention"][index])


def test_a_row_is_the_student_that_it_was_made_from() -> None:
    teacher = TEACHERS["llama"]
    specs = students_of(teacher, 20, seed=1)
    columns = SpecColumns.of(specs, teacher)
    assert [columns.spec(row) for row in range(len(columns))] == specs
    assert columns.rows([3, 4]).spec(1) == specs[4]


def test_a_past_is_refused_where_there_is_no_cache_or_no_position_left() -> None:
    with pytest.raises(SpecError, match="only a decoder keeps a cache"):
        operators(TEACHERS["bert"], batch=1, sequence=4, past=3)
    with pytest.raises(SpecError, match="with 39 in its cache, expected 1 to 1"):
        operators(TEACHERS["gpt2"], batch=1, sequence=2, past=39)
    with pytest.raises(SpecError, match="fp64"):
        count_columns(SpecColumns.of([TEACHERS["bert"]], TEACHERS["bert"]), ("fp64",), batch=1, sequence=4)
