"""The user's YAML is read strictly, and every error names file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.config import Bytes, Model, Number, Seconds, Share, load, source_from_text, validated, with_overrides
from edgekd.errors import InputError, RecipeError


class Inner(Model):
    epochs: int = 1
    rate: Number = 0.5


class Outer(Model):
    name: str
    inner: Inner = Inner()
    limit: Seconds | None = None
    size: Bytes | None = None
    drop: Share | None = None
    layers: list[int] = []  # noqa: RUF012  pydantic copies defaults


def parsed(text: str, *overrides: str) -> Outer:
    return validated(with_overrides(source_from_text(text, "f.yaml"), overrides), Outer)


@pytest.mark.parametrize(
    "scalar",
    ["no", "Yes", "on", "OFF", "y", "True", "NULL", "~", "12:30", "1:2:3", "1e1", "2E-4", "022", "0x1F", "0o17", "1_000",
     ".nan", ".inf", "-.INF", ".5", "5.", "+3", "2026-11-22", "="],
)  # fmt: skip
def test_yaml_surprises_are_errors_that_say_how_to_write_it(scalar: str) -> None:
    with pytest.raises(InputError, match=r"f\.yaml:2: found .*(Quote|quote|Write)"):
        source_from_text(f"name: x\nlimit: {scalar}\n", "f.yaml")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [("3", 3), ("-3", -3), ("0", 0), ("0.5", 0.5), ("2.0e-4", 2e-4), ("true", True), ("null", None), ("", None),
     ("a b", "a b"), ("'no'", "no"), ('"12:30"', "12:30"), ("5 ms", "5 ms"), ("hub:x/y", "hub:x/y")],
)  # fmt: skip
def test_plain_values_mean_what_they_look_like(scalar: str, value: object) -> None:
    found = source_from_text(f"a: {scalar}\n", "f.yaml").value["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b", r"f.yaml:2: the key 'name' stands twice, first in line 1"),
        ("name: &x a\nlimit: *x", r"f.yaml:1: found an anchor or alias"),
        ("name: !!python/object:os.system x", r"f.yaml:1: found the tag"),
        ("name: a\n<<: {b: 1}", r"f.yaml:2: found a merge key"),
        ("name: a\n---\nname: b", r"f.yaml:2?.*"),
        ("name: [a", r"f.yaml:\d+: is not valid YAML"),
        ("\tname: a", r"f.yaml:1: is not valid YAML"),
        ("[" * 40 + "]" * 40, r"nested more than 32"),
        ("? [a]\n: b", r"f.yaml:1: found a list or table as a key"),
        ("", r"f.yaml: is empty"),
        ("# only a comment", r"f.yaml: is empty"),
        ("- a", r"f.yaml:1: found a list, expected keys and values"),
        ("name: a\nlayers: 3", r"f.yaml:2: layers: found 3"),
        ("name: a\ninner:\n  epoch: 3", r"f.yaml:3: unknown key 'epoch' in inner, expected one of epochs, rate. Did you mean 'epochs'"),
        ("limit: 5 ms", r"f.yaml:1: the key 'name' is missing"),
        ("name: 3", r"f.yaml:1: name: found 3, expected a valid string"),
        ("name: a\nlimit: 5", r"f.yaml:2: limit: found the bare number 5, expected one with its unit"),
        ("name: a\ndrop: 300 %", r"f.yaml:2: drop: .*between 0 and 1"),
        ("name: a\nsize: true", r"f.yaml:2: size: found True"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(text)


def test_a_document_may_begin_with_a_marker_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeff# comment\n---\nname: a\r\nlimit: 5 ms\r\n".encode())
    assert load(path, Outer).limit == 0.005


def test_units_become_si() -> None:
    found = parsed("name: a\nlimit: 5 ms\nsize: 2 kB\ndrop: 2 %\ninner: {rate: 1}")
    assert (found.limit, found.size, found.drop, found.inner.rate) == (0.005, 2000, 0.02, 1.0)


def test_overrides_replace_and_add_values() -> None:
    found = parsed("name: a\ninner: {epochs: 3}", "inner.epochs=7", "limit=3 ms", "layers=[1, 2]", "inner.rate=0.1")
    assert found.inner == Inner(epochs=7, rate=0.1)
    assert (found.limit, found.layers) == (0.003, [1, 2])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.epoch=3", "--set inner.epoch: unknown key 'epoch' in inner"),
        ("inner.epochs=no", "--set inner.epochs:1: found no"),
        ("inner.epochs=x", "--set inner.epochs: inner.epochs: found 'x', expected a valid integer"),
        ("inner", "expected KEY=VALUE"),
        ("name.x=3", "would stand inside a value that is no table"),
        ("a..b=3", "expected KEY=VALUE"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed("name: a", override)
    assert message in str(caught.value)


def test_files_that_cannot_be_read_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.yaml", Outer)
    with pytest.raises(InputError, match="this is a folder"):
        load(tmp_path, Outer)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\xe8")
    with pytest.raises(RecipeError, match="UTF-8"):
        load(tmp_path / "latin.yaml", Outer, RecipeError)
    (tmp_path / "long.yaml").write_text("#" * 300_000)
    with pytest.raises(InputError, match="longer"):
        load(tmp_path / "long.yaml", Outer)


@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_an_input_error(text: str) -> None:
    try:
        parsed(text)
    except InputError as error:
        assert str(error).startswith("f.yaml")
