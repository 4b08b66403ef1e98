"""The terms of a latency: which there are, and that each operator is in the ones it belongs to."""

from dataclasses import replace

import pytest

from edgekd.cost.count import macs
from edgekd.cost.operators import operators
from edgekd.cost.terms import (
    AGED,
    AGED_WITHIN,
    BLOCK,
    BLOCKED,
    CACHES,
    LEAST_AGED,
    SWEPT,
    SWEPT_WITHIN,
    TERMS,
    blocked_terms,
    latency_terms,
    priceable,
    traffic,
)
from edgekd.networks.convolutional import mobilenet_v2
from edgekd.student import StudentSpec

BERT = StudentSpec(
    architecture="bert", layers=3, hidden=16, heads=4, ffn=64, vocabulary=50, positions=40, token_types=2, labels=3
)
VIT = StudentSpec(
    architecture="vit", layers=2, hidden=16, heads=2, ffn=24, labels=3, image_size=8, patch_size=4, channels=1
)
LLAMA = StudentSpec(
    architecture="llama", layers=4, hidden=16, heads=4, kv_heads=2, ffn=24, vocabulary=50, positions=40, tied=True
)

# A step of it after a few tokens fetches a little less than 2**22 numbers, after 500 a little more.
HARDLY = StudentSpec(
    architecture="llama", layers=4, hidden=256, heads=4, kv_heads=1, ffn=512, vocabulary=7168, positions=1024, tied=True
)


def test_every_mac_is_in_one_term_and_every_family_has_the_terms_of_its_operators() -> None:
    for spec in (BERT, VIT, LLAMA):
        shape = {"batch": 1, "sequence": spec.tokens or 7}
        terms = latency_terms(operators(spec, **shape))
        assert tuple(terms) == TERMS
        assert sum(value for name, value in terms.items() if name.startswith("macs.")) == macs(spec, **shape).total
        assert (terms["macs.embeddings"] > 0) == (spec.family == "vit")
        assert terms["products"] == 2 * spec.layers * spec.heads


def test_a_growing_cache_is_a_term_of_its_own() -> None:
    prefill = latency_terms(operators(LLAMA, batch=1, sequence=8))
    decode = latency_terms(operators(LLAMA, batch=1, sequence=1, past=7))
    assert prefill["elements.cache"] == 0
    assert decode["elements.cache"] == LLAMA.layers * 2 * LLAMA.kv_heads * LLAMA.head_dim * 8
    assert decode["macs.attention"] == prefill["macs.attention"] / 8
    assert decode["weights"] == prefill["weights"]


def test_a_wider_feed_forward_block_moves_its_own_terms_alone() -> None:
    narrow, wide = (latency_terms(operators(spec, batch=1, sequence=7)) for spec in (BERT, replace(BERT, ffn=128)))
    moved = {name for name in TERMS if narrow[name] != wide[name]}
    assert moved == {"macs.feed_forward", "weights", "elements.inner"}


def test_a_longer_input_costs_everything_but_starts_weights_and_calls() -> None:
    short, long = (latency_terms(operators(BERT, batch=1, sequence=length)) for length in (7, 14))
    still = {name for name in TERMS if short[name] == long[name] and short[name]}
    assert still == {"starts", "weights", "products", "macs.head"}
    assert long["elements.scores"] == 4 * short["elements.scores"]


def test_weights_beyond_a_cache_are_those_that_it_does_not_hold() -> None:
    wide = replace(BERT, layers=6, hidden=512, heads=128, kv_heads=128, ffn=2048)
    small, large = (latency_terms(operators(spec, batch=1, sequence=7)) for spec in (BERT, wide))
    assert large["weights"] > max(CACHES.values()) > min(CACHES.values()) > small["weights"]
    for name, most in CACHES.items():
        assert (small[name], large[name]) == (0, large["weights"] - most)


