"""The teacher beside the student: what it is asked, what the student learns from that, and what is left of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tasks_data import model, several, tagged
from test_trainer import GradientCopy, arguments
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from tiny_lessons import teacher as trained_teacher
from torch.nn import functional

from edgekd.distill.collate import Collator, model_inputs
from edgekd.distill.features import PROJECTORS, feature_teacher
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.schedule import Schedule
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.train import train
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError

QUICK = TrainingSettings(epochs=3, learning_rate=5e-3, batch_size=32, seed=3)
HIDDEN, RELATIONS = HiddenTerm(1.0), RelationsTerm(1.0, 4)
KINDS = pytest.mark.parametrize(
    "terms", [{"hidden": HIDDEN}, {"relations": RELATIONS}, {"hidden": HIDDEN, "relations": RELATIONS}],
    ids=["hidden", "relations", "both"],
)  # fmt: skip


def sentences(count: int = 6) -> dict[str, torch.Tensor]:
    return Collator(PAD)(list(digit_sequences(0, count)))


def found(student: Any, teacher: Any, batch: Any, step: int = 0, **terms: Any) -> torch.Tensor:
    """The loss of the features, of one pass over `batch`."""
    with feature_teacher(teacher, student, replace(QUICK, **terms)) as features:
        assert features is not None
        inputs = {name: value for name, value in batch.items() if name not in {"labels", "row"}}
        with features.watching(step, 10) as seen:
            student(**inputs)
        return features.loss(seen, batch, step, 10, None)


@KINDS
def test_it_is_nothing_for_the_same_model_and_positive_for_another(terms: Any) -> None:
    batch = sentences()
    assert found(tiny_bert(1), tiny_bert(1), batch, **terms).item() == pytest.approx(0, abs=1e-6)
    assert found(tiny_bert(1), tiny_bert(2), batch, **terms).item() > 1e-3
    narrow = tiny_bert(3, layers=1, hidden=16)
    assert found(narrow, tiny_bert(2), batch, **terms).item() > 1e-3


@KINDS
def test_pads_change_nothing(terms: Any) -> None:
    batch = sentences()
    longer = {
        name: functional.pad(value, (0, 7)) if name not in {"labels", "row"} else value for name, value in batch.items()
    }
    student, teacher = tiny_bert(1, layers=1, hidden=16), tiny_bert(2)
    expected = found(student, teacher, batch, **terms).item()
    assert found(student, teacher, longer, **terms).item() == pytest.approx(expected, abs=1e-6)


def test_every_example_counts_the_same_and_weights_follow_the_steps() -> None:
    student, teacher = tiny_bert(1), tiny_bert(2)
    (row,) = digit_sequences(3, 4)
    states = [
        model(**model_inputs(Collator(PAD)([row])), output_hidden_states=True).hidden_states
        for model in (student, teacher)
    ]
    by_hand = [functional.mse_loss(states[0][layer], states[1][layer]) for layer in (1, 2)]
    torch.testing.assert_close(found(student, teacher, Collator(PAD)([row]), hidden=HIDDEN), sum(by_hand) / 2)
    whole = found(student, teacher, sentences(3), hidden=HIDDEN)
    each = [found(student, teacher, Collator(PAD)([row]), hidden=HIDDEN) for row in digit_sequences(0, 3)]
    torch.testing.assert_close(whole, sum(each) / 3)
    twice = found(student, teacher, sentences(3), hidden=HiddenTerm(2.0), relations=RelationsTerm(3.0, 4))
    relations = found(student, teacher, sentences(3), relations=RELATIONS)
    torch.testing.assert_close(twice, 2 * whole + 3 * relations)
    fading = HiddenTerm(Schedule(1.0, 0.0, "linear", 0.5))
    torch.testing.assert_close(found(student, teacher, sentences(3), 2, hidden=fading), 0.6 * whole)
    assert found(student, teacher, sentences(3), 5, hidden=fading).item() == 0


def test_layers_are_the_ones_that_were_named() -> None:
    student, teacher, batch = tiny_bert(1, layers=2), tiny_bert(2, layers=4), sentences()
    automatic = found(student, teacher, batch, hidden=HIDDEN)
    torch.testing.assert_close(found(student, teacher, batch, hidden=HiddenTerm(1.0, ((0, 1), (1, 3)))), automatic)
    assert not torch.allclose(found(student, teacher, batch, hidden=HiddenTerm(1.0, ((0, 0), (1, 2)))), automatic)
    each = [found(student, teacher, batch, hidden=HiddenTerm(1.0, (pair,))) for pair in ((0, 1), (1, 3))]
    torch.testing.assert_close(sum(each) / 2, automatic)
    last = found(student, teacher, batch, relations=RELATIONS)
    torch.testing.assert_close(found(student, teacher, batch, relations=RelationsTerm(1.0, 4, ((1, 3),))), last)


def test_the_teacher_is_calm_is_asked_only_and_is_no_part_of_the_student() -> None:
    student, teacher = tiny_bert(1, hidden=16), tiny_bert(2, dropout=0.5).train()
    before, names = weights_hash(teacher), set(student.state_dict())
    batch = sentences()
    losses = []
    for _ in range(2):
        loss = found(student, teacher, batch, hidden=HIDDEN, relations=RELATIONS)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    assert not teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())
    assert weights_hash(teacher) == before
    assert set(student.state_dict()) == names
    assert student.config._attn_implementation == teacher.config._attn_implementation == "sdpa"


def test_projectors_are_there_only_while_they_are_needed() -> None:
    student, teacher = tiny_bert(1, layers=2, hidden=16), tiny_bert(2)
    with feature_teacher(teacher, student, replace(QUICK, hidden=HIDDEN)):
        names = {name for name, _ in student.named_parameters() if PROJECTORS in name}
        assert names == {f"{PROJECTORS}.{layer}.{kind}" for layer in (0, 1) for kind in ("weight", "bias")}
        wide = getattr(student, PROJECTORS)["0"](torch.arange(16.0)[None])
        assert wide[0, ::2].tolist() == list(range(16))
        assert not wide[0, 1::2].any()
    assert not hasattr(student, PROJECTORS)
    with feature_teacher(teacher, tiny_bert(1), replace(QUICK, hidden=HIDDEN)) as features:
        assert features is not None
        assert not hasattr(features.student, PROJECTORS)
    with feature_teacher(None, student, QUICK) as features:
        assert features is None


def test_everything_is_taken_off_again_after_an_error() -> None:
    student, teacher = tiny_bert(1, hidden=16), tiny_bert(2)
    settings = replace(QUICK, hidden=HIDDEN, relations=RELATIONS)
    with pytest.raises(ZeroDivisionError), feature_teacher(teacher, student, settings):
        raise ZeroDivisionError
    assert not hasattr(student, PROJECTORS)
    assert student.config._attn_implementation == teacher.config._attn_implementation == "sdpa"


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    training, validation = digit_images(0, 32), digit_images(100, 120)
    for terms, message in (
        ({"hidden": HiddenTerm(1.0, ((0, 2),))}, "found layer 2 of the teacher, expected 0 to 1"),
        ({"relations": RelationsTerm(1.0, 4, ((1, 0),))}, "found layer 1 of the student"),
        ({"relations": RelationsTerm(1.0, 5)}, r"distill.relations.heads is 5, and the student has 2 heads of width 8"),
        ({"relations": RelationsTerm(1.0, 32)}, r"divides 16 in student and teacher alike"),
    ):
        with pytest.raises(InputError, match=message):
            train(
                tiny_vit(1, layers=1, hidden=16), training, validation, replace(QUICK, **terms), tmp_path,
                teacher=tiny_vit(2),
            )  # fmt: skip
    with pytest.raises(InputError, match="no teacher is given"):
        train(tiny_vit(1), training, validation, replace(QUICK, hidden=HIDDEN), tmp_path)


def gradients(folder: Path, parts: tuple[int, int]) -> Any:
    student, copied = tiny_bert(1, layers=1, hidden=16), GradientCopy()
    settings = replace(QUICK, hidden=HIDDEN, relations=RELATIONS)
    with feature_teacher(tiny_bert(2), student, settings) as features:
        DistillationTrainer(
            student,
            arguments(folder, per_device_train_batch_size=parts[0], gradient_accumulation_steps=parts[1]),
            train_dataset=digit_sequences(0, 10), features=features, pad_token_id=PAD, callbacks=[copied],
        ).train()  # fmt: skip
    return copied.steps


def test_gradients_are_the_same_for_accumulation_1_2_and_4_with_ragged_batches(tmp_path: Path) -> None:
    (whole,) = gradients(tmp_path, (10, 1))
    for parts in ((6, 2), (3, 4)):
        (summed,) = gradients(tmp_path, parts)
        torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-7)


def without_dropout(head: str, seed: int) -> Any:
    made = model(head, seed)
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return made


@pytest.mark.parametrize("parts", [(12, 1), (5, 3)])
@pytest.mark.parametrize(
    ("task", "head", "rows"),
    [("token-classification", "tokens", tagged), ("multi-label-classification", "sequence", several)],
)
def test_however_many_labels_an_example_has_it_counts_once(
    tmp_path: Path, task: Any, head: str, rows: Any, parts: tuple[int, int]
) -> None:
    """A step's gradient is that of the labels, and that of the features as a mean over the examples."""
    steps, teacher = [], without_dropout(head, 2)
    terms: Any = {"hidden": HIDDEN, "relations": RelationsTerm(1.0, 2)}
    for given in (terms, {}):
        student, copied = without_dropout(head, 1), GradientCopy()
        with feature_teacher(teacher, student, replace(QUICK, **given)) as features:
            DistillationTrainer(
                student,
                arguments(tmp_path, per_device_train_batch_size=parts[0], gradient_accumulation_steps=parts[1]),
                train_dataset=rows(), task=task, features=features, pad_token_id=0, callbacks=[copied],
            ).train()  # fmt: skip
        steps.append(copied.steps[0])
    student = without_dropout(head, 1)
    found(student, teacher, Collator(0)(list(rows().with_format("numpy"))), **terms).backward()
    weights = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in student.parameters()]
    expected = torch.cat([weight.flatten() for weight in weights])
    torch.testing.assert_close(steps[0] - steps[1], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "terms", [{"hidden": HiddenTerm(10.0)}, {"relations": RelationsTerm(10.0, 4)}], ids=["hidden", "relations"]
)
def test_it_brings_a_student_nearer_to_its_teacher_than_labels_alone(tmp_path: Path, terms: Any) -> None:
    batch = Collator()(list(digit_images(600, 700).with_format("numpy")))
    teacher, distances = trained_teacher(), []
    for given in (terms, {}):
        student, settings = tiny_vit(2, layers=1), replace(QUICK, epochs=8, patience=8, **given)
        train(student, digit_images(0, 256), digit_images(500, 540), settings, tmp_path, teacher=teacher)
        distances.append(found(student, teacher, batch, **terms).item())
    assert distances[0] < 0.75 * distances[1]


