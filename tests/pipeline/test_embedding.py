"""A whole run of the task sentence-embedding, from the recipe to the verdict and the page."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import Heard
from tiny_sentences import save_encoder, sentences, tiny_encoder, write_recipe, write_sentences

from edgekd.data.encode import encode, load_tokenizer, numpy_batches
from edgekd.errors import InputError, RecipeError, TeacherError
from edgekd.export.check import describe
from edgekd.export.parity import onnx_logits
from edgekd.files import read_json
from edgekd.pipeline.context import Context
from edgekd.pipeline.pool import Pool, reference_of
from edgekd.pipeline.run import Outcome, plan, run
from edgekd.pipeline.saved import read_preprocessing, read_trained
from edgekd.pooling import Pooling, embedded, pooling_of
from edgekd.recipe import load_recipe
from edgekd.record import AccuracyRecord, read_record
from edgekd.retrieval import neighbours
from edgekd.students.sentence import read_pooling

DEVICE = f"device=generic-{platform.machine().replace('_', '-')}"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard, str]:
    folder = tmp_path_factory.mktemp("sentences")
    recipe, heard = write_recipe(folder), Heard()
    outcome = run(recipe, [DEVICE], folder / "run", progress=heard)
    assert outcome.exit_code == 0, (folder / "run" / "summary.md").read_text()
    return folder / "run", heard, recipe


def record_of(root: Path, name: str) -> AccuracyRecord:
    record = read_record(root / "records" / f"accuracy-{name}.json")
    assert isinstance(record, AccuracyRecord)
    return record


def test_a_recipe_ends_in_a_verdict_on_what_the_students_vectors_find(ran: tuple[Path, Heard, str]) -> None:
    root, heard, _ = ran
    verdict = read_json(root / "verdict.json")
    assert verdict["outcome"] == "pass"
    limits = {criterion["metric"]: criterion for criterion in verdict["criteria"]}
    record = record_of(root, verdict["artifact"])
    assert limits["accuracy"]["estimate"] == pytest.approx(record.accuracy)
    assert limits["accuracy_drop"]["estimate"] == pytest.approx(1 - record.accuracy)
    assert "(pooling mean, normalised)" in heard.summaries["teacher"]
    assert "of nearest texts as by the teacher" in heard.summaries["distill"]


def test_the_records_hold_the_nearest_texts_of_the_exported_files(ran: tuple[Path, Heard, str]) -> None:
    root, _, recipe = ran
    test = Context(load_recipe(recipe), root, Path.cwd()).splits.test
    teacher = record_of(root, "teacher-fp32")
    assert (teacher.accuracy, teacher.recall_at_10) == (1.0, 1.0)
    preprocessing = read_preprocessing(root / "student")
    encoded = encode(test, preprocessing, load_tokenizer(root / "student"))
    for name in ("student-fp32", "student-int8"):
        record = record_of(root, name)
        vectors = onnx_logits(root / "artifacts" / f"{name}.onnx", numpy_batches(encoded, 1))
        assert vectors.shape == (len(test), 32)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert record.predictions == neighbours(vectors, 1)[:, 0].tolist()
        assert record.labels == teacher.labels
        assert record.spearman is not None
        assert record.recall_at_10 is not None
        assert record.spearman > 0.8
        assert record.accuracy < record.recall_at_10 < 1


def test_the_student_is_a_plain_encoder_that_says_how_it_pools(ran: tuple[Path, Heard, str]) -> None:
    root, _, _ = ran
    assert read_pooling(root / "student") == Pooling()
    model = read_trained(root / "student", [], "sentence-embedding")
    assert pooling_of(model.config) == Pooling()
    assert [name for name, _ in model.named_parameters() if "projector" in name or "pooler" in name] == []
    told = read_json(root / "student.json")
    assert told["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert told["spec"]["head"] == "none"
    assert told["measures"]["top_1"] == told["validation_accuracy"] == told["agreement"]
    assert told["calibration_error"] is None
    assert told["fork"] is None
    assert {epoch["alpha"] for epoch in told["history"]} == {1.0}


def test_the_page_speaks_of_nearest_texts_and_not_of_right_answers(ran: tuple[Path, Heard, str]) -> None:
    page = (ran[0] / "report.html").read_text()
    assert "% of nearest texts as by the teacher on the validation part" in page
    assert "of the teacher&#x27;s ten nearest" in page.lower() or "of the teacher's ten nearest" in page.lower()
    assert "right on the validation part" not in page
    assert "<summary>The 1 classes" not in page


def test_the_same_run_again_computes_nothing(ran: tuple[Path, Heard, str]) -> None:
    root, _, recipe = ran
    heard = Heard()
    assert run(recipe, [DEVICE], root, progress=heard) == Outcome(root, 0)
    assert heard.ran == []


def test_a_dry_run_counts_texts_and_no_classes(ran: tuple[Path, Heard, str]) -> None:
    root, _, recipe = ran
    lines = plan(recipe, [DEVICE], root.parent / "dry").data
    assert any("train" in line and "160" in line for line in lines)
    assert not any("classes" in line for line in lines)


def test_a_student_of_fewer_dimensions_learns_through_a_projector_that_is_gone_in_the_end(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train=64, validation=30, test=30)
    narrow = [
        DEVICE,
        "space={layers: [1], hidden: [16], ffn_ratio: [1.0]}",
        "distill.epochs=1",
        "distill.start=uniform",
    ]
    root = tmp_path / "run"
    for step in ("teacher", "size", "distill", "export"):
        run(recipe, [*narrow, "precisions=[fp32]"], root, only=step)
    model = read_trained(root / "student", [], "sentence-embedding")
    tokens = load_tokenizer(root / "student")(["dog1 car2 sea3"], return_tensors="pt")
    assert embedded(model, dict(tokens)).shape == (1, 16)
    assert {name for name, _ in model.named_modules() if "projector" in name} == set()
    assert record_of(root, "student-fp32").spearman is not None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher.fine_tune={epochs: 1}", "a sentence encoder is taken as it is"),
        ("distill.batch_size=2", "distill.batch_size is 2, expected at least 3 for sentence-embedding"),
        ("data.label=topic", r"data.label has no meaning for sentence-embedding: there are no labels"),
        ("data.text_pair=other", "data.text_pair has no meaning"),
        ("distill.alpha=0.5", "distill.alpha has no meaning"),
        ("distill.temperature=2", "similarity_temperature"),
        ("distill.final_ce_epoch=false", "distill.final_ce_epoch has no meaning"),
        ("task=text-classification", None),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_done(
    tmp_path: Path, override: str, message: str | None
) -> None:
    recipe = write_recipe(tmp_path, train=20, validation=10, test=10)
    if message is None:
        override, message = "distill.similarity_temperature=0.1", "for the task sentence-embedding alone"
        Path(recipe).write_text(Path(recipe).read_text().replace("sentence-embedding", "text-classification"))
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [override])


def test_a_pooling_that_the_teachers_files_deny_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train=40, validation=20, test=20)
    with pytest.raises(InputError, match="its files say that it pools as mean, normalised, the recipe says cls"):
        run(recipe, [DEVICE, "teacher.pooling=cls"], tmp_path / "run", only="teacher")


def test_a_teacher_to_which_all_texts_are_the_same_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train=40, validation=20, test=20)
    # Every text begins with the same token, and without attention its state knows nothing of the others.
    model = tiny_encoder(Pooling("cls"), layers=1)
    model.encoder.layer[0].attention.output.dense.weight.data.zero_()
    save_encoder(tmp_path / "flat", model, Pooling("cls"))
    with pytest.raises(TeacherError, match="to it all texts are the same"):
        run(recipe, [DEVICE, f"teacher.model={tmp_path / 'flat'}"], tmp_path / "run", only="teacher")


def test_too_few_texts_to_be_judged_by_are_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train=40, validation=20, test=20)
    write_sentences(tmp_path / "data" / "dev.txt", sentences(2, seed=9))
    with pytest.raises(InputError, match="at least 3 texts"):
        run(recipe, [DEVICE], tmp_path / "run", only="teacher")


def test_trials_compare_encoders_by_their_nearness_to_the_teacher(ran: tuple[Path, Heard, str], tmp_path: Path) -> None:
    root = Path(shutil.copytree(ran[0], tmp_path / "run"))
    tried = ["search.trials=2", "search.trial_budget=30 s", "space={layers: [1], hidden: [32], ffn_ratio: [0.5, 1.0]}"]
    run(ran[2], [DEVICE, *tried], root, only="size")
    found = read_json(root / "sizing.json")["trials"]
    assert len(found["students"]) == 2
    assert {student["ended"] for student in found["students"].values()} <= {"finished", "pruned"}
    assert all(0 < student["loss"] < 5 for student in found["students"].values())


def test_a_calibration_measures_students_that_pool_as_the_recipes_teacher(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, train=10, validation=5, test=5)
    save_encoder(tmp_path / "encoder", tiny_encoder(Pooling("cls")), Pooling("cls"))
    pool = Pool(reference_of(recipe, Path.cwd()), ("fp32",), 1)
    (name,) = pool.designed("fp32", 1)
    described = describe(pool.written(name, tmp_path))
    assert [output.name for output in described.outputs] == ["embedding"]
    config = pool.reference.config
    assert pooling_of(config) == Pooling("cls")
