from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import InputError, SecurityError
from edgekd.hosts.secret import Secret, is_reference


def test_secret_is_fetched_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_WORD", "hunter2")
    assert Secret("env:PI_WORD", tmp_path).value() == "hunter2"
    (tmp_path / "word").write_text("sesame\n")
    (tmp_path / "word").chmod(0o600)
    assert Secret("file:word", tmp_path).value() == "sesame"
    assert Secret(f"file:{tmp_path}/word", Path("/elsewhere")).value() == "sesame"


@pytest.mark.parametrize("text", ["", "hunter2", "env:", "env:A B", "file:", "env:X\n", "file:a\nb", "ENV:X"])
def test_anything_but_a_reference_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    assert not is_reference(text)
    with pytest.raises(InputError, match="in plain words") as caught:
        Secret(text, tmp_path)
    assert "hunter2" not in str(caught.value)


def test_secret_is_in_no_form_of_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_WORD", "hunter2")
    secret = Secret("env:PI_WORD", tmp_path)
    secret.value()
    assert "hunter2" not in f"{secret!r} {secret}"


def test_missing_or_empty_secret_says_how_to_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_WORD", "")
    with pytest.raises(InputError, match="export PI_WORD="):
        Secret("env:PI_WORD", tmp_path).value()
    with pytest.raises(InputError, match="no such file"):
        Secret("file:absent", tmp_path).value()


@pytest.mark.parametrize("data", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_file_that_is_not_one_line_of_text_is_refused_unseen(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(data)
    (tmp_path / "word").chmod(0o600)
    with pytest.raises(InputError, match="one line of text") as caught:
        Secret("file:word", tmp_path).value()
    assert "two" not in str(caught.value)


def test_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("sesame")
    (tmp_path / "word").chmod(0o640)
    with pytest.raises(SecurityError, match="chmod 600") as caught:
        Secret("file:word", tmp_path).value()
    assert "sesame" not in str(caught.value)
