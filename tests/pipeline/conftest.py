"""One whole run of a tiny recipe, made once; tests that change files work on a copy."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_recipe import TINY, Heard, run_tiny

from edgekd.pipeline.context import Context
from edgekd.recipe import load_recipe


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The local host works in the home folder: the tests have one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard]:
    root = tmp_path_factory.mktemp("tiny") / "run"
    outcome, heard = run_tiny(root)
    assert outcome.exit_code == 0, (root / "summary.md").read_text()
    return root, heard


@pytest.fixture(scope="session")
def whole(first_run: tuple[Path, Heard]) -> Path:
    """The run folder as it was left: read it, do not write there."""
    return first_run[0]


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run folder, to change."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def context(root: Path) -> Context:
    return Context(load_recipe("quickstart", TINY), root, Path.cwd())
