"""The peak: as large as the count says, and made of what is alive then."""

import pytest

from edgekd.cost.count import peak_activation_bytes
from edgekd.cost.operators import Operator, operators
from edgekd.sizing.explain.peak import peak_of
from edgekd.student import StudentSpec


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_peak_is_the_counted_one(families: list[StudentSpec], precision: str, batch: int) -> None:
    for spec in families:
        for sequence in [spec.tokens] if spec.tokens else [1, 7, 96]:
            shape = {"batch": batch, "sequence": sequence}
            found = peak_of(operators(spec, **shape), precision)
            assert found.total_bytes == peak_activation_bytes(spec, precision=precision, **shape)
            assert found.total_bytes == sum(found.alive.values())
            assert found.operator in found.alive


def test_the_operator_its_class_and_the_tensors_alive_are_told() -> None:
    trace = [
        Operator("a", "embeddings", "lookup", (), 10),
        Operator("b", "projections", "linear", ("a",), 30, input_elements=10),
        Operator("c", "feed_forward", "linear", ("b",), 5, input_elements=30),
        Operator("d", "head", "norm", ("c", "a"), 5),
    ]
    plain, quantised = peak_of(trace, "fp32"), peak_of(trace, "int8")
    assert (plain.operator, plain.group) == ("c", "feed_forward")
    assert list(plain.alive.items()) == [("b", 120), ("a", 40), ("c", 20)]
    assert quantised.alive == {"b": 120, "a": 40, "c": 20, "b as uint8": 30}


def test_a_tensor_that_is_overwritten_is_not_alive_twice() -> None:
    trace = [
        Operator("a", "feed_forward", "linear", (), 10),
        Operator("b", "feed_forward", "activation", ("a",), 10, overwrites=True),
    ]
    assert peak_of(trace, "fp32").alive == {"a": 40}
