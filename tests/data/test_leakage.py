from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.data import minhash
from edgekd.data.examples import Examples, Splits
from edgekd.data.leakage import THRESHOLD, Inputs, Leak, leaks, nearness, repeats, twins, without_leaked
from edgekd.data.normalise import normalised
from edgekd.data.sources import load_splits
from edgekd.recipe import Data

unhurried = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
SENTENCE = "the cat sat on the mat and looked at the dog that stood before the door of the house"


def part(*texts: str, pairs: Sequence[str] | None = None) -> Examples:
    return Examples("t", np.zeros(len(texts), dtype=np.int64), list(texts), None if pairs is None else list(pairs))


def found(left: Examples, right: Examples) -> dict[int, tuple[int, float]]:
    """The twins of `left` in `right`: row -> (row, similarity)."""
    alike = twins(Inputs(left), Inputs(right))
    return {int(row): (int(alike.other[row]), float(alike.similarity[row])) for row in alike.rows}


def true_jaccard(one: str, other: str) -> float:
    """Written anew, so that it can disagree with the package."""
    first, second = ({text[at : at + 5] for at in range(max(1, len(text) - 4))} for text in (one, other))
    return len(first & second) / len(first | second)


# Few letters and many copies with small changes: what lies around the threshold.
words = st.lists(
    st.sampled_from(["ab", "abc", "good", "film", "not", "42", "\u00e9t\u00e9", "\u6620\u753b", "x"]), max_size=14
)
lines = st.builds(" ".join, words)
edits = st.tuples(st.integers(0, 80), st.sampled_from(["", "x", "  ", "!", "\u00df", "Q", "\u0301", "film "]))


def changed(text: str, edit: tuple[int, str]) -> str:
    place = edit[0] % (len(text) + 1)
    return text[:place] + edit[1] + text[place + 1 :]


@unhurried
@given(st.lists(lines, min_size=1, max_size=8), st.lists(st.tuples(st.integers(0, 7), edits), max_size=8))
def test_nothing_below_the_threshold_and_no_part_of_a_text_is_reported(
    texts: list[str], copies: list[tuple[int, tuple[int, str]]]
) -> None:
    other = [changed(texts[number % len(texts)], edit) for number, edit in copies] or ["other"]
    for row, (like, similarity) in found(part(*texts), part(*other)).items():
        one, two = normalised(texts[row]), normalised(other[like])
        assert one
        assert similarity == pytest.approx(true_jaccard(one, two))
        assert similarity >= THRESHOLD
        assert one == two or (one not in two and two not in one)


@unhurried
@given(
    st.lists(lines, min_size=1, max_size=10),
    st.lists(st.sampled_from([" ", "!", ",  ", "\n"]), min_size=10, max_size=10),
    st.randoms(use_true_random=False),
)
def test_every_exact_duplicate_is_found(texts: list[str], ends: list[str], rng: random.Random) -> None:
    copies = [f"{end}{text.upper().replace(' ', end)}{end}" for text, end in zip(texts, ends, strict=False)]
    rng.shuffle(copies)
    pairs = found(part(*texts), part(*copies))
    for row, text in enumerate(texts):
        if not normalised(text):
            assert row not in pairs
            continue
        like, similarity = pairs[row]
        assert similarity == 1.0
        assert normalised(copies[like]) == normalised(text)


