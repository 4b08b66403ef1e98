"""`edgekd size --explain` and `--compare` on real run folders: nothing is run, and the numbers are those of the files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipe import TINY, snapshot

from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, write_json
from edgekd.pipeline.explain import compare_students, explain_student, read_known, told
from edgekd.sizing.explain.beside import SideBySide
from edgekd.sizing.files import read_sizing, read_students

Edgekd = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def size(tmp_path: Path) -> Edgekd:
    """The program `edgekd size` with the tiny recipe, as a user calls it."""

    def call(*argv: str | Path) -> subprocess.CompletedProcess[str]:
        settings = [word for setting in TINY for word in ("--set", setting)]
        words = [sys.executable, "-m", "edgekd", "size", "quickstart", *settings, *map(str, argv)]
        around = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False, env=around)

    return call


def test_the_chosen_student_is_explained_with_what_was_measured(whole: Path) -> None:
    chosen, evidence = read_students(whole / "students.json").chosen, read_sizing(whole / "sizing.json")
    found = explain_student("quickstart", TINY, whole)
    assert (found.student.name, found.standing, found.notes) == (chosen, "chosen", ())
    assert [view.precision for view in found.views][: len(evidence.fitting)] == evidence.fitting
    for view in found.views:
        measured = evidence.measurements[f"{chosen}-{view.precision}"]
        assert view.outlook.latency is not None
        assert view.outlook.latency.mid == measured.latency_s
        assert view.time.source == view.memory.source == "fit"


def test_what_is_predicted_is_what_the_sizing_stored(whole: Path) -> None:
    known, evidence = read_known("quickstart", TINY, whole), read_sizing(whole / "sizing.json")
    for student in known.students.values():
        for precision in known.precisions:
            stored, found = evidence.forecasts[f"{student.name}-{precision}"], known.predicted(student, precision)
            assert stored.latency_s is not None
            assert found.latency is not None
            assert found.latency.mid == pytest.approx(stored.latency_s.mid, rel=1e-12)
            assert found.latency.high == pytest.approx(stored.latency_s.high, rel=1e-12)
            assert found.memory.mid == pytest.approx(stored.memory_bytes.mid, rel=1e-12)
            assert found.size.mid == pytest.approx(stored.size_bytes.mid, rel=1e-12)


def test_nothing_is_written_or_measured(whole: Path) -> None:
    before = snapshot(whole)
    explain_student("quickstart", TINY, whole, "small")
    compare_students("quickstart", TINY, whole, "small, large,teacher")
    assert snapshot(whole) == before


def test_a_sizing_of_another_recipe_is_noted(root: Path) -> None:
    (note,) = explain_student("quickstart", [*TINY, "sla.memory=900 MB"], root).notes
    assert "was made from another recipe" in note
    assert f"edgekd size quickstart --out {root}" in note


def test_a_sizing_of_another_device_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="was sized for the device generic-x86-64, the recipe names raspberry-pi-5"):
        explain_student("quickstart", [*TINY, "device=raspberry-pi-5"], root)


def test_before_the_sizing_the_roofline_explains_and_says_so(root: Path) -> None:
    for name in ("sizing.json", "students.json"):
        (root / name).unlink()
    found = explain_student("quickstart", TINY, root)
    assert {view.time.source for view in found.views} == {"roofline"}
    assert {view.memory.source for view in found.views} == {"counts"}
    assert "nothing was measured" in found.notes[0]
    assert len(found.notes) == 1
    (root / "teacher.json").unlink()
    again = explain_student("quickstart", TINY, root)
    assert again.student == found.student
    assert "taken from the recipe" in again.notes[1]


def test_where_none_fits_the_nearest_is_explained(root: Path) -> None:
    for name in ("sizing.json", "students.json"):
        (root / name).unlink()
    found = explain_student("quickstart", [*TINY, "sla.latency.p50='1 ns'"], root)
    assert found.standing == "nearest"
    assert found.views[0].levels["latency.p50"] == "missed"


def test_a_damaged_teacher_is_named(root: Path) -> None:
    for name in ("sizing.json", "students.json"):
        (root / name).unlink()
    write_json(root / "teacher.json", {"spec": 3})
    with pytest.raises(RecordError, match=r"teacher\.json: holds no teacher.*edgekd teacher quickstart"):
        explain_student("quickstart", TINY, root)


@pytest.mark.parametrize("quantity", ["latency", "memory", "size"])
def test_a_fit_of_another_version_is_an_error_for_both(root: Path, quantity: str) -> None:
    table = read_json(root / "sizing.json")
    prices = {"one": 1.0, "dreams": 2.0}
    table["fits"]["int8"][quantity] |= {"prices": prices, "terms": list(prices), "root": []}
    write_json(root / "sizing.json", table)
    for ask in ({"explain": "", "compare": None}, {"explain": None, "compare": "small"}):
        with pytest.raises(RecordError, match="found the term dreams in a fit"):
            told("quickstart", TINY, root, **ask)


@pytest.mark.parametrize(("key", "value"), [("quantity", "beauty"), ("percentile", 1.0), ("value", 0.0)])
def test_an_impossible_limit_is_an_error(root: Path, key: str, value: object) -> None:
    table = read_json(root / "sizing.json")
    table["limits"][0][key] = value
    write_json(root / "sizing.json", table)
    with pytest.raises(RecordError, match=rf"sizing\.json: found the limit .*{value}"):
        explain_student("quickstart", TINY, root)


def test_an_impossible_measurement_is_an_error(root: Path) -> None:
    table = read_json(root / "sizing.json")
    next(iter(table["measurements"].values()))["latency_s"] = -1.0
    write_json(root / "sizing.json", table)
    with pytest.raises(RecordError, match=r"sizing\.json: a latency of -1.0 s"):
        explain_student("quickstart", TINY, root)


def test_one_question_at_a_time() -> None:
    with pytest.raises(InputError, match="found both"):
        told("quickstart", TINY, None, explain="", compare="small")
    with pytest.raises(InputError, match="--json: found neither"):
        told("quickstart", TINY, None, explain=None, compare=None)


def test_the_teacher_stands_beside_its_students(whole: Path) -> None:
    found = told("quickstart", TINY, whole, explain=None, compare="chosen,teacher")
    assert isinstance(found, SideBySide)
    assert found.columns[0].student.name == read_students(whole / "students.json").chosen
    assert found.columns[1].capacity_share == 1


@pytest.mark.parametrize("argv", [("--explain",), ("--explain", "small"), ("--explain=large",)], ids=" ".join)
def test_a_student_is_explained_on_100_columns(size: Edgekd, whole: Path, argv: tuple[str, ...]) -> None:
    done = size("--out", whole, *argv)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("L1-H")
    for title in ("Where the time goes", "Where the memory goes", "What one step would buy"):
        assert sum(line.startswith(title) for line in lines) == 2, title


def test_an_option_after_explain_is_no_student(size: Edgekd, whole: Path) -> None:
    done = size("--explain", "--out", whole, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["student"] == read_students(whole / "students.json").chosen


def test_programs_read_the_same_as_json(size: Edgekd, whole: Path) -> None:
    done = size("--out", whole, "--compare", "small,medium,large,teacher", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    expected = compare_students("quickstart", TINY, whole, "small,medium,large,teacher")
    assert json.loads(done.stdout) == json.loads(json.dumps(expected.to_dict()))


def test_students_stand_side_by_side_on_100_columns(size: Edgekd, whole: Path) -> None:
    done = size("--out", whole, "--compare", "small,medium,large,chosen,teacher")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith(" parameters ") for line in lines) == 2
    assert any("small, medium and large have the least" in line for line in lines)


def test_an_unknown_student_is_a_usage_error_with_a_hint(size: Edgekd, whole: Path) -> None:
    done = size("--out", whole, "--compare", "small,L1-H16-A1-F17")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'L1-H16-A1-F16'?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_json_alone_is_a_usage_error(size: Edgekd, whole: Path) -> None:
    done = size("--out", whole, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--explain" in done.stderr


def test_a_folder_that_knows_no_teacher_names_the_command_to_run(size: Edgekd, tmp_path: Path) -> None:
    done = size("--set", "teacher={model: nobody/nothing}", "--out", tmp_path / "empty", "--explain")
    assert done.returncode == 2
    assert f"Run first: edgekd teacher quickstart --out {tmp_path / 'empty'}" in done.stderr
    assert not (tmp_path / "empty").exists()


def test_a_copied_folder_is_explained_without_its_ledger(root: Path, tmp_path: Path) -> None:
    for name in ("students.json", "sizing.json"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / "copy" / name)
    assert explain_student("quickstart", TINY, tmp_path / "copy").standing == "chosen"
