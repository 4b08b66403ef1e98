"""A lab of the tests' own, whose userland is that of the checkout, so that it is built once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import boards
from tests.lab.lab import NAMES, Lab, usual_lab
from tests.lab.model import tiny_int8

REQUIRED = os.environ.get("EDGEKD_LAB") == "required"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_int8(tmp_path_factory.mktemp("model") / "tiny-int8.onnx")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab without boards; those that a test starts are ended after it."""
    own = Lab(tmp_path / "lab", usual_lab().trees)
    yield own
    for name in NAMES:
        own.down(name)


@pytest.fixture
def emulated_lab(lab: Lab) -> Lab:
    """A lab on a machine that can run emulated boards; where EDGEKD_LAB=required, another one is a failure."""
    if lacking := boards.missing():
        reason = f"no emulated boards here: {'; '.join(lacking)}"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    return lab