def test_a_projector_is_in_the_checkpoints_learns_and_is_in_no_student(tmp_path: Path) -> None:
    student, kept = tiny_vit(2, layers=1, hidden=16), []
    names = set(student.state_dict())

    def look(progress: Any) -> None:
        if progress.epoch == 3:
            paths = sorted(tmp_path.glob("checkpoints/*/main/*/model.safetensors"))
            kept.append([value for name, value in load_file(paths[-1]).items() if name == f"{PROJECTORS}.0.weight"])

    settings = replace(QUICK, hidden=HIDDEN, final_ce_epoch=True)
    result = train(
        student, digit_images(0, 64), digit_images(500, 540), settings, tmp_path, teacher=tiny_vit(1), on_progress=look
    )
    assert set(student.state_dict()) == names
    (weight,) = kept[0]
    assert weight.shape == (32, 16)
    assert 0 < weight[1::2].abs().max() < 1, "rows that began with nothing have learned"
    assert len(result.history) == 4, "the last epoch is of labels alone"


def test_after_a_training_the_teacher_is_what_it_was_and_calm(tmp_path: Path) -> None:
    teacher, modes = tiny_vit(1, dropout=0.5).train(), set()
    before = weights_hash(teacher)
    teacher.vit.register_forward_hook(lambda module, *_: modes.add(module.training))
    train(
        tiny_vit(2), digit_images(0, 64), digit_images(500, 540), replace(QUICK, hidden=HIDDEN, relations=RELATIONS),
        tmp_path, teacher=teacher,
    )  # fmt: skip
    assert modes == {False}
    assert not teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())
    assert weights_hash(teacher) == before


