"""A scaffold of surplus layers: what the student computes with it, in which order it goes, and that nothing stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainer import arguments
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from transformers import GPT2Config, GPT2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from edgekd.distill.cache import cached_logits
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.scaffold import SCAFFOLD, Dropping, layers_left, put_up, scaffolding
from edgekd.distill.settings import HiddenTerm, TrainingSettings
from edgekd.distill.train import train
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError

KEPT = (0, 3)
SETTINGS = TrainingSettings(
    epochs=4, learning_rate=5e-3, batch_size=16, alpha=0.9, drop_until=0.5, seed=5, final_ce_epoch=True, patience=1
)
SIZES = {"num_labels": 10, "pad_token_id": PAD, "vocab_size": 51}


def tiny_gpt2(layers: int, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2ForSequenceClassification(
        GPT2Config(n_layer=layers, n_embd=16, n_head=2, n_positions=32, **none, **SIZES)
    )


def tiny_llama(layers: int, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    return LlamaForSequenceClassification(LlamaConfig(num_hidden_layers=layers, **sizes, **SIZES))


KINDS = {
    "bert": (lambda layers, seed: tiny_bert(seed, layers=layers), "bert.encoder.layer"),
    "vit": (lambda layers, seed: tiny_vit(seed, layers=layers), "vit.layers"),
    "gpt2": (tiny_gpt2, "transformer.h"),
    "llama": (tiny_llama, "model.layers"),
}


def with_scaffold(kind: str = "vit", seed: int = 2) -> tuple[Any, Any]:
    """A student of the layers 0 and 3 of five, the others behind them; and a copy of the network of five."""
    make, place = KINDS[kind]
    deep, student, whole = make(5, seed), make(2, seed + 1), make(5, seed)
    stack, own = deep.get_submodule(place), student.get_submodule(place)
    for part, its in zip(student.children(), deep.children(), strict=True):
        kept = {name: value for name, value in its.state_dict().items() if name in part.state_dict()}
        part.load_state_dict(kept)
    for layer, index in zip(own, KEPT, strict=True):
        layer.load_state_dict(stack[index].state_dict())
    put_up(student, [[stack[1], stack[2]], [stack[4]]])
    return student, whole


def inputs(kind: str) -> dict[str, torch.Tensor]:
    if kind == "vit":
        return {"pixel_values": torch.tensor(digit_images(0, 6)["pixel_values"], dtype=torch.float32)}
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 50, (6, 9), generator=generator)
    mask = torch.ones_like(tokens)
    mask[::2, 6:] = 0
    return {"input_ids": tokens.masked_fill(mask == 0, PAD), "attention_mask": mask}


def answer(model: Any, kind: str, left: tuple[int, ...] = (0, 1, 2, 3, 4), *, training: bool = True) -> torch.Tensor:
    """The logits of `model`, of which only the layers `left` work."""
    stack = model.get_submodule(KINDS[kind][1])
    hooks = [
        layer.register_forward_hook(lambda _layer, given, _output: given[0])
        for index, layer in enumerate(stack)
        if len(stack) == 5 and index not in left
    ]
    model.train(training)
    with torch.no_grad():
        logits = model(**inputs(kind)).logits
    for hook in hooks:
        hook.remove()
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_with_its_scaffold_it_is_the_deep_network_and_without_it_the_student(kind: str) -> None:
    student, whole = with_scaffold(kind)
    alone = answer(student, kind)
    torch.testing.assert_close(alone, answer(whole, kind, KEPT), rtol=1e-5, atol=1e-6)
    with scaffolding(student, SETTINGS) as scaffold:
        assert scaffold is not None
        assert scaffold.count == 3
        # The uppermost layer goes first: 4, then 2, then 1.
        for left, working in ((3, (0, 1, 2, 3, 4)), (2, (0, 1, 2, 3)), (1, (0, 1, 3)), (0, (0, 3))):
            scaffold.left = left
            torch.testing.assert_close(answer(student, kind), answer(whole, kind, working), rtol=1e-5, atol=1e-6)
            # Asked for an answer, and not trained, it is the student alone.
            torch.testing.assert_close(answer(student, kind, training=False), alone)
    assert not torch.allclose(alone, answer(whole, kind), atol=1e-3)
    assert not hasattr(student, SCAFFOLD)
    torch.testing.assert_close(answer(student, kind), alone)


def test_layers_go_at_even_distances_and_the_last_at_the_share() -> None:
    assert [layers_left(3, 0.5, step, 12) for step in range(12)] == [3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    assert [layers_left(2, 0.75, step, 4) for step in range(4)] == [2, 2, 1, 0]
    assert [layers_left(4, 0.25, step, 4) for step in range(3)] == [4, 0, 0]
    assert [layers_left(0, 0.5, step, 4) for step in range(3)] == [0, 0, 0]
    assert layers_left(3, 0.1, 0, 0) == 3
    # Thirds are no exact numbers; a layer goes at its step all the same.
    assert [layers_left(3, 0.3, step, 10) for step in range(4)] == [3, 2, 1, 0]


def test_in_training_the_layers_of_the_scaffold_stay_as_they_are_and_go_step_by_step(tmp_path: Path) -> None:
    student, _ = with_scaffold("bert")
    rows = cached_logits(tiny_bert(9), digit_sequences(0, 40), tmp_path / "cache", batch_size=8, pad_token_id=PAD)
    before, worked = weights_hash(getattr(student, SCAFFOLD)), []
    with scaffolding(student, SETTINGS) as scaffold:
        assert scaffold is not None
        stretches = getattr(student, SCAFFOLD)
        for number, layer in enumerate((stretches[0][0], stretches[0][1], stretches[1][0])):
            layer.register_forward_hook(lambda *_, number=number: worked.append(number))
        DistillationTrainer(
            student, arguments(tmp_path, per_device_train_batch_size=4, max_steps=10, learning_rate=1e-2),
            train_dataset=rows, alpha=0.9, pad_token_id=PAD, callbacks=[Dropping(scaffold, for_good=False)],
        ).train()  # fmt: skip
        assert weights_hash(stretches) == before
        assert all(weight.grad is None for weight in stretches.parameters())
    assert worked == [0, 1, 2] * 2 + [0, 1] * 2 + [0]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cached_logits(tiny_vit(9), digit_images(0, 48), tmp_path_factory.mktemp("cache"), batch_size=32)


class Killed(BaseException):
    """Stands for the end of the process."""


def taught(folder: Path, lesson: Any, stop_at: int | None = None, **changes: Any) -> Any:
    """A student of a whole training with a scaffold, or None when it was killed; what came out, its steps."""
    (student, _), steps = with_scaffold(), []

    def watch(progress: Any) -> None:
        steps.append(progress.step)
        if progress.step == stop_at:
            raise Killed

    settings = replace(SETTINGS, **changes)
    try:
        result = train(student, lesson, digit_images(100, 140), settings, folder, on_progress=watch)
    except Killed:
        return None, None, steps
    return student, result.to_dict(), steps


def test_what_is_trained_is_a_plain_student_judged_without_its_scaffold(tmp_path: Path, lesson: Any) -> None:
    student, result, _ = taught(tmp_path, lesson)
    assert set(student.state_dict()) == set(tiny_vit(1).state_dict())
    assert student.config.num_hidden_layers == 2
    assert all(weight.requires_grad for weight in student.parameters())
    student.save_pretrained(tmp_path / "saved")
    again, info = type(student).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (predict_logits(again, digit_images(0, 9), 9) == predict_logits(student, digit_images(0, 9), 9)).all()
    # Three steps an epoch, 12 in all, layers go before the steps 3, 5 and 7: each epoch says what worked in its last.
    assert [record.get("scaffold", 0) for record in result["history"]] == [2, 1, 0, 0, 0]
    best = result["best_epoch"]
    assert best >= 3
    kept = next(record for record in result["history"] if record["epoch"] == best)
    logits = predict_logits(student, digit_images(100, 140), 16)
    right = (logits.argmax(1) == digit_images(100, 140).with_format("numpy")["labels"][:]).mean()
    assert kept["validation_accuracy"] == pytest.approx(right)


def test_an_epoch_with_a_scaffold_is_never_kept_and_ends_nothing(tmp_path: Path, lesson: Any) -> None:
    # At this rate it hardly learns: an early epoch is mostly the best, and patience would end it while layers are left.
    _, result, _ = taught(tmp_path, lesson, learning_rate=0.5, final_ce_epoch=False, epochs=6)
    history = result["history"]
    assert [record.get("scaffold", 0) for record in history[:4]] == [3, 2, 1, 0]
    assert result["stopped"] in ("capacity_limited", "finished")
    ranks = [(record["validation_accuracy"], -record["validation_loss"]) for record in history]
    assert result["best_epoch"] == 4 + ranks[3:].index(max(ranks[3:]))


def test_a_budget_that_ends_before_the_last_layer_is_given_up_keeps_the_best_there_is(
    tmp_path: Path, lesson: Any
) -> None:
    student, result, steps = taught(tmp_path, lesson, max_seconds=0.0)
    assert (result["stopped"], steps) == ("budget", [1])
    assert result["history"][0]["scaffold"] == 3
    assert result["best_epoch"] == 1
    assert not hasattr(student, SCAFFOLD)


@pytest.mark.parametrize("stop_at", [5, 8, 14])
def test_killed_anywhere_it_ends_as_one_that_nobody_killed(tmp_path: Path, lesson: Any, stop_at: int) -> None:
    whole, result, _ = taught(tmp_path / "whole", lesson, patience=9)
    assert taught(tmp_path / "killed", lesson, stop_at, patience=9)[0] is None
    student, found, steps = taught(tmp_path / "killed", lesson, patience=9)
    assert steps[0] == 3 * ((stop_at - 1) // 3) + 1
    assert found == result
    assert weights_hash(student) == weights_hash(whole)


def test_it_goes_with_rates_by_layer_frozen_embeddings_and_mixed_precision(tmp_path: Path) -> None:
    lesson = cached_logits(tiny_bert(9), digit_sequences(0, 48), tmp_path / "cache", batch_size=16, pad_token_id=PAD)
    student, _ = with_scaffold("bert")
    before = student.bert.embeddings.word_embeddings.weight.clone()
    settings = replace(SETTINGS, layer_decay=0.5, freeze_embeddings=True, precision="bf16", accumulation=2)
    result = train(student, lesson, digit_sequences(100, 140), settings, tmp_path, pad_token_id=PAD)
    assert [record.scaffold for record in result.history[:3]] == [2, 1, 0]
    assert torch.equal(student.bert.embeddings.word_embeddings.weight, before)
    assert all(weight.requires_grad for weight in student.parameters())


def test_another_scaffold_never_meets_the_checkpoints(tmp_path: Path, lesson: Any) -> None:
    taught(tmp_path, lesson, 5)
    assert taught(tmp_path, lesson, 1, drop_until=0.6)[2] == [1]
    assert taught(tmp_path, lesson, 4)[2] == [4]


def test_it_changes_what_the_student_learns(tmp_path: Path, lesson: Any) -> None:
    with_it = taught(tmp_path, lesson, patience=9)[0]
    student, _ = with_scaffold()
    delattr(student, SCAFFOLD)
    plain = replace(SETTINGS, drop_until=None, patience=9)
    train(student, lesson, digit_images(100, 140), plain, tmp_path / "plain")
    assert weights_hash(student) != weights_hash(with_it)


def test_what_does_not_go_together_is_refused(tmp_path: Path, lesson: Any) -> None:
    student, _ = with_scaffold()
    with pytest.raises(InputError, match="drop_layers together with hidden or relations"):
        train(student, lesson, lesson, replace(SETTINGS, hidden=HiddenTerm(1.0)), tmp_path, teacher=tiny_vit(9))
    with pytest.raises(InputError, match="a student with a scaffold and no drop_layers"):
        train(student, lesson, lesson, replace(SETTINGS, drop_until=None), tmp_path)
    with pytest.raises(InputError, match="a student without a scaffold"):
        train(tiny_vit(1), lesson, lesson, SETTINGS, tmp_path)
    with pytest.raises(InputError, match="found 1 lists, expected one for each of 2 layers"):
        put_up(tiny_vit(1), [[]])
