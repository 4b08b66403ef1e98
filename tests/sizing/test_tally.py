from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgekd.cost.count import Counts, count, count_each, parameters
from edgekd.sizing.tally import CountTally, ParameterTally
from edgekd.student import StudentSpec


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
@pytest.mark.parametrize("precisions", [("fp32",), ("int8", "fp32")])
def test_tally_equals_counting_each_student(
    family: str, precisions: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    base: StudentSpec = request.getfixturevalue(family)
    sequence = base.tokens or 32
    tally = CountTally(batch=2, sequence=sequence, precisions=precisions)
    sums = ParameterTally()
    for layers in (5, 1, 2, 3, 6):
        for ffn in (64, 512):
            spec = replace(base, layers=layers, ffn=ffn)
            expected = {name: count(spec, batch=2, sequence=sequence, precision=name) for name in precisions}
            assert tally.counts(spec) == expected
            assert sums.parameters(spec) == parameters(spec)


def test_students_that_differ_in_layers_alone_share_three_counts_of_all_precisions(
    teacher: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def watched(spec: StudentSpec, precisions: Sequence[str], *, batch: int, sequence: int) -> dict[str, Counts]:
        calls.append(spec)
        return count_each(spec, precisions, batch=batch, sequence=sequence)

    monkeypatch.setattr("edgekd.sizing.tally.count_each", watched)
    tally = CountTally(batch=1, sequence=32, precisions=("fp32", "int8"))
    for layers in range(1, 13):
        tally.counts(replace(teacher, layers=layers))
    assert len(calls) == 3
