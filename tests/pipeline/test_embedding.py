"""A whole run of the task sentence-embedding, from the recipe to the verdict and the page."""
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import Heard
from tiny_sentences import write_recipe

from edgekd.files import read_json
from edgekd.pipeline.run import run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Heard, str]:
    folder = tmp_path_factory.mktemp("sentences")
    recipe, heard = write_recipe(folder), Heard()
    outcome = run(recipe, (), folder / "run", progress=heard)
    assert outcome.exit_code == 0, (folder / "run" / "summary.md").read_text()
    return folder / "run", heard, recipe


def test_x(ran):
    root, heard, _ = ran
    print(heard.summaries)
    print(read_json(root / "student.json"))
    print((root/"summary.md").read_text())
    print(read_json(root / "artifacts/manifest.json"))
    assert 0
