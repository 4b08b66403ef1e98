from __future__ import annotations

from dataclasses import replace

import pytest

from edgekd.cost.count import Counts, count, parameters
from edgekd.sizing.tally import CountTally, ParameterTally
from edgekd.student import StudentSpec


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_tally_equals_counting_each_student(family: str, precision: str, request: pytest.FixtureRequest) -> None:
    base: StudentSpec = request.getfixturevalue(family)
    sequence = base.tokens or 32
    tally = CountTally(batch=2, sequence=sequence, precision=precision)
    sums = ParameterTally()
    for layers in (5, 1, 2, 3, 6):
        for ffn in (64, 512):
            spec = replace(base, layers=layers, ffn=ffn)
            assert tally.counts(spec) == count(spec, batch=2, sequence=sequence, precision=precision)
            assert sums.parameters(spec) == parameters(spec)


def test_students_that_differ_in_layers_alone_share_three_counts(
    teacher: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def watched(spec: StudentSpec, *, batch: int, sequence: int, precision: str) -> Counts:
        calls.append(spec)
        return count(spec, batch=batch, sequence=sequence, precision=precision)

    monkeypatch.setattr("edgekd.sizing.tally.count", watched)
    tally = CountTally(batch=1, sequence=32, precision="fp32")
    for layers in range(1, 13):
        tally.counts(replace(teacher, layers=layers))
    assert len(calls) == 3
