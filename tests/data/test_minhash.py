from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.data import minhash
from edgekd.data.minhash import BANDS, band_keys, candidates, chance_found, jaccard, shingles

unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def found_pairs(left: list[str], right: list[str]) -> set[tuple[int, int]]:
    bands = candidates(band_keys(left), band_keys(right))
    return {pair for rows, others, _ in bands for pair in zip(rows.tolist(), others.tolist(), strict=True)}


def altered(text: str, edits: int, rng: random.Random) -> str:
    letters = list(text)
    for place in rng.sample(range(len(letters)), edits):
        letters[place] = rng.choice("0123456789")
    return "".join(letters)


def random_text(rng: random.Random, length: int) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(length))


def test_shingles_are_runs_of_five_characters() -> None:
    assert shingles("abcdefg") == {"abcde", "bcdef", "cdefg"}
    assert shingles("aaaaaaaa") == {"aaaaa"}
    assert shingles("abc") == {"abc"}


def test_jaccard_is_the_common_share() -> None:
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 0.5
    assert jaccard({"a"}, {"a"}) == 1.0
    assert jaccard({"a"}, {"b"}) == 0.0


def test_chance_grows_from_seldom_to_nearly_always() -> None:
    assert chance_found(1.0) == 1.0
    assert chance_found(0.0) == 0.0
    # By hand: 0.8^5 = 0.32768; 1 - 0.67232^20.
    assert chance_found(0.8) == pytest.approx(0.999643, abs=1e-6)
    assert chance_found(0.3) < 0.05


def test_pairs_of_known_similarity_are_found_as_often_as_said() -> None:
    rng = random.Random(7)
    for edits, length in ((2, 90), (6, 120), (12, 110)):
        left = [random_text(rng, length) for _ in range(400)]
        right = [altered(text, edits, rng) for text in left]
        pairs = found_pairs(left, right)
        expected = [chance_found(jaccard(shingles(a), shingles(b))) for a, b in zip(left, right, strict=True)]
        deviation = sum(chance * (1 - chance) for chance in expected) ** 0.5
        got = sum((row, row) in pairs for row in range(400))
        assert abs(got - sum(expected)) <= 4 * deviation + 1, (edits, got, sum(expected))


def test_texts_that_share_nothing_are_no_candidates() -> None:
    rng = random.Random(3)
    left, right = ([random_text(rng, 80) for _ in range(500)] for _ in range(2))
    assert len(found_pairs(left, right)) < 10


@unhurried
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=20))
def test_equal_texts_have_equal_keys_in_every_band(texts: list[str]) -> None:
    keys = band_keys(texts)
    alone = np.concatenate([band_keys([text]) for text in texts])
    assert keys.shape == (len(texts), BANDS)
    assert np.array_equal(keys, alone)
    assert {(row, row) for row in range(len(texts))} <= found_pairs(texts, texts)


@unhurried
@given(st.text(min_size=1, max_size=4), st.text(min_size=1, max_size=4))
def test_short_texts_agree_only_when_equal(one: str, other: str) -> None:
    same = bool((band_keys([one]) == band_keys([other])).any())
    assert same == (one.rstrip("\0") == other.rstrip("\0"))


def test_the_order_of_the_two_texts_of_a_pair_counts() -> None:
    there, back = band_keys(["question"], ["an answer"]), band_keys(["an answer"], ["question"])
    assert not (there == back).any()
    assert np.array_equal(band_keys(["question"], [""]), band_keys(["question"]))
    one, other = ("an answer of some length to it", "quite something else that nobody had said")
    assert not (band_keys(["why"], [one]) == band_keys(["why"], [other])).any()


def test_texts_are_hashed_alike_whatever_stands_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", "a", "a longer text than the piece", "abcde", "\U0001f600" * 9]
    whole = band_keys(texts)
    monkeypatch.setattr(minhash, "CHARACTERS_AT_ONCE", 8)
    assert np.array_equal(band_keys(texts), whole)


def test_no_texts_at_all_are_no_candidates() -> None:
    assert band_keys([]).shape == (0, BANDS)
    assert found_pairs([], ["a"]) == set()
    assert found_pairs(["a"], []) == set()


def test_too_many_pairs_are_cut_and_every_text_keeps_some(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = band_keys(["the same text"] * 10), band_keys(["the same text"] * 30)
    assert all(whole for _, _, whole in candidates(left, right))
    monkeypatch.setattr(minhash, "MOST_PAIRS", 50)
    for rows, others, whole in candidates(left, right):
        assert not whole
        assert np.bincount(rows).tolist() == [5] * 10
        assert others.tolist() == [0, 1, 2, 3, 4] * 10
