from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.data.examples import Examples
from edgekd.data.leakage import Inputs, twins
from edgekd.data.splitting import cut, drawn
from edgekd.errors import DataError

# How long the first draw takes says nothing about these tests, only about the machine.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def examples(counts: list[int], word: str = "text {label} {number}") -> Examples:
    texts = [word.format(label=label, number=number) for label, count in enumerate(counts) for number in range(count)]
    labels = np.repeat(np.arange(len(counts)), counts)
    return Examples("train.csv", labels.astype(np.int64), texts).subset(
        np.random.default_rng(0).permutation(len(texts))
    )


def names(counts: list[int]) -> list[str]:
    return [f"class{label}" for label in range(len(counts))]


@unhurried
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=5), share=st.floats(0.01, 0.95), seed=st.integers(0, 99)
)
def test_cut_is_stratified_and_loses_nothing(counts: list[int], share: float, seed: int) -> None:
    whole = examples(counts)
    rest, taken = cut(whole, share, names(counts), seed=seed, purpose="test")
    assert sorted([*(rest.texts or ()), *(taken.texts or ())]) == sorted(whole.texts or ())
    for label, count in enumerate(counts):
        got = int((taken.labels == label).sum())
        assert 1 <= got <= count - 1
        assert got <= max(1, math.ceil(share * count))
        if share * min(counts) >= 1:
            assert got >= min(math.floor(share * count), count - 1)


def test_cut_of_odd_classes_has_the_share_of_the_whole() -> None:
    assert len(cut(examples([15, 15]), 0.1, ["a", "b"], seed=1, purpose="test")[1]) == 3
    assert len(cut(examples([13] * 77), 0.1, names([13] * 77), seed=1, purpose="test")[1]) == 100


def test_cut_is_the_same_whatever_the_order_of_the_rows() -> None:
    whole = examples([40, 60])
    shuffled = whole.subset(np.random.default_rng(0).permutation(100))
    first = cut(whole, 0.2, ["a", "b"], seed=1, purpose="test")[1]
    second = cut(shuffled, 0.2, ["a", "b"], seed=1, purpose="test")[1]
    assert set(first.texts or ()) == set(second.texts or ())


def test_cut_differs_by_seed_and_purpose() -> None:
    whole = examples([100, 100])
    cuts = [(1, "test"), (2, "test"), (1, "validation")]
    taken = {frozenset(cut(whole, 0.2, ["a", "b"], seed=s, purpose=p)[1].texts or ()) for s, p in cuts}
    assert len(taken) == 3


def test_equal_inputs_stay_on_one_side() -> None:
    labels = np.array([0, 1] * 50, dtype=np.int64)
    whole = Examples("t", labels, [f"{'A ' if row % 4 < 2 else 'a'} {row % 2} {row // 8}" for row in range(100)])
    rest, taken = cut(whole, 0.3, ["x", "y"], seed=3, purpose="test")
    assert len(twins(Inputs(taken), Inputs(rest)).rows) == 0
    assert 20 <= len(taken) <= 30


@unhurried
@given(
    words=st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 1)), min_size=8, max_size=60),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
)
def test_no_input_stands_on_both_sides_whatever_its_labels(
    words: list[tuple[str, int]], share: float, seed: int
) -> None:
    own = [(f"own {label} {number}", label) for label in (0, 1) for number in range(2)]
    texts, labels = zip(*words, *own, strict=True)
    whole = Examples(
        "t", np.array(labels, dtype=np.int64), [text.upper() + "!" * (n % 3) for n, text in enumerate(texts)]
    )
    rest, taken = cut(whole, share, ["x", "y"], seed=seed, purpose="test")
    assert len(rest) + len(taken) == len(whole)
    assert not set(rest.keys) & set(taken.keys)
    assert rest.present == taken.present == {0, 1}


def test_an_input_of_several_classes_is_never_judged_on() -> None:
    labels = np.array([0, 1, 0, 0, 1, 1], dtype=np.int64)
    whole = Examples("t", labels, ["same", "Same.", "a", "b", "c", "d"])
    for seed in range(5):
        _, taken = cut(whole, 0.5, ["x", "y"], seed=seed, purpose="test")
        assert not {"same", "Same."} & set(taken.texts or ())
    with pytest.raises(DataError, match=r"the class 'x' has 0 different examples that no other class has, expected"):
        cut(whole.subset([0, 1, 4, 5]), 0.5, ["x", "y"], seed=0, purpose="test")


def test_class_with_one_different_example_cannot_be_cut() -> None:
    whole = Examples("train.csv", np.array([0, 0, 1, 1, 1], dtype=np.int64), ["a", "b", "c", "C", " c "])
    with pytest.raises(
        DataError, match=r"train\.csv: the class 'y' has 1 different example, expected at least 2 to cut"
    ):
        cut(whole, 0.2, ["x", "y"], seed=1, purpose="validation")
    alone = Examples("texts.txt", np.zeros(2, dtype=np.int64), ["c", "C"])
    with pytest.raises(DataError, match=r"^texts\.txt: holds 1 different example, expected at least 2 to cut"):
        cut(alone, 0.2, ["text"], seed=1, purpose="validation")


def test_share_of_everything_still_leaves_something() -> None:
    rest, taken = cut(examples([5, 5]), 1.4, ["a", "b"], seed=1, purpose="validation")
    assert (len(rest), len(taken)) == (2, 8)


def test_first_cut_leaves_enough_for_the_second() -> None:
    whole = examples([3, 3])
    rest, taken = cut(whole, 0.9, ["a", "b"], seed=1, purpose="test", keep=2)
    assert (len(rest), len(taken)) == (4, 2)
    with pytest.raises(DataError, match="expected at least 4 to cut"):
        cut(whole, 0.9, ["a", "b"], seed=1, purpose="test", keep=3)


@unhurried
@given(counts=st.lists(st.integers(1, 200), min_size=2, max_size=6), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_draw_has_the_exact_size_and_every_class(counts: list[int], share: float, seed: int) -> None:
    whole = examples(counts)
    count = max(len(counts), round(share * len(whole)))
    part = drawn(whole, count, seed, names(counts))
    assert len(part) == count
    got = np.bincount(part.labels, minlength=len(counts))
    assert (got >= 1).all()
    assert (got <= counts).all()


def test_draw_keeps_the_shares_of_the_classes() -> None:
    part = drawn(examples([100, 300, 600]), 100, 1, names([1, 1, 1]))
    assert np.bincount(part.labels).tolist() == [10, 30, 60]


def test_smaller_draw_is_contained_in_a_larger_one() -> None:
    whole = examples([100, 300])
    small, large = (drawn(whole, count, 1, ["a", "b"]) for count in (40, 80))
    assert set(small.texts or ()) < set(large.texts or ())


def test_draw_keeps_the_order_of_the_rows() -> None:
    whole = examples([50, 50])
    part = drawn(whole, 20, 1, ["a", "b"])
    places = [(whole.texts or []).index(text) for text in part.texts or ()]
    assert places == sorted(places)


def test_draw_of_more_than_there_is_is_everything() -> None:
    whole = examples([3, 3])
    assert drawn(whole, 100, 1, ["a", "b"]) is whole


def test_draw_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"max_train_examples is 2, expected at least 3"):
        drawn(examples([5, 5, 5]), 2, 1, names([1, 1, 1]))