def test_the_last_epoch_does_not_ask_the_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, asked, epochs = tiny_vit(1), [], []
    plain = teacher.vit.forward
    monkeypatch.setattr(teacher.vit, "forward", lambda *args, **others: (asked.append(1), plain(*args, **others))[1])
    settings = replace(QUICK, relations=RELATIONS, final_ce_epoch=True)
    train(
        tiny_vit(2), digit_images(0, 64), digit_images(500, 540), settings, tmp_path, teacher=teacher,
        on_progress=lambda progress: epochs.append((progress.epoch, len(asked))),
    )  # fmt: skip
    assert [count for epoch, count in epochs if epoch == 4] == [6, 6]


def test_a_teacher_whose_weights_have_fallen_to_0_is_not_asked_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, asked = tiny_vit(1), []
    plain = teacher.vit.forward
    monkeypatch.setattr(teacher.vit, "forward", lambda *args, **others: (asked.append(1), plain(*args, **others))[1])
    fading = Schedule(1.0, 0.0, "linear", 0.5)
    settings = replace(QUICK, hidden=HiddenTerm(fading), relations=RelationsTerm(fading, 4))
    train(
        tiny_vit(2, layers=1, hidden=16), digit_images(0, 64), digit_images(500, 540), settings, tmp_path,
        teacher=teacher,
    )  # fmt: skip
    assert len(asked) == 3, "of 6 steps"


def test_another_teacher_never_meets_the_checkpoints(tmp_path: Path) -> None:
    first = []

    def stop(progress: Any) -> None:
        first.append(progress.step)
        if progress.step == 5:
            raise KeyboardInterrupt

    settings = replace(QUICK, relations=RELATIONS)
    for seed in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            train(
                tiny_vit(2), digit_images(0, 64), digit_images(500, 540), settings, tmp_path, teacher=tiny_vit(seed),
                on_progress=stop,
            )  # fmt: skip
    assert first == [1, 2, 3, 4, 5] * 2
