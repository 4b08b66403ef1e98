"""The page of pitfalls names tests that exist, and at least one for each pitfall."""

import pytest
from named_tests import DOCS, rows_of, unfounded

HEADING = ("pitfall", "what we do", "tests")
ROWS = rows_of((DOCS / "pitfalls.md").read_text(encoding="utf-8"), HEADING)


def test_the_page_has_a_row_for_every_pitfall_of_the_research() -> None:
    assert len(ROWS) == 30
    assert len({pitfall for pitfall, _, _ in ROWS}) == 30


@pytest.mark.parametrize(("pitfall", "cell"), [(row[0], row[2]) for row in ROWS], ids=[row[0][:40] for row in ROWS])
def test_every_pitfall_has_tests_that_exist(pitfall: str, cell: str) -> None:
    assert unfounded(cell) == [], pitfall


def test_a_test_that_is_gone_is_seen() -> None:
    own = "test_pitfalls.py::test_a_test_that_is_gone_is_seen"
    assert unfounded(f"`{own}`") == []
    assert unfounded(f"`{own}`, `test_pitfalls.py::test_of_nobody`") == ["test_pitfalls.py::test_of_nobody"]
    assert unfounded("`of_nobody.py::test_x`") == ["of_nobody.py::test_x"]
    assert unfounded("see elsewhere") == ["see elsewhere"]
    assert unfounded("") == [""]
    page = "| pitfall | what we do | tests |\n|---|---|---|\n| a | b | c |\n| another | table |\n"
    assert rows_of(page, HEADING) == [("a", "b", "c")]