def test_a_pass_that_is_too_large_for_a_cache_fetches_all_of_it_from_memory() -> None:
    wide = replace(LLAMA, layers=8, hidden=512, heads=8, head_dim=64, kv_heads=8, ffn=512, vocabulary=32000)

    def step(past: int) -> tuple[int, dict[str, float]]:
        terms = latency_terms(operators(wide, batch=1, sequence=1, past=past))
        # Read, written joined to the new token's, and copied once more.
        fetched = terms["weights"] + 3 * 8 * 2 * 512 * (past + 1)
        return fetched, {name: terms[name] for name in SWEPT}

    fetched, swept = step(10)
    assert SWEPT["traffic.swept_16m"] * (1 + SWEPT_WITHIN) < fetched
    assert set(swept.values()) == {fetched}
    for hidden, name in ((128, "traffic.swept_8m"), (256, "traffic.swept_16m")):
        narrow = replace(wide, hidden=hidden, heads=hidden // 64, kv_heads=hidden // 64, ffn=hidden)
        assert latency_terms(operators(narrow, batch=1, sequence=1, past=1))[name] == 0


def test_the_memory_is_noticed_by_and_by_where_a_pass_hardly_exceeds_a_cache() -> None:
    most = SWEPT["traffic.swept_4m"]
    last = 0.0
    for past in range(0, 500, 50):
        terms = latency_terms(operators(HARDLY, batch=1, sequence=1, past=past + 1))
        fetched = terms["weights"] + 3 * terms["elements.cache"]
        over = (fetched - most) / (SWEPT_WITHIN * most)
        assert terms["traffic.swept_4m"] == pytest.approx(fetched * min(max(over, 0.0), 1.0))
        assert terms["traffic.swept_4m"] >= last
        last = terms["traffic.swept_4m"]
    assert 0 < last < fetched


def test_a_pass_that_takes_long_finds_nothing_of_its_weights_in_a_cache_that_others_fill() -> None:
    for tokens in range(8, 512, 24):
        trace = operators(
            replace(BERT, layers=6, hidden=512, heads=128, kv_heads=128, positions=512, ffn=2048),
            batch=1,
            sequence=tokens,
        )
        terms, work = latency_terms(trace), sum(op.times * op.macs for op in trace)
        for name, most in AGED.items():
            share = min(max((work - most) / (AGED_WITHIN * most), 0.0), 1.0)
            assert terms[name] == pytest.approx(share * traffic(terms))
    assert work > 2 * max(AGED.values())
    assert traffic(terms) == terms["weights"] > 0


def test_prices_for_long_passes_need_samples_that_take_long() -> None:
    short, long = dict.fromkeys(TERMS, 0.0), dict.fromkeys(TERMS, 1.0)
    samples = [short, *[long] * (LEAST_AGED - 1), long | {"traffic.aged_1g": 0.0}]
    assert set(TERMS) - set(priceable(TERMS, samples)) == {"traffic.aged_1g"}
    assert set(TERMS) - set(priceable(TERMS, samples[:-1])) == set(AGED)
    assert priceable(("one", "starts"), []) == ("one", "starts")


def test_channels_in_blocks_cost_as_much_as_whole_blocks() -> None:
    # Stem and head of whole blocks, every other width half a block: 8 channels, or an odd number of halves.
    halves = mobilenet_v2(0.25, image_size=32, labels=3)
    trace = operators(halves, batch=1, sequence=1)
    raw, blocked = latency_terms(trace), blocked_terms(trace)
    convolutions = [op for op in trace if op.kind in ("convolution", "depthwise")]
    assert all(op.lanes for op in convolutions)
    padded = sum(op.elements // op.lanes * -(-op.lanes // BLOCK) * BLOCK for op in convolutions)
    assert blocked["blocks.elements"] == padded > raw["elements.convolution"]
    whole = replace(halves, stem=32, widths=(16,) * 7, head=1280)
    trace = operators(whole, batch=1, sequence=1)
    raw, blocked = latency_terms(trace), blocked_terms(trace)
    assert {name: raw[name] for name in ("macs.convolution", "macs.depthwise")} == {
        name: blocked[BLOCKED[name]] for name in ("macs.convolution", "macs.depthwise")
    }
    assert not any(blocked_terms(operators(BERT, batch=1, sequence=7)).values())
