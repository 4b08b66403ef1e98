from typing import Any

import datasets
import numpy as np
import pytest
import torch
from lm_lessons import by_hand, rows, teacher, tokenizer
from tiny_language import tiny_gpt2, tiny_llama

from edgekd.distill import language
from edgekd.distill.language import batch_logits, perplexity, token_answers, token_counts, token_divergence
from edgekd.errors import DataError, Diverged


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_losses_answers_and_confidences_are_those_of_each_token(make: Any) -> None:
    model, dataset = make(len(tokenizer())), rows(50, 3)
    known, truth = by_hand(model, dataset)
    found = token_answers(model, dataset, 4)
    np.testing.assert_array_equal(found.truth, truth)
    np.testing.assert_allclose(found.losses, -known[torch.arange(len(truth)), truth], atol=2e-5)
    np.testing.assert_allclose(found.confidences, known.max(dim=-1).values.exp(), atol=2e-5)
    assert (found.answers == known.argmax(dim=-1).numpy()).mean() > 0.99


def test_perplexity_counts_every_token_once_however_they_are_batched() -> None:
    model, dataset = teacher(), rows(50, 3)
    known, truth = by_hand(model, dataset)
    exact = float(torch.exp(-known[torch.arange(len(truth)), truth].mean()))
    found = [perplexity(token_answers(model, dataset, size).losses) for size in (1, 5, 64)]
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    # The mean of batch means is another number: the last block is a short one.
    parts = [token_answers(model, dataset.select([row]), 1).losses.mean() for row in range(len(dataset))]
    assert abs(np.exp(np.mean(parts)) - exact) > 1e-4 * exact


def test_a_trained_model_is_less_perplexed_than_an_untrained_one() -> None:
    dataset = rows(50, 3)
    trained, untrained = (perplexity(token_answers(m, dataset, 8).losses) for m in (teacher(), tiny_llama(320)))
    assert trained < untrained / 5


def test_the_divergence_is_that_of_the_whole_distributions() -> None:
    dataset, student, its = rows(50, 2), tiny_llama(len(tokenizer()), seed=3, layers=1), teacher()
    ours, known = by_hand(student, dataset)[0], by_hand(its, dataset)[0]
    whole = float((known.exp() * (known - ours)).sum(dim=-1).mean())
    assert token_divergence(student, its, dataset, 3) == pytest.approx(whole, rel=1e-5)
    assert token_divergence(its, its, dataset, 3) == pytest.approx(0, abs=1e-7)
    assert token_divergence(its, student, dataset, 3) != pytest.approx(whole, rel=1e-2)


def test_no_more_logits_than_allowed_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, model = rows(50, 2), teacher()
    whole = token_answers(model, dataset, 64)
    monkeypatch.setattr(language, "MOST_LOGITS", 2 * 32 * model.config.vocab_size)
    sizes = [len(labels) for labels, _ in batch_logits((model,), dataset, 64)]
    assert max(sizes) == 2
    assert sum(sizes) == len(dataset)
    np.testing.assert_allclose(token_answers(model, dataset, 64).losses, whole.losses, atol=1e-5)


def test_models_stay_in_their_mode_and_get_no_gradient() -> None:
    model = tiny_llama(len(tokenizer())).train()
    token_answers(model, rows(50, 1), 8)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_tokens_are_counted_as_often_as_they_are_asked_for() -> None:
    dataset = rows(50, 2)
    _, truth = by_hand(teacher(), dataset)
    np.testing.assert_array_equal(token_counts(dataset, 400), np.bincount(truth, minlength=400))


def test_nothing_to_predict_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        token_answers(teacher(), rows(50, 1).select([]), 8)
    silent = datasets.Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[-100, -100]], "row": [0]})
    with pytest.raises(DataError, match="asks for no token"):
        token_answers(teacher(), silent, 8)
    broken = teacher()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="NaN"):
        token_answers(broken, rows(50, 1), 8)
