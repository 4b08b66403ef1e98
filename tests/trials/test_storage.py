from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from edgekd.errors import InputError, StorageError
from edgekd.trials.storage import KernelLock, Place, opened, place_of, storage_errors

SECRET = "geheimnis"


def test_the_default_is_a_journal_in_the_run_folder(tmp_path: Path) -> None:
    assert place_of(None, tmp_path, tmp_path / "j").journal == tmp_path / "j"
    assert place_of("shared/j", tmp_path, Path("x")).journal == tmp_path / "shared" / "j"


def test_a_url_is_found_in_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://me:{SECRET}@board/trials"
    monkeypatch.setenv("TRIALS_URL", url)
    (tmp_path / "url").write_text(url + "\n")
    for reference in ("env:TRIALS_URL", "file:url"):
        place = place_of(reference, tmp_path, Path("x"))
        assert place.url == f"postgresql+psycopg://me:{SECRET}@board/trials"
        assert SECRET not in repr(place)
        assert reference in place.shown
    assert place_of("postgresql://board/trials", tmp_path, Path("x")).url == "postgresql+psycopg://board/trials"


@pytest.mark.parametrize("held", [f"mysql://me:{SECRET}@board/x", SECRET, "postgresql://", ""])
def test_what_is_no_url_is_refused_without_being_repeated(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIALS_URL", held)
    with pytest.raises(InputError, match=r"search\.storage") as caught:
        place_of("env:TRIALS_URL", tmp_path, Path("x"))
    assert SECRET not in str(caught.value)


def test_a_missing_variable_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NOT_THERE is not set"):
        place_of("env:NOT_THERE", tmp_path, Path("x"))
    with pytest.raises(InputError, match="no such file"):
        place_of("file:none", tmp_path, Path("x"))


def test_a_database_that_does_not_answer_is_an_error_without_the_password() -> None:
    place = Place("the database in env:X", url=f"postgresql+psycopg://me:{SECRET}@127.0.0.1:9/trials?connect_timeout=2")
    with pytest.raises(StorageError, match="the database in env:X cannot be used") as caught, opened(place):
        pass
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_password_is_not_repeated(server: Any) -> None:
    place = Place("it", url=server.url.replace(server.password, SECRET).replace("postgresql:", "postgresql+psycopg:"))
    with pytest.raises(StorageError, match="password authentication failed") as caught, opened(place):
        pass
    assert SECRET not in str(caught.value)


def test_a_line_that_was_cut_off_does_not_spoil_the_journal(tmp_path: Path) -> None:
    place = Place("j", tmp_path / "j")
    with opened(place) as storage:
        optuna.create_study(study_name="one", storage=storage)
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + b'{"op_code":0,"worker')
    with opened(place) as storage:
        assert optuna.get_all_study_names(storage) == ["one"]
        optuna.create_study(study_name="two", storage=storage)
    with opened(place) as storage:
        assert sorted(optuna.get_all_study_names(storage)) == ["one", "two"]


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("these are\nno trials\n")
    with pytest.raises(StorageError, match="holds what is no trial of edgekd"), opened(Place("j", tmp_path / "j")):
        pass


def test_a_journal_nobody_may_write_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="a file stands where a folder is needed"),
        opened(Place("j", tmp_path / "file" / "j")),
    ):
        pass


def test_errors_that_are_not_the_storages_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), storage_errors(Place("j", Path("j"))):
        raise ZeroDivisionError


def test_the_lock_of_a_killed_holder_is_free_at_once(tmp_path: Path) -> None:
    code = "import sys, time, pathlib\nfrom edgekd.trials.storage import KernelLock\n"
    code += "KernelLock(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    begun = time.monotonic()
    lock = KernelLock(tmp_path / "lock")
    assert lock.acquire()
    lock.release()
    assert time.monotonic() - begun < 1
