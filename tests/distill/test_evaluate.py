import math

import numpy as np
import pytest
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit

from edgekd.distill.evaluate import accuracy, check_teacher, cross_entropy, predict_logits, scaled_cross_entropy
from edgekd.errors import DataError, Diverged, InputError, TeacherError


def test_logits_come_in_the_order_of_the_rows_whatever_their_length() -> None:
    model, rows = tiny_bert().eval(), digit_sequences(0, 30)
    batched = predict_logits(model, rows, 7, PAD)
    alone = np.concatenate([predict_logits(model, rows.select([number]), 1, PAD) for number in range(30)])
    assert len({len(ids) for ids in rows["input_ids"]}) > 3
    np.testing.assert_allclose(batched, alone, atol=1e-5)


def test_logits_are_those_of_the_model_itself() -> None:
    model, rows = tiny_vit().eval(), digit_images(0, 9)
    with torch.no_grad():
        direct = model(pixel_values=torch.tensor(np.asarray(rows["pixel_values"]), dtype=torch.float32)).logits
    np.testing.assert_allclose(predict_logits(model, rows, 4), direct.numpy(), atol=1e-5)


def test_dropout_is_off_while_predicting_and_the_mode_is_kept() -> None:
    model = tiny_vit(dropout=0.5).train()
    rows = digit_images(0, 8)
    np.testing.assert_array_equal(predict_logits(model, rows, 8), predict_logits(model, rows, 8))
    assert model.training


def test_infinite_logits_are_an_error() -> None:
    model = tiny_vit()
    torch.nn.init.constant_(model.classifier.bias, float("inf"))
    with pytest.raises(Diverged, match="NaN or infinite"):
        predict_logits(model, digit_images(0, 4), 4)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        predict_logits(tiny_vit(), digit_images(0, 0), 4)


def test_accuracy_and_cross_entropy_equal_values_computed_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32))
    labels = np.array([0, 1])
    assert accuracy(logits, labels) == 0.5
    assert cross_entropy(logits, labels) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2, rel=1e-6)


def test_cross_entropy_of_huge_logits_is_finite() -> None:
    assert cross_entropy(np.array([[3e38, -3e38]], dtype=np.float32), np.array([0])) == 0


def test_answers_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 answers for 3 labels"):
        accuracy(np.zeros((2, 2)), np.zeros(3, dtype=int))


def test_a_teacher_that_always_says_the_majority_class_is_refused() -> None:
    labels = np.array([0] * 70 + [1] * 30)
    with pytest.raises(TeacherError, match=r"always answering class 0 gives 0\.700"):
        check_teacher(labels, np.zeros(100, dtype=int), np.array([700, 300]))


def test_a_teacher_must_be_better_by_three_standard_errors() -> None:
    labels = np.array([0] * 50 + [1] * 50)
    # 3 standard errors of 0.5 on 100 examples are 0.15.
    enough, short = labels.copy(), labels.copy()
    enough[:34] = 1
    short[:35] = 1
    check_teacher(labels, enough, np.array([50, 50]))
    with pytest.raises(TeacherError, match=r"accuracy 0\.650"):
        check_teacher(labels, short, np.array([50, 50]))


def test_a_teacher_on_a_single_class_is_refused() -> None:
    with pytest.raises(TeacherError):
        check_teacher(np.zeros(10, dtype=int), np.zeros(10, dtype=int), np.array([10, 0]))


def test_scaled_cross_entropy_does_not_mind_how_loud_the_logits_are() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 200)
    logits = rng.normal(size=(200, 5)) + 2.0 * np.eye(5)[labels]
    least = min(cross_entropy(factor * logits, labels) for factor in np.linspace(0, 4, 401))
    assert scaled_cross_entropy(logits, labels) == pytest.approx(least, abs=1e-4)
    assert scaled_cross_entropy(7 * logits, labels) == pytest.approx(least, abs=1e-4)
    # Who is wrong throughout had better said nothing.
    assert scaled_cross_entropy(-logits, labels) == pytest.approx(math.log(5), abs=1e-3)
