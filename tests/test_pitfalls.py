"""The page of pitfalls names tests that exist, and at least one for each pitfall."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "pitfalls.md"
NAMED = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")
ROW = re.compile(r"^\|(?!---)(.+)\|(.+)\|(.+)\|$", re.MULTILINE)


def names_in(path: Path) -> set[str]:
    """The names of the test functions in a file, also in its classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def rows_of(page: str) -> list[tuple[str, str]]:
    """Of each row of the tables the pitfall, and the cell with its tests."""
    found = [(row[0].strip(), row[2].strip()) for row in ROW.findall(page)]
    return [row for row in found if row != ("pitfall", "tests")]


def unfounded(cell: str) -> list[str]:
    """What stands in a cell of tests and is no test that exists; the cell itself where it names none."""
    named = NAMED.findall(cell)
    wrong = [f"{file}::{test}" for file, test in named if test not in names_in(TESTS / file)]
    left = NAMED.sub("", cell).replace(",", "").strip()
    return [*wrong, *([left] if left or not named else [])]


ROWS = rows_of(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_a_row_for_every_pitfall_of_the_research() -> None:
    assert len(ROWS) == 30
    assert len({pitfall for pitfall, _ in ROWS}) == 30


@pytest.mark.parametrize(("pitfall", "cell"), ROWS, ids=[pitfall[:40] for pitfall, _ in ROWS])
def test_every_pitfall_has_tests_that_exist(pitfall: str, cell: str) -> None:
    assert unfounded(cell) == [], pitfall


def test_a_test_that_is_gone_is_seen() -> None:
    own = "test_pitfalls.py::test_a_test_that_is_gone_is_seen"
    assert unfounded(f"`{own}`") == []
    assert unfounded(f"`{own}`, `test_pitfalls.py::test_of_nobody`") == ["test_pitfalls.py::test_of_nobody"]
    assert unfounded("see elsewhere") == ["see elsewhere"]
    assert unfounded("") == [""]
    assert rows_of("| pitfall | what we do | tests |\n|---|---|---|\n| a | b | c |\n") == [("a", "c")]
