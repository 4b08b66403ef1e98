"""What a latency is made of: sums over the operators of one forward pass, each of which has a price on a board.

A runtime spends time on starting operators, on multiplying, on writing what an operator makes and on fetching weights.
None of these depends on the family of a network, so one list of terms serves all of them; which terms a family has at
all follows from its operators. The prices are fitted to measurements (calibrate.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekd.cost.trace import Operator

# Every term that a latency may have, from the one that every network has to the ones that only large inputs notice.
# `macs.*` are multiply-accumulates by group; `starts` counts operators, `products` separate small matrix products;
# `elements.*` are numbers written: by the residual stream and its norms, by activation functions, by attention scores,
# by lookups, by a growing cache, and by convolutions; `weights` are numbers of matrices and of the kernels of
# convolutions that a pass reads once, and `weights.beyond_*` those beyond what a cache of that many numbers keeps from
# one pass to the next. `traffic.swept_*` are all numbers that a pass fetches, where they are too many for such a cache;
# `traffic.aged_*` where a pass takes so long that a cache which others fill as well has dropped them.
TERMS = (
    "starts",
    "macs.projections",
    "macs.feed_forward",
    "weights",
    "weights.beyond_512k",
    "elements.stream",
    "elements.inner",
    "products",
    "macs.attention",
    "elements.scores",
    "weights.beyond_2m",
    "macs.head",
    "macs.embeddings",
    "elements.lookup",
    "elements.cache",
    "macs.convolution",
    "macs.depthwise",
    "elements.convolution",
    "macs.token_mixing",
    "traffic.swept_4m",
    "traffic.swept_8m",
    "traffic.swept_16m",
    "traffic.aged_256m",
    "traffic.aged_512m",
    "traffic.aged_1g",
)
MACS = tuple(name for name in TERMS if name.startswith("macs."))

# Caches of which a core of its own or a cluster has one, in numbers: 2 and 8 MiB in fp32, 0.5 and 2 MiB in int8. Our
# choice: on a board with another one the prices of the two neighbours tell.
CACHES = {"weights.beyond_512k": 2**19, "weights.beyond_2m": 2**21}

# Last caches before the memory, which cores or whole machines share: 16, 32 and 64 MiB in fp32. Every pass fetches the
# same numbers in the same order, and a cache that drops what was used longest ago then keeps nothing of slightly too
# many: what is fetched comes from memory, all of it. Which cache a board has, the prices tell. Measured on a core of a
# shared server: single steps of 56 Llama students took 0.17 ns more for each number where there were over 10 million.
SWEPT = {"traffic.swept_4m": 2**22, "traffic.swept_8m": 2**23, "traffic.swept_16m": 2**24}
# By this share of its size more, and nothing is kept: our choice, a half of it predicted worse.
SWEPT_WITHIN = 0.25
# A last cache that other cores or machines use as well keeps a number for some milliseconds only, so we suppose; how
# long a pass takes its MACs tell: these are 4, 9 and 18 ms where 60 million are done in one. From once to twice as
# many, all that is fetched comes to be fetched from memory. These thresholds and this width are our choice, from some
# that did about equally well on eight campaigns on two shared cores; benchmarks/results/predictor_live shows what
# campaigns after them gave.
AGED = {"traffic.aged_256m": 2**28, "traffic.aged_512m": 2**29, "traffic.aged_1g": 2**30}
AGED_WITHIN = 1.0
LEAST_AGED = 3  # our choice
# A step reads the past keys and values, writes the joined ones, and hands out a copy of them.
CACHE_TIMES = 3

_ELEMENTS = {
    "norm": "elements.stream",
    "elementwise": "elements.stream",
    "activation": "elements.inner",
    "product": "elements.scores",
    "lookup": "elements.lookup",
    "patches": "elements.lookup",
    "cache": "elements.cache",
    "convolution": "elements.convolution",
    "depthwise": "elements.convolution",
}


def latency_terms(trace: Iterable[Operator]) -> dict[str, Any]:
    """The terms of one forward pass, by name; all of TERMS are there, 0 where a network has none of it.

    Numbers, or arrays of them where the operators stand for many students at once.
    """
    terms: dict[str, Any] = dict.fromkeys(TERMS, 0)
    for op in trace:
        terms["starts"] = terms["starts"] + op.times
        terms[f"macs.{op.group}"] = terms[f"macs.{op.group}"] + op.times * op.macs
        if op.kind in _ELEMENTS:
            # The context is as wide as the stream; the scores are the other product.
            name = "elements.stream" if op.name.endswith("context") else _ELEMENTS[op.kind]
            terms[name] = terms[name] + op.times * op.elements
        if op.kind == "product":
            terms["products"] = terms["products"] + op.times * op.calls
        terms["weights"] = terms["weights"] + op.times * (op.matrix + op.kernel)
    return terms | {name: of_cache(name, terms) for name in OF_CACHES}


OF_CACHES = (*CACHES, *SWEPT, *AGED)


def of_cache(name: str, terms: Mapping[str, Any]) -> Any:
    """The term `name` of OF_CACHES, which follows from the whole pass and not from each operator by itself.

    Shapes: `terms` hold numbers or arrays of them, and so is the result. Errors: KeyError for another name.
    """
    if name in CACHES:
        weights, most = terms["weights"], CACHES[name]
        return (weights - most) * (weights > most)
    fetched = traffic(terms)
    if name in SWEPT:
        return fetched * _risen(fetched, SWEPT[name], SWEPT_WITHIN)
    return fetched * _risen(sum(terms[each] for each in MACS), AGED[name], AGED_WITHIN)


def _risen(value: Any, most: int, within: float) -> Any:
    """0 up to `most`, 1 from that share of it `within` more on, and straight between."""
    over, width = (value - most) * (value > most), within * most
    return over * (over < width) / width + (over >= width)


def traffic(terms: Mapping[str, Any]) -> Any:
    """The numbers that a pass fetches or writes of weights and of keys and values that it keeps; others stay near."""
    return terms["weights"] + CACHE_TIMES * terms["elements.cache"]


def priceable(names: Iterable[str], samples: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Those of `names` that the features of `samples` can tell the prices of: AGED ones where LEAST_AGED have them.

    One or two samples cannot tell them from other terms of large students, and whoever has more of them than those
    would be left with an interval without end.
    """
    known = list(samples)
    return tuple(
        name for name in names if name not in AGED or sum(sample.get(name, 0) > 0 for sample in known) >= LEAST_AGED
    )


