"""Sharing out: nothing is lost, nothing is counted twice, and every term has a cause and a kind."""

import pytest

from edgekd.cost.calibrate import Fit
from edgekd.cost.count import count
from edgekd.cost.operators import operators
from edgekd.cost.tails import TAILS, tails
from edgekd.cost.terms import TERMS, latency_terms
from edgekd.errors import RecordError
from edgekd.sizing.explain.attribution import (
    EVERY_INFERENCE,
    EVERY_LAYER,
    FEATURES,
    PEAK,
    attributed,
    check_terms,
    classes_of,
    features_of,
    kind_of,
    parts_of,
)
from edgekd.student import StudentSpec

PRICES = {name: 1.0 / (3 + index) for index, name in enumerate(FEATURES)}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_features_of_all_parts_are_those_of_the_whole(families: list[StudentSpec], precision: str) -> None:
    for spec in families:
        shape = {"batch": 2, "sequence": spec.tokens or 32}
        trace = operators(spec, **shape)
        features = features_of(parts_of(spec, trace, precision))
        counts = count(spec, precision=precision, **shape)
        assert features["macs"] == counts.macs
        assert features["weight_bytes"] == counts.weight_bytes
        assert features["activation_bytes"] == counts.activation_bytes
        assert features["peak_activation_bytes"] == counts.peak_activation_bytes
        assert {name: features[name] for name in TERMS} == pytest.approx(latency_terms(trace), rel=1e-12)
        assert features[TAILS] == tails(trace)
        assert (features["layers"], features["one"]) == (spec.layers, 1)


@pytest.mark.parametrize("terms", [TERMS, FEATURES, ("one", "macs"), ("one", "layers", "macs", "activation_bytes")])
def test_the_shares_of_the_parts_add_up_to_the_prediction(families: list[StudentSpec], terms: tuple[str, ...]) -> None:
    fit = Fit({name: PRICES[name] for name in terms}, 0.1, 0.9, 9)
    for spec in families:
        parts = parts_of(spec, operators(spec, batch=1, sequence=spec.tokens or 32), "int8")
        shares = attributed(fit, parts)
        total = sum(amount for terms in shares.values() for amount in terms.values())
        assert total == pytest.approx(fit.predict(features_of(parts)).mid, rel=1e-12)


def test_each_operator_is_in_one_class(families: list[StudentSpec]) -> None:
    for spec in families:
        trace = operators(spec, batch=1, sequence=spec.tokens or 32)
        classes = classes_of(trace)
        assert sorted(op.name for ops in classes.values() for op in ops) == sorted(op.name for op in trace)


def test_a_term_is_attributed_to_the_class_that_causes_it(teacher: StudentSpec) -> None:
    parts = parts_of(teacher, operators(teacher, batch=1, sequence=32), "fp32")

    def causes(term: str) -> set[str]:
        return set(attributed(Fit({term: 1.0}, 0.1, 0.9, 9), parts))

    assert causes("elements.scores") == {"attention"}
    assert causes("macs.feed_forward") == {"feed_forward"}
    assert causes("elements.lookup") == {"embeddings"}
    assert causes("weights") == {"projections", "feed_forward", "head"}
    assert causes(TAILS) <= {"projections", "feed_forward", "head"}
    assert causes("one") == {EVERY_INFERENCE}
    assert causes("layers") == {EVERY_LAYER}
    assert causes("peak_activation_bytes") == {PEAK}
    assert causes("elements.cache") == set()


def test_every_feature_has_a_kind() -> None:
    kinds = {name: kind_of(name) for name in FEATURES}
    assert {name for name, kind in kinds.items() if kind == "overhead"} == {"starts", "products", "layers", "one"}
    assert all((kind == "compute") == name.startswith("macs") for name, kind in kinds.items())


def test_a_term_of_another_version_is_named_with_the_command_that_mends_it() -> None:
    fit = Fit({"one": 1.0, "dreams": 2.0}, 0.1, 0.9, 9)
    with pytest.raises(RecordError, match=r"the term dreams in a fit.*edgekd size"):
        check_terms(fit)
    with pytest.raises(RecordError, match="dreams"):
        attributed(fit, {EVERY_INFERENCE: {"one": 1.0}})
    with pytest.raises(RecordError, match="dreams"):
        kind_of("dreams")
