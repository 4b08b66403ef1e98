"""Which wheels of a folder fit a board, and a lock file that says what each of them is.

Source of names and tags: the Python packaging specifications, binary distribution format and platform compatibility
tags (PEP 425, 427, 600, 656). Only what boards need is known here: CPython on Linux, and wheels in pure Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from edgekd.config import Model
from edgekd.errors import HostError, InputError, RecordError, SecurityError
from edgekd.files import read_json, sha256_of_file, write_json
from edgekd.probe.facts import Python
from edgekd.record import Sha256
from edgekd.text import listing, printable

LOCK_NAME = "edgekd-wheels.lock.json"
MOST_WHEELS = 200
_TAG = r"[A-Za-z0-9_.]{1,100}"
_WHEEL = re.compile(
    rf"([A-Za-z0-9_.]{{1,100}})-([A-Za-z0-9_.!+]{{1,60}})(-\d[A-Za-z0-9_.]*)?-({_TAG})-({_TAG})-({_TAG})\.whl"
)
_MANYLINUX = re.compile(r"manylinux_(\d{1,2})_(\d{1,3})_(\w+)")
_OLD_MANYLINUX = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}  # the glibc 2.x of each: PEP 600
_NUMBER = re.compile(r"\d{1,9}")
# What machines call themselves, and what wheels call them.
_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


class LockedWheel(Model):
    """One file of the folder."""

    file: Annotated[str, Field(max_length=300)]
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]


class WheelLock(Model):
    """What the folder held when it was locked."""

    format: Literal[1] = 1
    wheels: Annotated[list[LockedWheel], Field(min_length=1, max_length=MOST_WHEELS)]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel and what its name says: the project in its normal spelling, and its tags."""

    path: Path
    sha256: str
    project: str
    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    @property
    def order(self) -> tuple[tuple[int, ...], bool]:
        """The larger, the newer; what comes after the numbers makes a version older, as rc1 does."""
        release = re.match(r"[\d.]*", self.version.rpartition("!")[2])
        text = release[0] if release else ""
        numbers = tuple(int(part) for part in _NUMBER.findall(text))
        return numbers, not re.search(r"(a|b|rc|dev)\d", self.version)


def lock_folder(folder: Path) -> Path:
    """Write down what the folder holds now; the lock file. Errors: InputError when there is no wheel in it."""
    files = _wheel_files(folder)
    wheels = [
        LockedWheel(file=path.name, sha256=sha256_of_file(path), size_bytes=path.stat().st_size) for path in files
    ]
    target = folder / LOCK_NAME
    write_json(target, WheelLock(wheels=wheels).model_dump(mode="json"))
    return target


