"""Which wheels fit which board, and that nobody installs a wheel that was not meant."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged_boards import pi_facts

from edgekd.errors import HostError, InputError, SecurityError
from edgekd.probe.facts import Python
from edgekd.probe.wheels import (
    LOCK_NAME,
    Wheel,
    architecture,
    choose,
    fits,
    lock_folder,
    locked_wheels,
    wheel_from_path,
)


def _python(**changed: Any) -> Python:
    return Python.model_validate({**pi_facts()["python"], **changed})


def _wheel(name: str) -> Wheel:
    return wheel_from_path(Path(name), "0" * 64)


ORT = "onnxruntime-1.24.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        (ORT, True),
        ("x-1-cp311-cp311-manylinux2014_aarch64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_36_aarch64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_37_aarch64.whl", False),
        ("x-1-cp311-cp311-manylinux_3_0_aarch64.whl", False),
        ("x-1-cp311-cp311-linux_aarch64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_17_x86_64.whl", False),
        ("x-1-cp311-cp311-musllinux_1_2_aarch64.whl", False),
        ("x-1-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("x-1-cp310-cp310-manylinux_2_17_aarch64.whl", False),
        ("x-1-cp312-cp312-manylinux_2_17_aarch64.whl", False),
        ("x-1-cp311-cp311t-manylinux_2_17_aarch64.whl", False),
        ("x-1-cp38-abi3-manylinux_2_17_aarch64.whl", True),
        ("x-1-cp312-abi3-manylinux_2_17_aarch64.whl", False),
        ("x-1-py3-none-any.whl", True),
        ("x-1-py2.py3-none-any.whl", True),
        ("x-1-py2-none-any.whl", False),
        ("x-1-py39-none-any.whl", True),
        ("x-1-py312-none-any.whl", False),
        ("x-1-py3-none-manylinux_2_17_aarch64.whl", True),
        ("x-1-1build-cp311-cp311-manylinux_2_17_aarch64.whl", True),
    ],
)
def test_a_wheel_fits_by_python_abi_libc_and_machine(name: str, fitting: bool) -> None:
    assert fits(_wheel(name), _python(), "aarch64") is fitting


@pytest.mark.parametrize(
    ("changed", "machine", "name", "fitting"),
    [
        ({"libc": "musl", "libc_version": None}, "aarch64", "x-1-cp311-cp311-musllinux_1_2_aarch64.whl", True),
        ({"libc": "musl", "libc_version": None}, "aarch64", "x-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ({"libc": "bionic", "libc_version": None}, "aarch64", ORT, False),
        ({"libc": None, "libc_version": None}, "aarch64", ORT, False),
        ({"libc_version": None}, "aarch64", ORT, False),
        ({"libc_version": "2.26"}, "aarch64", ORT, False),
        ({"libc_version": "2.27"}, "aarch64", ORT, True),
        ({"bits": 32}, "aarch64", ORT, False),
        ({"bits": 32}, "aarch64", "x-1-cp311-cp311-manylinux_2_31_armv7l.whl", True),
        ({"free_threaded": True}, "aarch64", "x-1-cp311-cp311t-manylinux_2_31_aarch64.whl", True),
        ({"free_threaded": True}, "aarch64", "x-1-cp38-abi3-manylinux_2_31_aarch64.whl", False),
        ({"implementation": "PyPy"}, "aarch64", ORT, False),
        ({"implementation": "PyPy"}, "aarch64", "x-1-py3-none-any.whl", True),
        ({}, "arm64", ORT, True),
    ],
)
def test_what_the_board_is_decides(changed: dict[str, Any], machine: str, name: str, fitting: bool) -> None:
    assert fits(_wheel(name), _python(**changed), machine) is fitting


def test_the_machine_is_called_as_wheels_call_it() -> None:
    assert architecture(_python(bits=32), "x86_64") == "i686"
    assert architecture(_python(), "AMD64") == "x86_64"


def test_the_newest_that_fits_is_chosen_and_one_for_the_board_before_a_pure_one() -> None:
    names = [
        "numpy-1.9.0-cp311-cp311-manylinux_2_17_aarch64.whl",
        "numpy-1.26.4-cp311-cp311-manylinux_2_17_aarch64.whl",
        "numpy-2.0.0-cp312-cp312-manylinux_2_17_aarch64.whl",
        "Some_Thing-1.0-py3-none-any.whl",
        "some.thing-1.0-py3-none-manylinux_2_17_aarch64.whl",
        "some_thing-1.0rc1-py3-none-any.whl",
    ]
    chosen = choose([_wheel(name) for name in names], _python(), "aarch64", "pi")
    assert [wheel.path.name for wheel in chosen] == [names[1], names[4]]


@pytest.mark.parametrize(
    ("changed", "machine", "said"),
    [
        (
            {},
            "x86_64",
            "Expected cp311 or py3 for linux x86_64 with glibc 2.36. Where there is a network: pip download",
        ),
        ({"bits": 32}, "armv7l", "publish no wheels of 32 bits, so install a 64-bit system there"),
        (
            {"libc": "musl", "libc_version": None},
            "aarch64",
            "C library is musl, for which onnxruntime publishes no wheels",
        ),
        ({"libc": "bionic", "libc_version": None}, "aarch64", "C library is bionic (Android), for which onnxruntime"),
        ({"libc": None, "libc_version": None}, "aarch64", "an unknown C library"),
    ],
)
def test_a_board_without_wheels_is_told_what_it_is(changed: dict[str, Any], machine: str, said: str) -> None:
    with pytest.raises(HostError) as caught:
        choose([_wheel(ORT), _wheel("x-1-py3-none-any.whl")], _python(**changed), machine, "pi")
    message = str(caught.value)
    assert message.startswith(f"pi: no wheel fits of onnxruntime (found {ORT})")
    assert said in message
    assert "x (" not in message


def test_this_python_would_be_given_wheels_of_its_own() -> None:
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert own.removeprefix("cp") in (sysconfig.get_config_var("SOABI") or "")
    python = _python(version=f"{sys.version_info[0]}.{sys.version_info[1]}.0")
    assert fits(_wheel(f"x-1-{own}-{own}-manylinux_2_17_aarch64.whl"), python, "aarch64")


def _folder(tmp_path: Path) -> Path:
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"a")
    (tmp_path / ORT).write_bytes(b"ort")
    lock_folder(tmp_path)
    return tmp_path


def test_a_locked_folder_gives_its_wheels(tmp_path: Path) -> None:
    found = locked_wheels(_folder(tmp_path))
    assert [(wheel.project, wheel.version) for wheel in found] == [("a", "1"), ("onnxruntime", "1.24.0")]
    assert len({wheel.sha256 for wheel in found}) == 2


def test_a_wheel_that_changed_or_appeared_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "a-1-py3-none-any.whl").write_bytes(b"b")
    with pytest.raises(SecurityError, match="is not the file that was locked"):
        locked_wheels(folder)
    (folder / "a-1-py3-none-any.whl").write_bytes(b"a")
    (folder / "evil-9-py3-none-any.whl").write_bytes(b"e")
    with pytest.raises(SecurityError, match=r"evil-9-py3-none-any.whl is not in edgekd-wheels.lock.json"):
        locked_wheels(folder)


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        lock_folder(tmp_path / "none")
    with pytest.raises(InputError, match="there is a network: pip download"):
        lock_folder(tmp_path)
    (tmp_path / "a.whl").write_bytes(b"a")
    with pytest.raises(InputError, match="is not named as a wheel is"):
        lock_folder(tmp_path)
    (tmp_path / "a.whl").rename(tmp_path / "a-1-py3-none-any.whl")
    with pytest.raises(InputError, match="is missing, so nobody has said which wheels are meant"):
        locked_wheels(tmp_path)
    lock = lock_folder(tmp_path)
    (tmp_path / "b-1-py3-none-any.whl").write_bytes(b"b")
    lock_folder(tmp_path)
    (tmp_path / "b-1-py3-none-any.whl").unlink()
    with pytest.raises(InputError, match="is locked and missing"):
        locked_wheels(tmp_path)
    for text, said in (("{", "is not valid JSON"), ("{}", "wheels: Field required")):
        lock.write_text(text)
        with pytest.raises(InputError, match=said):
            locked_wheels(tmp_path)
    lock.write_text(json.dumps({"format": 1, "wheels": [{"file": "../x.whl", "sha256": "0" * 64, "size_bytes": 1}]}))
    with pytest.raises(SecurityError, match=LOCK_NAME):
        locked_wheels(tmp_path)


@given(st.text(max_size=80) | st.from_regex(r"[\w.]{1,9}(-[\w.]{1,9}){4,5}\.whl", fullmatch=True))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_name_is_a_wheel_that_fits_or_not_or_a_typed_error(name: str) -> None:
    try:
        wheel = wheel_from_path(Path(f"x/{name.replace('/', '')}"), "0" * 64)
    except InputError:
        return
    assert fits(wheel, _python(), "aarch64") in {True, False}
    assert wheel.order >= ((), False)
