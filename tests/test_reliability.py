"""The page of faults has every fault of the study, each with tests that exist; of hardly any is said why it has none."""

import pytest
from named_tests import DOCS, rows_of, unfounded

NOT_RUN = "not run: "
ROWS = rows_of((DOCS / "reliability.md").read_text(encoding="utf-8"), ("no.", "fault", "what edgekd does", "tests"))
RUN = [row for row in ROWS if not row[3].startswith(NOT_RUN)]


def test_the_page_has_a_row_for_each_of_the_46_faults() -> None:
    assert [number for number, _, _, _ in ROWS] == [str(number) for number in range(1, 47)]
    assert len({fault for _, fault, _, _ in ROWS}) == 46
    assert all(does for _, _, does, _ in ROWS)


def test_nearly_every_fault_is_provoked() -> None:
    left = [row for row in ROWS if row[3].startswith(NOT_RUN)]
    assert len(left) <= 3
    assert all(len(cell) > len(NOT_RUN) + 20 for _, _, _, cell in left), "the reason is missing"


@pytest.mark.parametrize(("fault", "cell"), [(row[1], row[3]) for row in RUN], ids=[row[0] for row in RUN])
def test_every_fault_has_tests_that_exist(fault: str, cell: str) -> None:
    assert unfounded(cell) == [], fault
