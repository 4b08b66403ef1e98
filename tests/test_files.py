"""Files are written whole or not at all, and read back without trust."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekd import files
from edgekd.errors import InputError, RecordError, StorageError


def test_json_round_trips_and_equal_values_are_equal_files(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "ü"]})
    files.write_json(tmp_path / "b.json", {"a": [1.5, "ü"], "b": 1})
    assert files.read_json(tmp_path / "a.json") == {"a": [1.5, "ü"], "b": 1}
    assert files.sha256_of_file(tmp_path / "a.json") == files.sha256_of_file(tmp_path / "b.json")


def test_nothing_is_left_beside_a_written_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "deep" / "a.txt", "x")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    kept = ["a.txt", ".hidden.part", "mine.part", ".a.txt.abc.part"]
    for name in kept:
        (tmp_path / name).write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            files.write_text(tmp_path / "deep" / "a.txt", "y")
    assert len(list((tmp_path / "deep").iterdir())) == 1
    files.remove_unfinished(tmp_path)
    assert list((tmp_path / "deep").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "deep"])


@pytest.mark.parametrize(
    ("name", "litter"),
    [
        ("Thumbs.db", True),
        ("__MACOSX", True),
        (".DS_Store", True),
        ("._a.png", True),
        (".a.png", False),
        ("a.db", False),
    ],
)
def test_what_systems_leave_behind_is_known_by_name(name: str, litter: bool) -> None:
    assert files.is_litter(name) is litter


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be stored"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": ', ":1: is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "cannot be read"),
    ],
)
def test_bad_json_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RecordError, match="UTF-8"):
        files.json_from_bytes(b"\xff\xfe", where="x")


def test_missing_folder_and_too_long_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="this is a folder"):
        files.read_json(tmp_path)
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(InputError, match="longer than 10 bytes"):
        files.read_bytes(tmp_path / "long", max_bytes=10)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        files.write_text(tmp_path / "a" / "b.txt", "x")


def test_no_permission_and_full_disk_are_told_apart(tmp_path: Path) -> None:
    denied = files.write_error(tmp_path, PermissionError(13, "denied"))
    full = files.write_error(tmp_path, OSError(28, "No space left on device"))
    assert isinstance(denied, InputError)
    assert isinstance(full, StorageError)
    assert "disk is full" in str(full)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root to mount a tiny disk")
def test_a_really_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from edgekd.files import write_text; from edgekd.errors import StorageError\n"
        "path = Path('disk/a.txt'); write_text(path, 'old')\n"
        "try:\n    write_text(path, 'x' * 3_000_000)\n"
        "except StorageError as error:\n    print(error)\n"
        "print(path.read_text(), sorted(p.name for p in Path('disk').iterdir()))\n"
    )
    script = f"mkdir disk && mount -t tmpfs -o size=1m none disk && '{os.sys.executable}' -c \"{code}\""  # type: ignore[attr-defined]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parent.parent)},
    )  # fmt: skip
    if "mount" in done.stderr and done.returncode != 0:
        pytest.skip(f"this machine may not mount: {done.stderr.strip()}")
    assert "the disk is full" in done.stdout, done.stderr
    assert "old ['a.txt']" in done.stdout
