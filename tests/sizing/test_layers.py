from __future__ import annotations

import numpy as np
import pytest
from every import enumerated, specs_of

from edgekd.cost.count import count, parameters
from edgekd.cost.operators import operators
from edgekd.cost.terms import latency_terms
from edgekd.sizing.layers import Layered, shape_parameters
from edgekd.space import Space
from edgekd.student import StudentSpec


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
@pytest.mark.parametrize("layers", [[1, 2, 3, 4, 5, 6], [2, 6], [1, 5]])
def test_shared_counts_equal_counting_each_student(
    family: str, layers: list[int], request: pytest.FixtureRequest
) -> None:
    base: StudentSpec = request.getfixturevalue(family)
    sequence = base.tokens or 32
    found = enumerated(Space(layers=layers, ffn=[64, 512], min_share=0.0), base)
    counts = found.layered.counts(("fp32", "int8"), batch=2, sequence=sequence)
    for row, spec in enumerate(specs_of(found)):
        assert counts.parameters[row] == parameters(spec)
        terms = latency_terms(operators(spec, batch=2, sequence=sequence))
        assert {name: float(column[row]) for name, column in counts.terms.items()} == terms
        for precision in ("fp32", "int8"):
            alone = count(spec, batch=2, sequence=sequence, precision=precision)
            together = [
                counts.macs, counts.weight_bytes[precision], counts.activation_bytes[precision],
                counts.peak_activation_bytes[precision],
            ]  # fmt: skip
            assert [int(column[row]) for column in together] == [
                alone.macs, alone.weight_bytes, alone.activation_bytes, alone.peak_activation_bytes
            ]  # fmt: skip


def test_students_that_differ_in_layers_alone_share_a_shape(teacher: StudentSpec) -> None:
    found = enumerated(Space(layers=[1, 2, 3], hidden=[64, 128]), teacher).layered
    assert len(found.shapes) == 2
    assert len(found.layers) == 6
    some = found.rows(np.array([5, 0]))
    assert some.specs.layers.tolist() == [3, 1]
    assert some.parameters.tolist() == [parameters(some.specs.spec(0)), parameters(some.specs.spec(1))]


def test_no_shapes_have_no_parameters(teacher: StudentSpec) -> None:
    shapes = enumerated(Space(layers=[1]), teacher).specs.rows(slice(0))
    assert len(shape_parameters(shapes).grown(shapes.layers)) == 0
    assert len(Layered(shapes, shapes.layers, shapes.layers).parameters) == 0
