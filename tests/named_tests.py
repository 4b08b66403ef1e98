"""Pages of docs/ whose tables name tests: their rows, and whether each test that they name exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
_NAMED = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")


def rows_of(page: str, heading: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The cells of each row under the `heading` of the tables of a page, which has as many columns."""
    lines = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    found = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [row for row in found if len(row) == len(heading) and row != heading]


@cache
def _names_in(path: Path) -> frozenset[str]:
    """The names of the test functions in a file, also in its classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def unfounded(cell: str) -> list[str]:
    """What stands in a cell of tests and is no test that exists; the cell itself where it names none."""
    named = _NAMED.findall(cell)
    wrong = [f"{file}::{test}" for file, test in named if not _exists(TESTS / file, test)]
    left = _NAMED.sub("", cell).replace(",", "").strip()
    return [*wrong, *([left] if left or not named else [])]


def _exists(path: Path, test: str) -> bool:
    return path.is_file() and test in _names_in(path)
