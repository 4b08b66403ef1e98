from __future__ import annotations

import pytest

from edgekd.measures import Entity, entities, entity_f1, f1, f1_macro, f1_micro, split_tag


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    assert f1(3, 4, 6) == pytest.approx(2 * (3 / 4) * (3 / 6) / (3 / 4 + 3 / 6))
    assert f1(0, 4, 6) == 0
    assert f1(6, 6, 6) == 1


def test_nothing_said_of_nothing_is_right() -> None:
    assert f1(0, 0, 0) == 1
    assert f1_micro([0, 0], [0, 0]) == 1


def test_micro_f1_counts_all_pairs_as_one() -> None:
    # Right: 2 pairs. Said: 3. True: 4.
    assert f1_micro([1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 1]) == pytest.approx(2 * 2 / 7)


def test_macro_f1_is_the_mean_over_labels_and_not_over_pairs() -> None:
    # Label 0 is right twice of two; label 1 is said once, wrongly, and true once.
    predictions, labels = [1, 1, 1, 0], [1, 0, 1, 1]
    assert f1_macro(predictions, labels, 2) == pytest.approx((1 + 0) / 2)
    assert f1_micro(predictions, labels) == pytest.approx(2 * 2 / (3 + 3))


def test_measures_of_different_lengths_are_no_measures() -> None:
    with pytest.raises(ValueError, match=r"longer|shorter"):
        f1_micro([1], [1, 0])


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        # Two entities of one kind side by side: B separates them, in IOB1 only there.
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-PER B-PER I-PER", [("PER", 0, 2), ("PER", 2, 4)]),
        # An inside tag of another type, or after O, begins an entity.
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("O I-LOC I-LOC", [("LOC", 1, 3)]),
        # BIOES.
        ("S-PER B-LOC I-LOC E-LOC S-LOC", [("PER", 0, 1), ("LOC", 1, 4), ("LOC", 4, 5)]),
        ("B-LOC E-LOC I-LOC", [("LOC", 0, 2), ("LOC", 2, 3)]),
        ("S-LOC I-LOC", [("LOC", 0, 1), ("LOC", 1, 2)]),
        # BILOU.
        ("U-PER U-PER B-LOC L-LOC I-LOC", [("PER", 0, 1), ("PER", 1, 2), ("LOC", 2, 4), ("LOC", 4, 5)]),
        # Types with hyphens, and tags that are types alone.
        ("B-work-of-art I-work-of-art", [("work-of-art", 0, 2)]),
        ("NOUN NOUN VERB", [("NOUN", 0, 2), ("VERB", 2, 3)]),
        ("", []),
    ],
)
def test_entities_of_every_scheme(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == [Entity(*entity) for entity in found]


def test_a_tag_is_a_prefix_and_a_type() -> None:
    assert split_tag("B-PER") == ("B", "PER")
    assert split_tag("O") == ("O", "")
    assert split_tag("PER") == ("I", "PER")


def test_an_entity_is_right_only_as_a_whole() -> None:
    truth = [["B-MISC", "I-MISC", "O", "B-PER"], ["B-LOC", "O"]]
    said = [["B-MISC", "O", "O", "B-PER"], ["B-LOC", "I-LOC"]]
    # Right: PER alone. Said: MISC, PER, LOC. True: MISC, PER, LOC.
    assert entity_f1(said, truth) == pytest.approx(1 / 3)
    assert entity_f1(truth, truth) == 1


def test_entities_do_not_run_over_the_end_of_a_sentence() -> None:
    assert entity_f1([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]]) == 1
