"""Who is told how the trainings of a run go."""

from pathlib import Path

import pytest
from tiny_recipe import run_tiny

from edgekd.errors import InputError
from edgekd.files import sha256_of_file
from edgekd.pipeline.context import Context
from edgekd.pipeline.tracking import reporting_of


def told(root: Path) -> list[tuple[str, str]]:
    """The trainings that TensorBoard was told of, without their keys, and the phases of each."""
    found = sorted(path.relative_to(root).parts for path in root.glob("tensorboard/**/events.*"))
    return [(name.rpartition("-")[0], phase) for _, name, phase, _ in found]


def test_tensorboard_is_told_of_the_teachers_training(tmp_path: Path) -> None:
    run_tiny(tmp_path, "report_to=[tensorboard]", only="teacher")
    assert told(tmp_path) == [("tiny-teacher", "main")]


def test_who_is_told_changes_nothing_that_was_made(root: Path) -> None:
    _, heard = run_tiny(root, "report_to=[tensorboard]")
    assert heard.ran == ["report"]  # which shows the recipe
    before = sha256_of_file(root / "student" / "model.safetensors")
    _, heard = run_tiny(root, "report_to=[tensorboard]", only="distill", again=["distill"])
    assert heard.ran == ["distill"]
    assert told(root) == [("tiny-student", "final"), ("tiny-student", "main")]
    assert sha256_of_file(root / "student" / "model.safetensors") == before


def test_nobody_is_told_unless_the_recipe_says_so(context: Context) -> None:
    assert reporting_of(context, "teacher") is None


def test_a_program_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for only in (None, "teacher", "distill"):
        with pytest.raises(InputError, match="report_to: wandb is not installed"):
            run_tiny(tmp_path / "run", "report_to=[wandb]", only=only)
    assert not (tmp_path / "run").exists()
