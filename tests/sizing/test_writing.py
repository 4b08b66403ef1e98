from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.device import DeviceProfile
from edgekd.recipe import Search
from edgekd.sizing import writing
from edgekd.sizing.files import read_sizing, read_students
from edgekd.sizing.search import Sizing, size
from edgekd.sizing.writing import listed, write_sizing, write_students
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import StudentSpec

SPACE = Space(layers=[1, 2, 3, 4, 5, 6], hidden=[64, 128, 192, 256, 320, 384], ffn=list(range(64, 1537, 64)))


@pytest.fixture
def many(
    teacher: StudentSpec,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Sizing:
    """864 students of which the files list at most 100."""
    monkeypatch.setattr(writing, "MOST_LISTED", 100)
    monkeypatch.setattr(writing, "MOST_FRONT", 50)
    monkeypatch.setattr(writing, "MOST_FEASIBLE", 10)
    monkeypatch.setattr(writing, "NEIGHBOURS", 2)
    sla = Sla.model_validate({"latency": {"p95": "5 ms"}})
    return size(
        teacher, SPACE, sla, make_profile(), Search(), precisions=["fp32"], batch=1, sequence=64, threads=1,
        measure=make_board(),
    )  # fmt: skip


def test_of_many_students_those_that_matter_are_listed(many: Sizing, tmp_path: Path) -> None:
    write_students(many, tmp_path / "students.json")
    write_sizing(many, tmp_path / "sizing.json")
    students, sizing = read_students(tmp_path / "students.json"), read_sizing(tmp_path / "sizing.json")
    ids = [row.id for row in students.students]
    assert (students.considered, students.possible) == (864, 864)
    assert len(ids) < 200
    assert {name.removesuffix("-fp32") for name in sizing.measurements} <= set(ids)
    assert many.chosen is not None
    assert students.chosen == many.chosen.name
    assert set(sizing.forecasts) == {f"{name}-fp32" for name in ids}
    assert {name.removesuffix("-fp32") for name in sizing.pareto} <= set(ids)
    assert sizing.front.candidates == len(many.standing.front) > len(sizing.pareto) > 40
    leading = many.students.leading(many.standing.feasible, 10)
    assert {many.students.name(row) for row in leading} <= set(ids)


def test_listed_students_stand_in_the_order_of_the_space(many: Sizing) -> None:
    rows = listed(many)
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_the_students_next_in_capacity_to_a_measured_one_are_listed(many: Sizing) -> None:
    order = np.argsort(many.students.capacity, kind="stable").tolist()
    rows = set(listed(many).tolist())
    for row in many.standing.rows:
        place = order.index(row)
        assert set(order[max(place - 2, 0) : place + 3]) <= rows


def test_the_error_of_the_predictions_is_stored(many: Sizing, tmp_path: Path) -> None:
    write_sizing(many, tmp_path / "sizing.json")
    back = read_sizing(tmp_path / "sizing.json")
    assert many.error is not None
    assert back.error is not None
    assert back.error.model_dump() == {
        "candidates": many.error.candidates,
        "held": many.error.held,
        "median": many.error.median,
        "worst": many.error.worst,
    }
    assert {name: row.mid for name, row in back.predicted.items()} == {
        name: found.mid for name, found in many.predicted.items()
    }
    assert back.compare == "upper"


def test_the_sequence_of_the_chosen_student_is_that_of_the_file(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    space = Space(layers=[1, 2, 3], hidden=[64, 128], sequence=[16, 32, 64])
    sla = Sla.model_validate({"latency": {"p95": "5 ms"}})
    found = size(
        teacher, space, sla, make_profile(), Search(), precisions=["fp32"], batch=1, sequence=128, threads=1,
        measure=make_board(),
    )  # fmt: skip
    write_students(found, tmp_path / "students.json")
    back = read_students(tmp_path / "students.json")
    assert found.chosen is not None
    assert back.sequence == found.chosen.sequence == 64
    assert back.chosen is not None
    assert back.chosen.endswith("-S64")
    assert back.chosen_student == found.chosen.spec
    assert {row.sequence for row in back.students} == {16, 32, 64}
