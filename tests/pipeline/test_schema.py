"""The schemas describe the files that ship, and refuse what the program refuses."""

import json
from typing import Any

import pytest
import yaml

from edgekd.errors import InputError
from edgekd.pipeline.schema import KINDS, schema_text
from edgekd.recipe import BUILTIN, builtin_recipes


def _unknown_keys(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """The keys of `value` that `schema` does not allow, by following references and the tables they lead to."""
    while "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    options = [option for name in ("anyOf", "oneOf") for option in schema.get(name, [])]
    if options:
        return min((_unknown_keys(value, option, whole) for option in options), key=len)
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        extra = [key for key in value if key not in known]
        return extra + [
            key for name in value if name in known for key in _unknown_keys(value[name], known[name], whole)
        ]
    if isinstance(value, dict) and schema.get("type") != "object":
        return list(value)
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_each_schema_is_json_with_a_title_and_closed(kind: str) -> None:
    table = json.loads(schema_text(kind))
    assert table["title"] == f"edgekd {kind}"
    assert table["$schema"].startswith("https://json-schema.org/")
    assert table["additionalProperties"] is False
    for definition in table.get("$defs", {}).values():
        if "properties" in definition:
            assert definition["additionalProperties"] is False


@pytest.mark.parametrize("name", builtin_recipes())
def test_the_recipes_that_ship_hold_only_keys_of_the_schema(name: str) -> None:
    whole = json.loads(schema_text("recipe"))
    recipe = yaml.safe_load((BUILTIN / f"{name}.yaml").read_text())
    assert _unknown_keys(recipe, whole, whole) == []
    assert set(whole["required"]) <= set(recipe)


def test_a_foreign_key_is_seen_at_any_depth() -> None:
    whole = json.loads(schema_text("recipe"))
    assert _unknown_keys({"space": {"layers": {"from": 1, "until": 2}}}, whole, whole) != []
    assert _unknown_keys({"sla": {"latencies": {}}}, whole, whole) == ["latencies"]
    assert _unknown_keys({"space": {"layers": {"from": 1, "to": 2}}}, whole, whole) == []


def test_another_word_is_an_input_error_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"recipes: no such schema, .* Did you mean 'recipe'"):
        schema_text("recipes")
