"""Who causes what: the terms of a fit, shared out over the classes of operators that they are sums over.

Every feature that a fit may use is a sum over the parts of a pass: its classes of operators, its layers, its peak, and
the inference itself. So a prediction, which is a sum of priced features, is a sum over the same parts, and nothing is
left over. What is too much for a cache is so for the whole pass; each class causes as much of that as it fetches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd.cost.calibrate import ONE, Fit
from edgekd.cost.count import activation_sum, mac_sums, peak_sum, weight_sum
from edgekd.cost.energy import ENERGY_TERMS
from edgekd.cost.tails import TAILS, tails
from edgekd.cost.terms import AGED, CACHES, SWEPT, TERMS, latency_terms, traffic
from edgekd.cost.trace import Operator
from edgekd.errors import RecordError
from edgekd.student import StudentSpec
from edgekd.text import listing

EVERY_LAYER = "every layer"
EVERY_INFERENCE = "every inference"
PEAK = "peak activations"

COMPUTE, BANDWIDTH, OVERHEAD = "compute", "bandwidth", "overhead"
_OVERHEADS = ("starts", "products", "layers", ONE)
_TRAFFIC = ("weights", "weight_bytes", "activation_bytes", "peak_activation_bytes")
FEATURES = (*TERMS, TAILS, ONE, "layers", "macs", "weight_bytes", "activation_bytes", "peak_activation_bytes")

Parts = Mapping[str, Mapping[str, float]]


def kind_of(term: str) -> str:
    """What a term of a latency spends its time on: 'compute', 'bandwidth' or 'overhead'. Errors: RecordError."""
    if term in _OVERHEADS:
        return OVERHEAD
    if term in _TRAFFIC or term.startswith(("elements.", "weights.", "traffic.")):
        return BANDWIDTH
    if term == "macs" or term.startswith("macs."):
        return COMPUTE
    raise _unknown([term])


def check_terms(fit: Fit) -> None:
    """Accept a fit whose every term has a part that causes it. Errors: RecordError naming the others."""
    foreign = [term for term in fit.prices if term not in FEATURES]
    if foreign:
        raise _unknown(foreign)


def check_energy_terms(fit: Fit | None) -> None:
    """Accept the fit of an energy, where there is one. Errors: RecordError naming terms that no energy has."""
    foreign = [term for term in ([] if fit is None else fit.prices) if term not in ENERGY_TERMS]
    if foreign:
        raise _unknown(foreign)


def _unknown(terms: Sequence[str]) -> RecordError:
    return RecordError(
        f"found the term {listing(terms)} in a fit, expected some of {listing(FEATURES, 30)}. "
        "Another version of edgekd made it; size again: edgekd size"
    )


def classes_of(trace: Sequence[Operator]) -> dict[str, list[Operator]]:
    """The operators of each class that `trace` has."""
    found = {name: [op for op in trace if op.group == name] for name in mac_sums(trace)}
    return {name: ops for name, ops in found.items() if ops}


def parts_of(spec: StudentSpec, trace: Sequence[Operator], precision: str) -> dict[str, dict[str, float]]:
    """The features of a pass by the part that causes them: its classes, its layers, its peak, the inference."""
    parts = {name: _class_features(ops, precision) for name, ops in classes_of(trace).items()}
    whole = latency_terms(trace)
    for part in parts.values():
        for names, fetched in ((CACHES, lambda terms: terms["weights"]), ((*SWEPT, *AGED), traffic)):
            share = fetched(part) / fetched(whole) if fetched(whole) else 0.0
            part |= {name: whole[name] * share for name in names}
    parts[EVERY_LAYER] = {"layers": float(spec.layers)}
    parts[PEAK] = {"peak_activation_bytes": float(peak_sum(trace, precision))}
    parts[EVERY_INFERENCE] = {ONE: 1.0}
    return parts


def _class_features(ops: Sequence[Operator], precision: str) -> dict[str, float]:
    return {
        **{name: float(value) for name, value in latency_terms(ops).items()},
        TAILS: float(tails(ops)),
        "macs": float(sum(mac_sums(ops).values())),
        "weight_bytes": float(weight_sum(ops, precision)),
        "activation_bytes": float(activation_sum(ops, precision)),
    }


def features_of(parts: Parts) -> dict[str, float]:
    """The features of the whole pass: the sums over its parts."""
    return {term: sum(part.get(term, 0.0) for part in parts.values()) for term in FEATURES}


def attributed(fit: Fit, parts: Parts) -> dict[str, dict[str, float]]:
    """What each part takes by the prices of `fit`, by term; all of them together are the fit's prediction.

    Parts that no term of the fit touches are left out. Errors: RecordError for a term that no part causes.
    """
    check_terms(fit)
    found = {
        name: {term: price * features[term] for term, price in fit.prices.items() if features.get(term)}
        for name, features in parts.items()
    }
    return {name: amounts for name, amounts in found.items() if amounts}