# The sums that tell most of a latency by themselves, from the most important one; `one` is the constant term of a fit.
# What a term departs from its sum must be earned by measurements (calibrate.fit).
BACKBONE = (
    dict.fromkeys(MACS, 1.0),
    {"starts": 1.0},
    {"one": 1.0},
)

# Where a runtime keeps channels in blocks as wide as a vector register, convolutions cost as if their channels were a
# whole number of blocks: 16 of fp32 with AVX-512. Measurements tell whether it does; then these terms replace the raw.
BLOCK = 16
BLOCKED = {
    "macs.convolution": "blocks.convolution",
    "macs.depthwise": "blocks.depthwise",
    "elements.convolution": "blocks.elements",
}
BLOCKED_TERMS = tuple(BLOCKED.get(name, name) for name in TERMS)
BLOCKED_BACKBONE = (
    {BLOCKED.get(name, name): 1.0 for name in MACS},
    {"starts": 1.0},
    {"one": 1.0},
    {"blocks.elements": 1.0},
)


def blocked_terms(trace: Iterable[Operator]) -> dict[str, int]:
    """The terms that stand for those of convolutions where channels are kept in blocks, by name; 0 without any."""
    terms = dict.fromkeys(BLOCKED.values(), 0)
    for op in trace:
        if op.lanes:
            whole = -(-op.lanes // BLOCK) * BLOCK
            terms[f"blocks.{op.group}"] += op.times * op.macs * whole // op.lanes
            terms["blocks.elements"] += op.times * op.elements * whole // op.lanes
    return terms
