"""Trials inside the step size: who is chosen, what the files say, and what a kill costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import TINY, Heard, run_tiny

from edgekd.errors import InputError, MissingExtra
from edgekd.files import sha256_of_file
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.explain import compare_students, explain_student
from edgekd.pipeline.size import inputs
from edgekd.pipeline.trials import check_trials
from edgekd.recipe import load_recipe
from edgekd.sizing.files import SizingFile, TrialsRow, read_sizing, read_students

CREATE_STUDY, CREATE_TRIAL, SET_INTERMEDIATE_VALUE = 0, 4, 7  # optuna's JournalOperation

WITH_TRIALS = (
    "space={layers: [1, 2], hidden: [16, 32], ffn_ratio: [1.0, 2.0]}",
    "search={calibrate: 3, finalists: 1, pairs: 5, trials: 4, trial_budget: 60 s}",
    "distill={epochs: 6, learning_rate: 5.0e-3, batch_size: 64, patience: 6}",
)


def trials_of(root: Path) -> TrialsRow:
    found = read_sizing(root / "sizing.json").trials
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tried(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    """The tiny run, sized again with trials."""
    root = Path(shutil.copytree(whole, tmp_path_factory.mktemp("tried") / "run"))
    _, heard = run_tiny(root, *WITH_TRIALS, only="size")
    return root, heard


def test_students_that_fit_are_tried_and_the_files_say_how(tried: tuple[Path, Heard]) -> None:
    root, heard = tried
    found, sizing = trials_of(root), read_sizing(root / "sizing.json")
    assert len(found.students) >= 3
    assert not found.cut
    assert found.seconds < 60
    assert {name.split("-")[0] for name in found.students} == {"L1", "L2"}
    for name, one in found.students.items():
        assert f"{name}-fp32" in sizing.measurements, "nothing is tried that was not measured"
        assert one.ended in ("finished", "halved", "pruned")
        assert one.steps == one.curve[-1].step
        if one.ended == "finished":
            assert one.steps == found.rungs[one.rung or 0]
            assert one.loss == pytest.approx(one.curve[-1].loss, abs=1e-6)
    assert found.examples == 180
    assert "students were tried in" in heard.summaries["size"]


def test_the_choice_is_one_of_those_tried_and_says_why(tried: tuple[Path, Heard]) -> None:
    root, _ = tried
    students, found = read_students(root / "students.json"), trials_of(root)
    assert students.chosen in found.students
    lowest = min((one.loss, name) for name, one in found.students.items() if one.rung is not None and one.loss)
    if found.decided == "loss":
        assert students.chosen == lowest[1]
        assert "had the lowest validation loss" in students.reason
    else:
        assert found.decided == "capacity"
        assert "cannot be told apart" in students.reason
    assert "within 50.0 ms" in students.reason


def test_the_distillation_is_that_of_a_run_without_trials(tried: tuple[Path, Heard], tmp_path: Path) -> None:
    root = Path(shutil.copytree(tried[0], tmp_path / "run"))
    _, heard = run_tiny(root, *WITH_TRIALS, only="distill")
    assert heard.ran == ["distill"]
    weights = sha256_of_file(root / "student" / "model.safetensors")
    shutil.rmtree(root / "trials")
    run_tiny(root, *WITH_TRIALS, only="distill", again=["distill"])
    assert sha256_of_file(root / "student" / "model.safetensors") == weights


def test_the_explanation_tells_how_a_student_was_tried(tried: tuple[Path, Heard]) -> None:
    root, settings = tried[0], [*TINY, *WITH_TRIALS]
    found = explain_student("quickstart", settings, root)
    row = trials_of(root).students[found.student.name]
    (note,) = found.notes
    assert note.startswith(f"{found.student.name}: tried for {row.steps} steps: validation loss {row.loss:.4f}")
    names = list(trials_of(root).students)
    beside = compare_students("quickstart", settings, root, ",".join(names))
    assert [note.split(":")[0] for note in beside.notes if "tried for" in note] == names


def test_nothing_is_tried_again_when_the_step_is_repeated(tried: tuple[Path, Heard], tmp_path: Path) -> None:
    root = Path(shutil.copytree(tried[0], tmp_path / "run"))
    shutil.rmtree(root / "work")
    before = {name: one.loss for name, one in trials_of(root).students.items()}
    (root / "sizing.json").unlink()
    # Another run folder would be another worker; this one is a copy, and its trials are all done.
    _, heard = run_tiny(root, *WITH_TRIALS, only="size")
    assert heard.ran == ["size"]
    assert not [text for text in heard.said if text.startswith(("trying", "timing"))]
    assert {name: one.loss for name, one in trials_of(root).students.items()} == before


def test_a_trial_in_hand_when_its_folder_was_moved_is_taken_up_at_once(
    tried: tuple[Path, Heard], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tried[0], tmp_path / "moved"))
    journal = root / "trials" / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    last = max(index for index, line in enumerate(lines) if '"outcome"' in line)
    journal.write_text("".join(lines[:last]))
    (root / "sizing.json").unlink()
    before, begun = trials_of(tried[0]), time.monotonic()
    run_tiny(root, *WITH_TRIALS, only="size")
    assert time.monotonic() - begun < 45, "nobody waited for the grace period"
    assert {name: one.loss for name, one in trials_of(root).students.items()} == {
        name: one.loss for name, one in before.students.items()
    }


def test_a_budget_that_is_too_short_leaves_the_choice_to_capacity(whole: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(whole, tmp_path / "run"))
    _, heard = run_tiny(root, *WITH_TRIALS, "search.trial_budget=10 ms", only="size")
    found, students = trials_of(root), read_students(root / "students.json")
    assert (found.cut, found.decided, found.students) == (True, "nothing", {})
    assert students.chosen == max(students.students, key=lambda row: row.capacity).id
    assert "before any two could be compared" in students.reason
    assert "raise search.trial_budget" in heard.summaries["size"]


def test_trials_are_part_of_the_inputs_only_when_there_are_any(root: Path) -> None:
    def key(*overrides: str) -> str:
        return inputs_hash(inputs(Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())))

    assert key() == key("search.trial_budget=5 min", "search.storage=elsewhere.log") == key("distill.epochs=9")
    some = key("search.trials=4")
    assert some != key()
    assert some == key("search.trials=4", "search.storage=elsewhere.log")
    for other in ("search.trial_budget=5 min", "distill.epochs=9", "search.trials=5"):
        assert key("search.trials=4", other) not in (some, key()), other


def test_without_optuna_the_run_ends_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    with pytest.raises(MissingExtra, match=r"pip install 'edgekd\[search\]'"):
        run_tiny(tmp_path / "run", "search.trials=4")
    assert not (tmp_path / "run").exists()
    check_trials(load_recipe("quickstart", TINY), tmp_path)


def test_a_storage_that_is_not_there_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NOT_SET is not set"):
        run_tiny(tmp_path / "run", "search.trials=4", 'search.storage="env:NOT_SET"')
    assert not (tmp_path / "run").exists()


def _program(root: Path, *overrides: str) -> subprocess.Popen[str]:
    code = "import sys; from pathlib import Path; from edgekd.pipeline.run import run\n"
    code += "run('quickstart', sys.argv[2:], Path(sys.argv[1]), only='size')"
    argv = [sys.executable, "-c", code, str(root), *TINY, *overrides]
    # The local host works in the home folder, and two sessions there would be in each other's way.
    around = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(root.parent / f"home-{root.name}")}
    Path(around["HOME"]).mkdir(exist_ok=True)
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=around)


def _ended(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said


def _journal(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _lines(text: str) -> list[dict[str, Any]]:
    """The whole lines of a journal."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _outcomes(text: str) -> dict[tuple[str, int], float | None]:
    """The loss of every job that a journal knows; an outcome that was made twice is an error."""
    made = [line for line in _lines(text) if line["op_code"] == CREATE_TRIAL]
    found: dict[tuple[str, int], float | None] = {}
    for line in _lines(text):
        if "outcome" in line.get("user_attr", {}):
            job = made[line["trial_id"]]
            key = job["user_attrs"]["student"], int(job["params"]["steps"])
            assert key not in found, f"{key} was made twice"
            found[key] = line["user_attr"]["outcome"]["loss"]
    return found


