"""The ledger: what is current, what has changed, and what a damaged file leads to."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import InputError, RecordError
from edgekd.pipeline.ledger import Ledger, locked


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "a.json").write_text("1")
    (tmp_path / "folder" / "deep" / "b.json").write_text("2")
    Ledger(tmp_path).record("step", "abc", [tmp_path / "a.json", tmp_path / "folder"])
    return tmp_path


def test_a_step_is_current_until_its_inputs_change(filled: Path) -> None:
    ledger = Ledger(filled)
    assert ledger.is_current("step", "abc")
    assert not ledger.is_current("step", "abd")
    assert not ledger.is_current("other", "abc")
    entry = ledger.entry("step")
    assert entry is not None
    assert set(entry.files) == {"a.json", "folder/deep/b.json"}


def test_changed_and_deleted_files_are_named(filled: Path) -> None:
    (filled / "a.json").write_text("3")
    (filled / "folder" / "deep" / "b.json").unlink()
    ledger = Ledger(filled)
    assert ledger.changed_files("step") == ["a.json", "folder/deep/b.json"]
    assert not ledger.is_current("step", "abc")


def test_a_forgotten_step_stays_forgotten(filled: Path) -> None:
    Ledger(filled).forget("step")
    assert Ledger(filled).entry("step") is None
    assert Ledger(filled).changed_files("step") == []


def test_forgetting_what_never_ran_writes_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path).forget("step")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"schema_version": "1.0", "steps"',
        "[]",
        "3",
        '{"steps": {}}',
        '{"schema_version": "9.0", "steps": {}}',
        '{"schema_version": "1.0", "steps": 3}',
        '{"schema_version": "1.0", "steps": {"size": {}}}',
        '{"schema_version": "1.0", "steps": {"size": {"inputs": "a", "files": ["x"]}}}',
        '{"schema_version": "1.0", "steps": {"size": {"inputs": "a", "files": {"../../x": "a"}}}}',
        '{"schema_version": "1.0", "steps": {"size": {"inputs": "a", "files": {"/etc/x": "a"}}}}',
    ],
)
def test_a_damaged_ledger_is_an_error_that_says_how_to_mend_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(RecordError, match=r"ledger\.json.*Remove it to run every step again") as caught:
        Ledger(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_lock_is_free_again_after_its_holder_ends_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from edgekd.pipeline.ledger import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another edgekd is running there"), locked(tmp_path):
            pytest.fail("the lock was given twice")
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").is_file()


def test_a_run_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"), locked(tmp_path / "file" / "run"):
        pytest.fail("locked a folder inside a file")
