"""The board of a recipe: a word alone, or a table."""

from __future__ import annotations

import pytest

from edgekd.config import source_from_text, validated
from edgekd.errors import InputError
from edgekd.host_choice import HostChoice
from edgekd.recipe import load_recipe


def test_a_word_alone_is_the_url() -> None:
    assert HostChoice.model_validate("pi5") == HostChoice(url="pi5")
    assert load_recipe("quickstart", ["host=pi5"]).host == HostChoice(url="pi5")


def test_a_table_names_what_it_wants() -> None:
    found = validated(source_from_text("url: ssh://pi@b\nkey: k\nhosts: h.yaml\n", "f"), HostChoice)
    assert (found.url, found.key, found.hosts) == ("ssh://pi@b", "k", "h.yaml")


@pytest.mark.parametrize("text", ["password: env:X\n", "url: 5\n", "key: [a]\n"])
def test_what_is_no_key_of_it_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^f:1: "):
        validated(source_from_text(text, "f"), HostChoice)


def test_editors_are_told_of_both_forms() -> None:
    schema = HostChoice.model_json_schema()
    assert {"type": "string"} in schema["anyOf"]
    assert any(one.get("additionalProperties") is False for one in schema["anyOf"])
