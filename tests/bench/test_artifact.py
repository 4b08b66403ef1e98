from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from edgekd.bench.artifact import artifact_from_file
from edgekd.errors import InputError
from edgekd.files import sha256_of_file


def test_artifact_is_named_by_the_hash_of_its_file(classifier: Path) -> None:
    artifact = artifact_from_file(classifier, precision="fp32", role="student")
    assert (artifact.name, artifact.precision, artifact.role) == ("tiny", "fp32", "student")
    assert artifact.sha256 == sha256_of_file(classifier)
    assert artifact.size_bytes == classifier.stat().st_size


def test_name_can_be_given(classifier: Path) -> None:
    assert artifact_from_file(classifier, name="student-a").name == "student-a"


def test_model_cut_short_anywhere_is_an_input_error(classifier: Path, tmp_path: Path) -> None:
    data = classifier.read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (*range(1, 40), len(data) // 2, len(data) - 5, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            artifact_from_file(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="ends too early"):
        artifact_from_file(path)


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02.")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"model weights go here\n", "no ONNX model"),
        (b"\x80\x04\x95\x00\x00\x00.", "no ONNX model"),
        (b"\0" * 1000, "no ONNX model"),
        (b"\xff" * 1000, "no ONNX model"),
        (b"\x1b[2J\x1b]0;owned\x07", "no ONNX model"),
        (_zip(), "no ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    ],
)
def test_file_that_is_no_model_is_an_input_error_that_says_so(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        artifact_from_file(path)
    assert "\x1b" not in str(caught.value)


def test_missing_file_and_folder_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        artifact_from_file(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="folder"):
        artifact_from_file(tmp_path)