def _told(found: SizingFile) -> dict[str, tuple[int | None, float | None]]:
    assert found.trials is not None
    return {name: (one.rung, one.loss) for name, one in found.trials.students.items()}


def _in_hand(text: str) -> int | None:
    """The trial that has a point of its curve and no outcome yet."""
    lines = _lines(text)
    begun = {line["trial_id"] for line in lines if line["op_code"] == SET_INTERMEDIATE_VALUE}
    return next(iter(begun - {line["trial_id"] for line in lines if "outcome" in line.get("user_attr", {})}), None)


def test_killed_in_a_trial_it_goes_on_with_the_same_numbers(whole: Path, tmp_path: Path) -> None:
    slow = ("distill.epochs=25", "distill.batch_size=32")
    root = Path(shutil.copytree(whole, tmp_path / "run"))
    journal = root / "trials" / "journal.log"
    process, deadline = _program(root, *WITH_TRIALS, *slow), time.monotonic() + 150
    # Kill in the second trial or later, when a part of its curve is known.
    while not _outcomes(_journal(journal)) or _in_hand(_journal(journal)) is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cut = _journal(journal)
    number = _in_hand(cut)
    assert number is not None
    assert list((root / "work").glob("size-*/trials/*/*/checkpoint-*"))
    _ended(_program(root, *WITH_TRIALS, *slow))
    after = _journal(journal)
    assert after.startswith(cut)
    told = [line["trial_id"] for line in _lines(after)[len(_lines(cut)) :] if "outcome" in line.get("user_attr", {})]
    assert told[0] == number, "the trial in hand was taken up first, and not added again"
    # A run that nobody disturbed and that follows the same plan finds the same losses.
    undisturbed = Path(shutil.copytree(whole, tmp_path / "undisturbed"))
    (undisturbed / "trials").mkdir()
    study = [line for line in after.splitlines() if f'"op_code":{CREATE_STUDY}' in line or '"plan"' in line]
    (undisturbed / "trials" / "journal.log").write_text("\n".join(study) + "\n")
    _ended(_program(undisturbed, *WITH_TRIALS, *slow))
    one, other = _outcomes(after), _outcomes(_journal(undisturbed / "trials" / "journal.log"))
    common = set(one) & set(other)
    assert len(common) >= 3
    assert {key: one[key] for key in common} == {key: other[key] for key in common}


def test_two_runs_on_one_journal_share_the_trials(whole: Path, tmp_path: Path) -> None:
    roots = [Path(shutil.copytree(whole, tmp_path / name)) for name in ("one", "other")]
    shared = f"search.storage={tmp_path / 'shared.log'}"
    # Each measures its own candidates first; then whoever is there first begins.
    for process in [_program(root, *WITH_TRIALS, shared) for root in roots]:
        _ended(process)
    one, other = (_told(read_sizing(root / "sizing.json")) for root in roots)
    common = set(one) & set(other)
    assert len(common) >= 2
    assert {name: one[name] for name in common} == {name: other[name] for name in common}
    assert len(_outcomes((tmp_path / "shared.log").read_text())) >= 3