def test_near_duplicates_are_found_among_thousands() -> None:
    rng = random.Random(1)
    vocabulary = ["".join(rng.choice("abcdefghiklmnoprstu") for _ in range(rng.randint(2, 8))) for _ in range(300)]
    left = [" ".join(rng.choices(vocabulary, k=16)) for _ in range(2000)]
    right = [" ".join(rng.choices(vocabulary, k=16)) for _ in range(4000)]
    planted = {row: 2 * row for row in range(0, 2000, 10)}
    for row, place in planted.items():
        letters = list(left[row])
        letters[len(letters) // 2] = "z"
        right[place] = "".join(letters)
    pairs = found(part(*left), part(*right))
    assert {row: like for row, (like, _) in pairs.items()} == planted


def test_a_letter_is_a_copy_and_another_word_in_a_short_sentence_is_not() -> None:
    assert nearness([SENTENCE], [SENTENCE.replace("looked", "lookad")]) >= THRESHOLD
    assert nearness([SENTENCE], [SENTENCE.replace("dog", "cow")]) >= THRESHOLD
    assert nearness(["the film was really good"], ["the film was really bad"]) < THRESHOLD


def test_a_part_of_a_text_is_no_copy_of_it() -> None:
    phrase = SENTENCE.removesuffix(" of the house")
    assert true_jaccard(SENTENCE, phrase) >= THRESHOLD
    assert found(part(phrase), part(SENTENCE)) == found(part(SENTENCE), part(phrase)) == {}
    assert found(part(f"{phrase}."), part(phrase.upper())) == {0: (0, 1.0)}


def test_of_a_pair_both_texts_count() -> None:
    answers = ["yes it did", "no it did not"]
    whole = part(SENTENCE, SENTENCE, pairs=answers)
    assert found(part(SENTENCE, pairs=["No, it did not"]), whole) == {0: (1, 1.0)}
    assert found(part(SENTENCE, pairs=["where was the cat"]), whole) == {}
    assert found(part("no it did not", pairs=[SENTENCE]), whole) == {}
    typo = SENTENCE.replace("looked", "lookad")
    assert found(part(typo, pairs=["yes it did"]), whole) == {0: (0, true_jaccard(SENTENCE, typo))}
    assert found(part(typo, pairs=["where was it"]), whole) == {}


def test_blank_texts_are_like_nothing() -> None:
    assert found(part("", " ", "\u200b", "a"), part("", "\t", "a")) == {3: (2, 1.0)}
    assert found(part("a", pairs=[""]), part("a", pairs=[""])) == {}
    assert found(part(""), part("")) == {}


def test_punctuation_alone_is_compared_as_it_is() -> None:
    assert found(part(":)", ":("), part(": (", ":(")) == {1: (1, 1.0)}


def test_parts_of_one_row_and_of_none_are_compared() -> None:
    assert found(part("a"), part("A")) == {0: (0, 1.0)}
    assert found(part("a").subset([]), part("a")) == {}
    assert found(part("a"), part("a").subset([])) == {}


def test_very_long_texts_are_compared() -> None:
    rng = random.Random(5)
    long = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(300_000))
    copy = long[:1000] + "#####" + long[1005:]
    apart = long[::-1]
    pairs = found(part(long, "short"), part(apart, copy))
    assert list(pairs) == [0]
    assert pairs[0][0] == 1
    assert pairs[0][1] == pytest.approx(true_jaccard(normalised(long), normalised(copy)))


def test_the_first_of_equal_examples_is_named_for_each_of_them() -> None:
    assert found(part("a", "b", "A!"), part("c", "a", "a.", "b")) == {0: (1, 1.0), 1: (3, 1.0), 2: (1, 1.0)}


def test_what_was_not_all_compared_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (part(*(f"order {n}{word} was sent to you today by mail" for n in range(40))) for word in ("a", "b"))
    assert twins(Inputs(left), Inputs(right)).whole
    monkeypatch.setattr(minhash, "MOST_PAIRS", 5)
    cut = twins(Inputs(left), Inputs(right))
    assert not cut.whole
    assert (cut.similarity[cut.rows] >= THRESHOLD).all()


def images(*levels: int) -> Examples:
    pixels = np.array(levels, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), dtype=np.uint8)
    return Examples("i", np.zeros(len(levels), dtype=np.int64), images=pixels)


def test_images_are_the_same_only_to_the_bit() -> None:
    assert found(images(1, 2, 3), images(3, 9, 1)) == {0: (2, 1.0), 2: (0, 1.0)}


