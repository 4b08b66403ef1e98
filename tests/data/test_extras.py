from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.data.extras import library
from edgekd.errors import MissingExtra


def test_library_that_is_installed_is_given() -> None:
    import numpy as np

    assert library("numpy") is np


def test_library_that_is_missing_is_asked_for_by_its_extra() -> None:
    with pytest.raises(MissingExtra, match=r"needs no_such_library_at_all.*edgekd\[train\]"):
        library("no_such_library_at_all.inner")


def test_library_that_itself_misses_another_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_library_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
        library("half_installed")


def test_package_asks_for_numpy_where_it_is_missing() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from edgekd.errors import MissingExtra\n"
        "try:\n    import edgekd.data.sources\n"
        "except MissingExtra as error:\n    sys.exit(0 if error.module == 'numpy' else 1)\n"
        "sys.exit(2)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_reading_and_cutting_a_table_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"t{row},{row % 2}\n" for row in range(20)))
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None; sys.modules['datasets'] = None\n"
        "from edgekd.data.sources import load_splits\n"
        "from edgekd.recipe import Data\n"
        "sys.exit(0 if len(load_splits(Data(source=sys.argv[1])).train) == 14 else 1)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False).returncode == 0
