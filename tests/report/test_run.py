"""Reading a run folder: complete, cut short, damaged."""

import json
import shutil
from pathlib import Path

import pytest
from run_folder import STEPS, make_run

from edgekd.errors import InputError, RecordError
from edgekd.report.run import RunFolder, read_run


def test_a_whole_run_is_read(whole: RunFolder) -> None:
    assert whole.name == "quickstart"
    assert whole.verdict is not None
    assert [found.label for found in whole.measured] == ["teacher fp32", "student fp32", "student int8"]
    assert whole.manifest is not None
    assert len(whole.manifest.entries) == 3
    assert whole.student is not None
    assert whole.student.initialisation.layer_map == [0, 2, 5]
    assert not whole.nothing_fits


@pytest.mark.parametrize("step", STEPS)
def test_what_later_steps_leave_is_none(step: str, tmp_path: Path) -> None:
    found = read_run(make_run(tmp_path / "run", until=step, samples=20))
    done = STEPS.index(step)
    parts = (found.teacher, found.students, found.student, found.manifest, found.latency, found.verdict)
    assert [bool(part) for part in parts] == [index <= done for index in range(len(parts))]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such folder.*edgekd run"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no recipe\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("teacher.json", "[]", "no JSON object"),
        ("teacher.json", '{"schema_version": "1.0"}', "spec"),
        ("student.json", '{"schema_version": "2.0"}', "schema_version"),
        ("data.json", '{"schema_version": "2.0"}', "schema_version"),
        ("data.json", "[]", "no JSON object"),
        ("recipe.json", "{", "not valid JSON"),
        ("students.json", "{}", "no students.json"),
        ("verdict.json", "{}", "not an edgekd verdict"),
        ("records/latency-student-int8.json", '{"kind": "latency"}', "not an edgekd record"),
    ],
)
def test_a_damaged_file_is_named(name: str, text: str, message: str, run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        read_run(tmp_path / "run")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_of_schema_1_0_is_read(run_root: Path, tmp_path: Path) -> None:
    found = read_run(run_root).data
    assert found is not None
    assert found.repeated == 2
    shutil.copytree(run_root, tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    old = {name: value for name, value in json.loads(path.read_text()).items() if name != "repeated"}
    path.write_text(json.dumps({**old, "schema_version": "1.0"}))
    found = read_run(tmp_path / "run").data
    assert found is not None
    assert found.repeated == 0


def test_a_student_of_schema_1_0_is_read(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    path = tmp_path / "run" / "student.json"
    table = json.loads(path.read_text())
    later = ("validation_loss", "teacher_validation_loss", "fork", "divergence", "calibration_error", "warning")
    old = {name: value for name, value in table.items() if name not in later}
    path.write_text(json.dumps({**old, "schema_version": "1.0"}))
    found = read_run(tmp_path / "run").student
    assert found is not None
    assert found.teacher_validation_loss is None
    assert found.fork is None


def test_further_keys_of_later_versions_are_passed_over(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    path = tmp_path / "run" / "student.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "further": 1}))
    assert read_run(tmp_path / "run").student is not None


def test_data_that_nobody_looked_at_is_unknown(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    (tmp_path / "run" / "data.json").write_text('{"train": "0", "validation": "1", "test": "2"}')
    assert read_run(tmp_path / "run").data is None
    (tmp_path / "run" / "data.json").unlink()
    assert read_run(tmp_path / "run").data is None


def test_the_folder_names_a_run_without_a_recipe(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "kitchen")
    (tmp_path / "kitchen" / "recipe.json").unlink()
    assert read_run(tmp_path / "kitchen").name == "kitchen"