def test_leaks_are_counted_between_the_parts_with_examples() -> None:
    near = SENTENCE.replace("looked", "lookad")
    parts = {"train": part("a", SENTENCE), "validation": part("A.", "new"), "test": part(near, "new", "newer", "b")}
    test, both = leaks(parts)[1:]
    assert [(leak.part, leak.other) for leak in leaks(parts)] == [
        ("validation", "train"), ("test", "train"), ("test", "validation"),
    ]  # fmt: skip
    assert (test.same, test.nearly, test.count, test.share, test.whole) == (0, 1, 1, 0.25, True)
    (shown,) = test.shown
    assert (shown["row"], shown["other_row"], shown["text"], shown["other_text"]) == (1, 2, near, SENTENCE)
    assert shown["similarity"] == pytest.approx(true_jaccard(near, SENTENCE))
    assert (both.same, both.nearly) == (1, 0)
    assert Leak("test", "train", 0, 0, 0, whole=True).share == 0.0


def test_at_most_five_examples_are_shown_from_the_least_alike_to_the_most() -> None:
    texts = [f"{SENTENCE} number {number}" for number in range(20)]
    near = [text.replace("looked", "lookad") for text in texts]
    parts = {"train": part(*texts, "b"), "validation": part("v"), "test": part(*texts[:9], *near[9:])}
    shown = leaks(parts)[1].shown
    alike = [one["similarity"] for one in shown]
    assert len(shown) == 5
    assert alike == sorted(alike)
    assert alike[0] < 1.0 == alike[-1]


def test_without_leaked_nothing_of_the_others_is_left() -> None:
    near = SENTENCE.replace("looked", "lookad")
    train = part("a", SENTENCE, "kept", "A!", SENTENCE.upper())
    others = [part("a"), part(near, "unseen")]
    rest = without_leaked(train, others)
    assert rest.texts == ["kept"]
    assert without_leaked(rest, others) is rest


@unhurried
@given(st.lists(lines, min_size=1, max_size=10), st.lists(st.tuples(st.integers(0, 9), edits), min_size=1, max_size=10))
def test_after_dropping_no_leak_is_found(texts: list[str], copies: list[tuple[int, tuple[int, str]]]) -> None:
    train, test = part(*texts), part(*(changed(texts[number % len(texts)], edit) for number, edit in copies))
    rest = without_leaked(train, [test])
    assert found(test, rest) == {}
    gone = {row for row in range(len(train)) if (train.texts or [])[row] not in (rest.texts or [])}
    assert gone <= set(found(train, test))


def real(path: Path, **settings: str) -> Splits:
    return load_splits(Data.model_validate({"source": str(path), **settings}))


def test_phrases_of_sst2_are_told_from_copies(shared: Callable[[str], Path]) -> None:
    splits = real(shared("sst2_glue"), train="train.tsv", validation="heldout.tsv", test="dev.tsv", text="sentence")
    held, test, _ = leaks(splits.parts)
    assert held.nearly <= 3 < held.same
    assert (test.same, test.nearly) == (2, 0)
    known = set(splits.train.normal)
    assert held.same == sum(texts in known for texts in splits.validation.normal)


def test_rephrased_questions_of_banking77_are_found(shared: Callable[[str], Path]) -> None:
    splits = real(shared("banking77"), label="category")
    test = leaks(splits.parts)[1]
    assert test.whole
    assert test.same >= 10
    assert 40 <= test.nearly <= 120


def test_repeats_within_a_part_are_counted_without_the_first_and_without_blanks() -> None:
    assert repeats(part("a", "b", "A!", "a.", "", " ", "c", "B")) == 3
    assert repeats(part("a", "a", "a", pairs=["x", "y", "X"])) == 1
    images = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    images[1] = 1
    assert repeats(Examples("i", np.zeros(3, dtype=np.int64), images=images)) == 1
    assert repeats(part()) == 0