def _wheel_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected one with wheels")
    files = sorted(folder.glob("*.whl"))
    if not files:
        raise InputError(
            f"{folder}: holds no wheel. Fill it where there is a network: pip download --only-binary :all: "
            f"--platform manylinux_2_28_aarch64 --python-version 3.11 --no-deps -d {folder} onnxruntime numpy"
        )
    if len(files) > MOST_WHEELS:
        raise InputError(f"{folder}: holds {len(files)} wheels, expected at most {MOST_WHEELS}")
    for path in files:
        if _WHEEL.fullmatch(path.name) is None:
            raise InputError(f"{path}: is not named as a wheel is, NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
    return files


def locked_wheels(folder: Path) -> list[Wheel]:
    """Every wheel of the lock file, verified.

    Errors: InputError without a lock file, or with one that is damaged or names a missing wheel; SecurityError for a
    wheel that is not what was locked, or that nobody locked.
    """
    path = folder / LOCK_NAME
    if folder.is_dir() and not path.exists():
        raise InputError(f"{path}: is missing, so nobody has said which wheels are meant. Make it: add --lock")
    files = {file.name: file for file in _wheel_files(folder)}
    try:
        lock = WheelLock.model_validate(read_json(path))
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {place}: {first['msg']}. Make it again: add --lock") from None
    except RecordError as error:
        raise InputError(f"{error}. Make it again: add --lock") from None
    unknown = sorted(set(files) - {wheel.file for wheel in lock.wheels})
    if unknown:
        raise SecurityError(f"{folder}: {unknown[0]} is not in {LOCK_NAME}. If it is meant to be there: add --lock")
    found = []
    for entry in lock.wheels:
        if entry.file not in files:
            raise InputError(
                f"{folder}: {printable(entry.file, 120)} is locked and missing. Put it back, or add --lock"
            )
        if sha256_of_file(files[entry.file]) != entry.sha256:
            raise SecurityError(
                f"{files[entry.file]}: is not the file that was locked (another SHA-256). "
                "Find out why before you lock it again with --lock"
            )
        found.append(wheel_from_path(files[entry.file], entry.sha256))
    return found


def wheel_from_path(path: Path, sha256: str) -> Wheel:
    """What the name of the wheel says. Errors: InputError for another name."""
    match = _WHEEL.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: is not named as a wheel is, NAME-VERSION-PYTHON-ABI-PLATFORM.whl")
    name, version, _build, pythons, abis, platforms = match.groups()
    project = re.sub(r"[-_.]+", "-", name).lower()
    return Wheel(
        path, sha256, project, version, tuple(pythons.split(".")), tuple(abis.split(".")), tuple(platforms.split("."))
    )


def fits(wheel: Wheel, python: Python, machine: str) -> bool:
    """Whether the wheel runs under that interpreter on that machine."""
    return (
        any(_python_fits(tag, abi, python) for tag in wheel.pythons for abi in wheel.abis)
        and any(_platform_fits(tag, python, architecture(python, machine)) for tag in wheel.platforms)
    )  # fmt: skip


def architecture(python: Python, machine: str) -> str:
    """The machine as wheels call it; a 32-bit Python on a 64-bit kernel needs wheels of 32 bits."""
    name = _ARCHITECTURES.get(machine.lower(), machine.lower())
    if python.bits == 32:
        return {"aarch64": "armv7l", "x86_64": "i686"}.get(name, name)
    return name


def _python_fits(tag: str, abi: str, python: Python) -> bool:
    major, minor = python.number
    own = f"cp{major}{minor}"
    if abi == "none":
        return tag in {f"py{major}", own, f"py{major}{minor}"} or (tag[:3] == "py3" and _older(tag[3:], minor))
    if python.implementation != "CPython":
        return False
    if abi == "abi3":
        return not python.free_threaded and tag[:3] == "cp3" and _older(tag[3:], minor)
    return tag == own and abi == own + ("t" if python.free_threaded else "")


def _older(text: str, minor: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= minor


def _platform_fits(tag: str, python: Python, machine: str) -> bool:
    if tag == "any":
        return True
    if python.libc == "glibc":
        version = [int(part) for part in _NUMBER.findall(python.libc_version or "")[:2]]
        known = (version[0], version[1]) if len(version) == 2 else (0, 0)
        match = _MANYLINUX.fullmatch(tag)
        if match is not None:
            return match[3] == machine and (int(match[1]), int(match[2])) <= known
        old, _, rest = tag.partition("_")
        return tag == f"linux_{machine}" or (
            old in _OLD_MANYLINUX and rest == machine and (2, _OLD_MANYLINUX[old]) <= known
        )
    # The version of musl is not told by the board; those since 2018 are all 1.2 or keep its interface.
    return python.libc == "musl" and re.fullmatch(rf"musllinux_1_[012]_{re.escape(machine)}", tag) is not None


def choose(wheels: Sequence[Wheel], python: Python, machine: str, where: str) -> list[Wheel]:
    """Of each project the newest wheel that fits, built for the board rather than pure.

    Errors: HostError naming every project of which no wheel fits, and what the board is.
    """
    chosen, missing = [], []
    for project in sorted({wheel.project for wheel in wheels}):
        own = [wheel for wheel in wheels if wheel.project == project]
        fitting = [wheel for wheel in own if fits(wheel, python, machine)]
        if fitting:
            chosen.append(max(fitting, key=lambda wheel: (wheel.order, wheel.platforms != ("any",), wheel.path.name)))
        else:
            found = listing((printable(wheel.path.name, 120) for wheel in own), 3)
            missing.append(f"{project} (found {found})")
    if missing:
        raise HostError(f"{where}: no wheel fits of {'; '.join(missing)}. {needed(python, machine)}")
    return chosen


def needed(python: Python, machine: str) -> str:
    """What a wheel for the board is called, and where there can be none."""
    major, minor = python.number
    name = architecture(python, machine)
    if python.libc == "glibc":
        version = (python.libc_version or "2.17").replace(".", "_")
        text = f"Expected cp{major}{minor} or py3 for linux {name} with glibc {python.libc_version or 'unknown'}"
        if python.bits == 32:
            return f"{text}; onnxruntime and many others publish no wheels of 32 bits, so install a 64-bit system there"
        options = (
            f"--only-binary :all: --no-deps --python-version {major}.{minor} --platform manylinux_{version}_{name}"
        )
        return f"{text}. Where there is a network: pip download {options} PROJECT"
    libc = {"musl": "musl", "bionic": "bionic (Android)"}.get(python.libc or "", "an unknown C library")
    return (
        f"The board's C library is {libc}, for which onnxruntime publishes no wheels; "
        "use a system with glibc on it, or build a wheel there and put it into the folder"
    )
