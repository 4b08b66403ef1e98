"""The steps in order: what is made, what is not made again, and what is left when a run ends early."""

import platform
import shutil
from pathlib import Path

import pytest
from tiny_recipe import TINY, Heard, hashes, run_tiny, snapshot

from edgekd.errors import InputError, ProfileError, RecordError
from edgekd.files import read_json
from edgekd.pipeline.ledger import Ledger, locked
from edgekd.pipeline.run import AFTER_CHOICE, STEPS, describe, plan
from edgekd.recipe import BUILTIN

NAMES = [step.name for step in STEPS]
MODELS = ["teacher/model.safetensors", "student/model.safetensors"]
IMPOSSIBLE = "sla.latency.p50=1 us"


def test_a_run_that_a_launcher_started_several_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a launcher started 2 processes, expected one"):
        run_tiny(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_every_file_of_the_data_flow(whole: Path) -> None:
    for name in (
        "recipe.json", "teacher.json", "students.json", "sizing.json", "student.json", "artifacts/manifest.json",
        "verdict.json", "junit.xml", "summary.md", "report.html", "ledger.json", *MODELS,
    ):  # fmt: skip
        assert (whole / name).stat().st_size > 0, name
    onnx = {path.stem for path in (whole / "artifacts").glob("*.onnx")}
    assert onnx == {"teacher-fp32", "student-fp32", "student-int8"}
    records = {path.stem for path in (whole / "records").glob("*.json")}
    assert records == {f"{kind}-{name}" for kind in ("accuracy", "latency") for name in onnx}
    assert len(list((whole / "calibration").glob("*.json"))) >= 6
    assert list((whole / "cache").glob("*/cache.json"))


def test_a_run_leaves_no_scratch_and_no_half_written_file(whole: Path) -> None:
    assert [path.name for path in (whole / "work").iterdir() if path.is_dir()] == []
    assert list(whole.rglob("*.part")) == []


def test_a_run_removes_what_a_kill_left_half_written(root: Path) -> None:
    left = root / "records" / ".latency-x.json.abcd_123.part"
    left.write_text("{")
    run_tiny(root)
    assert not left.exists()


def test_every_step_ran_in_order_and_said_what_came_of_it(first_run: tuple[Path, Heard]) -> None:
    _, heard = first_run
    assert heard.ran == NAMES
    assert heard.current == []
    assert all(heard.summaries[name] for name in NAMES)


def test_a_second_run_changes_nothing(whole: Path) -> None:
    before = snapshot(whole)
    outcome, heard = run_tiny(whole)
    assert outcome.exit_code == 0
    assert heard.ran == []
    assert heard.said == []
    assert snapshot(whole) == before


def test_a_run_from_another_folder_and_a_recipe_file_changes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Path(shutil.copy(BUILTIN / "quickstart.yaml", tmp_path / "mine.yaml"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = snapshot(root)
    _, heard = run_tiny(Path("..") / root.name, name=str(recipe))
    assert heard.ran == []
    assert snapshot(root) == before


def test_another_limit_sizes_and_judges_again_without_training_or_measuring(root: Path) -> None:
    kept = [*MODELS, *(str(path.relative_to(root)) for path in root.glob("calibration/*"))]
    before = snapshot(root)
    outcome, heard = run_tiny(root, "sla.latency.p50=60 ms")
    assert outcome.exit_code == 0
    assert heard.ran == ["size", "gate", "report"]
    assert {name: snapshot(root)[name] for name in kept} == {name: before[name] for name in kept}
    assert not [text for text in heard.said if text.startswith("measuring")]


def test_another_temperature_distils_again_and_keeps_teacher_choice_and_cache(root: Path) -> None:
    before = snapshot(root)
    _, heard = run_tiny(root, "distill.temperature=2.0")
    assert heard.ran == ["distill", "export", "bench", "gate", "report"]
    after = snapshot(root)
    same = [name for name in before if name.startswith(("teacher", "students.json", "sizing", "calibration", "cache"))]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["student/model.safetensors"][1] != before["student/model.safetensors"][1]


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_damaged_artifact_is_exported_again_alike(root: Path, damage: str) -> None:
    path = root / "artifacts" / "student-int8.onnx"
    digest = hashes(root, ["artifacts/student-int8.onnx"])
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    _, heard = run_tiny(root)
    assert "export" in heard.ran
    assert not {"teacher", "size", "distill"} & set(heard.ran)
    assert hashes(root, ["artifacts/student-int8.onnx"]) == digest


def test_a_deleted_page_is_written_again_and_nothing_else(root: Path) -> None:
    page = (root / "report.html").read_bytes()
    (root / "report.html").unlink()
    _, heard = run_tiny(root)
    assert heard.ran == ["report"]
    assert (root / "report.html").read_bytes() == page


def test_a_plan_writes_nothing_and_says_what_would_run(root: Path, tmp_path: Path) -> None:
    before = snapshot(root)
    assert {state for _, state in plan("quickstart", TINY, root).steps} == {"unchanged"}
    changed = dict(plan("quickstart", [*TINY, "distill.temperature=2.0"], root).steps)
    assert (changed["size"], changed["distill"]) == ("unchanged", "run")
    assert changed["export"] == "run if the steps before it change its inputs"
    assert snapshot(root) == before
    empty = plan("quickstart", TINY, tmp_path / "none")
    assert dict(empty.steps) == dict.fromkeys(NAMES, "run")
    assert not (tmp_path / "none").exists()
    text = describe(empty)
    assert str(tmp_path / "none") in text
    assert '"name": "tiny"' in text


@pytest.mark.parametrize(("step", "first"), [("size", "teacher"), ("distill", "teacher"), ("export", "teacher")])
def test_a_step_without_those_before_it_names_the_command(step: str, first: str, tmp_path: Path) -> None:
    out = tmp_path / "empty"
    with pytest.raises(InputError, match=f"Run first: edgekd {first} quickstart --out {out}$"):
        run_tiny(out, only=step)
    assert not (out / step).exists()
    assert Ledger(out).entry(step) is None


def test_one_step_alone_leaves_the_others_as_they_are(root: Path) -> None:
    outcome, heard = run_tiny(root, only="size")
    assert (outcome.exit_code, heard.ran, heard.current) == (0, [], ["size"])


def test_a_second_run_in_the_same_folder_is_refused(whole: Path) -> None:
    with locked(whole), pytest.raises(InputError, match="another edgekd is running there"):
        run_tiny(whole)
    assert run_tiny(whole)[1].ran == []


def test_a_damaged_ledger_is_named_with_the_way_out(root: Path) -> None:
    (root / "ledger.json").write_text('{"steps": ')
    with pytest.raises(RecordError, match=r"ledger.json:1: is not valid JSON .*Remove it to run every step again"):
        run_tiny(root)
    with pytest.raises(RecordError, match="Remove it"):
        plan("quickstart", TINY, root)


def test_an_unknown_device_is_an_error_before_any_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="Did you mean 'raspberry-pi-5'"):
        run_tiny(tmp_path / "run", "device=raspbery-pi-5")
    assert not (tmp_path / "run").exists()


def test_a_sla_that_no_student_keeps_is_a_missed_one_and_leaves_no_verdict(root: Path) -> None:
    outcome, heard = run_tiny(root, IMPOSSIBLE)
    assert outcome.exit_code == 1
    assert heard.ran == ["size", "report"]
    assert read_json(root / "students.json")["chosen"] is None
    assert (root / "report.html").is_file()
    for name in ("verdict.json", "junit.xml", "summary.md", "student", "student.json", "artifacts"):
        assert not (root / name).exists(), name
    assert list((root / "records").glob("*.json")) == []
    before = snapshot(root)
    assert {dict(plan("quickstart", [*TINY, IMPOSSIBLE], root).steps)[step] for step in AFTER_CHOICE} == {
        "left out: no student fits"
    }
    assert run_tiny(root, IMPOSSIBLE)[1].ran == []
    assert snapshot(root) == before


def test_a_mended_sla_finds_the_trained_student_again(root: Path) -> None:
    files = [*MODELS, "student.json", "students.json"]
    before = hashes(root, files)
    run_tiny(root, IMPOSSIBLE)
    outcome, heard = run_tiny(root)
    assert outcome.exit_code == 0
    assert heard.ran == ["size", "report"]
    assert hashes(root, files) == before


def test_a_student_that_was_trained_and_not_yet_judged_is_found_again(root: Path) -> None:
    shutil.rmtree(root / "attempts")
    (root / "attempts.json").unlink()
    for step in ("export", "bench", "gate"):
        Ledger(root).forget(step)
    before = hashes(root, MODELS)
    run_tiny(root, IMPOSSIBLE)
    _, heard = run_tiny(root)
    assert heard.ran == ["size", "distill", "export", "bench", "gate", "report"]
    assert not [text for text in heard.said if text.startswith(("distilling", "asking"))]
    assert hashes(root, MODELS) == before


def test_what_a_killed_step_left_does_not_survive_a_sla_that_nobody_keeps(root: Path) -> None:
    for step in AFTER_CHOICE:
        Ledger(root).forget(step)
    run_tiny(root, IMPOSSIBLE)
    assert not (root / "verdict.json").exists()
    assert not (root / "student.json").exists()


def test_the_rest_of_a_finished_step_is_not_taken_for_its_result(root: Path) -> None:
    entry = Ledger(root).entry("distill")
    assert entry is not None
    rest = root / "work" / f"distill-{entry.inputs[:16]}"
    rest.mkdir()
    shutil.copy(root / "student.json", rest / "result.json")
    digest = hashes(root, MODELS)
    shutil.rmtree(root / "attempts")
    (root / "student" / "model.safetensors").unlink()
    _, heard = run_tiny(root)
    assert heard.ran == ["distill", "report"]
    assert hashes(root, MODELS) == digest


def test_a_lost_student_is_put_back_from_its_attempt(root: Path) -> None:
    digest = hashes(root, MODELS)
    shutil.rmtree(root / "student")
    _, heard = run_tiny(root)
    assert heard.ran == []
    assert hashes(root, MODELS) == digest


def test_a_run_in_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        run_tiny(tmp_path / "file")


def test_the_run_folder_keeps_the_access_rights_of_the_user(whole: Path) -> None:
    assert (whole / "verdict.json").stat().st_mode & 0o777 == 0o644


def test_a_step_named_again_runs_although_nothing_has_changed(root: Path) -> None:
    before = read_json(root / "records" / "latency-student-fp32.json")["created_utc"]
    choice = hashes(root, ["students.json", "student/model.safetensors"])
    _, heard = run_tiny(root, again=["bench"])
    assert "bench" in heard.ran
    assert {"teacher", "size", "distill", "export"} <= set(heard.current)
    assert read_json(root / "records" / "latency-student-fp32.json")["created_utc"] != before
    assert hashes(root, ["students.json", "student/model.safetensors"]) == choice
    with pytest.raises(InputError, match="--again benhc: no such step"):
        run_tiny(root, again=["benhc"])


def test_a_host_that_is_not_the_device_is_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    other = "raspberry-pi-5" if platform.machine() == "x86_64" else "generic-x86-64"
    with pytest.raises(InputError, match=r"its processor is .* the device"):
        run_tiny(tmp_path / "run", f"device={other}")
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_step_alone_does_not_build_on_what_another_recipe_asked_for(root: Path) -> None:
    with pytest.raises(InputError, match=r"the step teacher is not up to date .* Run first: edgekd teacher"):
        run_tiny(root, "teacher.fine_tune.seed=5", only="distill")
