import numpy as np
import pytest
from scipy.stats import spearmanr

from edgekd.errors import InputError
from edgekd.retrieval import Agreement, agreement, nearest, neighbours, pair_similarities, spearman


def vectors(texts: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(texts, width)).astype(np.float32)


def test_the_same_directions_agree_wholly_whatever_their_lengths_and_their_basis() -> None:
    teacher = vectors(40, 6, 0)
    turned, _ = np.linalg.qr(vectors(6, 6, 1))
    lengths = np.random.default_rng(2).uniform(0.1, 9, size=(40, 1))
    found = agreement(teacher @ turned * lengths, teacher)
    assert (found.top_1, found.recall_at_10) == (1.0, 1.0)
    assert found.spearman == pytest.approx(1, abs=1e-6)
    assert nearest(teacher @ turned * lengths, teacher, 0.05).losses.max() < 1e-5


def test_foreign_vectors_agree_as_chance_has_it() -> None:
    found = agreement(vectors(400, 8, 0), vectors(400, 8, 1))
    assert found.top_1 < 0.03
    assert found.recall_at_10 == pytest.approx(10 / 399, abs=0.01)
    assert abs(found.spearman) < 0.05


def test_neighbours_are_those_that_a_loop_finds() -> None:
    rows = vectors(30, 4, 3)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for text, found in enumerate(neighbours(rows, 5)):
        order = sorted((other for other in range(30) if other != text), key=lambda other: -(units[text] @ units[other]))
        assert found.tolist() == order[:5]
    assert nearest(rows, rows, 0.1).student.tolist() == neighbours(rows, 1)[:, 0].tolist()


def test_of_copies_the_first_is_the_nearest() -> None:
    rows = np.repeat(vectors(3, 5, 4), 3, axis=0)
    assert neighbours(rows, 1)[:, 0].tolist() == [1, 0, 0, 4, 3, 3, 7, 6, 6]
    shaken = rows + 1e-7 * vectors(9, 5, 5)
    assert neighbours(shaken, 1).tolist() == neighbours(rows, 1).tolist()


def test_more_texts_than_are_compared_at_once_make_no_difference() -> None:
    student, teacher = vectors(1203, 5, 6), vectors(1203, 7, 7)
    whole = nearest(student, teacher, 0.2)
    units = student / np.linalg.norm(student, axis=1, keepdims=True)
    table = units @ units.T
    np.fill_diagonal(table, -np.inf)
    assert (whole.student == table.argmax(axis=1)).mean() > 0.99  # but for those alike to five decimals
    assert len(whole.losses) == 1203


def test_losses_are_the_divergence_of_the_distributions_over_the_others() -> None:
    student, teacher = vectors(5, 3, 8), vectors(5, 4, 9)
    found = nearest(student, teacher, 0.3)

    def distribution(rows: np.ndarray, text: int) -> np.ndarray:
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        scores = np.exp(np.delete(units @ units[text], text) / 0.3)
        return scores / scores.sum()

    for text in range(5):
        its, ours = distribution(teacher, text), distribution(student, text)
        assert found.losses[text] == pytest.approx((its * np.log(its / ours)).sum(), rel=1e-4)
        assert found.confidences[text] == pytest.approx(ours.max(), rel=1e-4)


def test_the_rank_correlation_is_that_of_scipy_with_ties_too() -> None:
    rng = np.random.default_rng(10)
    one = rng.integers(0, 20, 500).astype(float)
    other = one + rng.normal(0, 8, 500).round()
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert spearman(one, np.ones(500)) == 0.0


def test_pairs_are_those_of_evenly_chosen_texts() -> None:
    rows = vectors(50, 4, 11)
    assert len(pair_similarities(rows)) == 50 * 49 // 2
    assert np.array_equal(pair_similarities(rows, most=10), pair_similarities(rows[::5]))


def test_too_few_texts_or_others_are_refused() -> None:
    with pytest.raises(InputError, match="found 2 of the student and 2 of the teacher"):
        agreement(vectors(2, 3, 0), vectors(2, 3, 0))
    with pytest.raises(InputError, match="found 4 of the student and 5"):
        nearest(vectors(4, 3, 0), vectors(5, 3, 0), 0.1)
    assert agreement(vectors(3, 3, 0), vectors(3, 3, 0)) == Agreement(1.0, 1.0, pytest.approx(1.0))
