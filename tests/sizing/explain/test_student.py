"""One student explained: every precision, the fitting ones first, and plain values for programs."""

from collections.abc import Callable
from dataclasses import replace

from edgekd.files import json_text
from edgekd.sizing.explain.known import Known
from edgekd.sizing.explain.student import explained
from edgekd.sizing.limits import Limit


def test_the_precisions_that_fit_come_first(make_known: Callable[..., Known]) -> None:
    known = make_known()
    student = known.by_capacity[-1]
    assert [view.precision for view in explained(known, student).views] == ["fp32", "int8"]
    size = known.predicted(student, "int8").size.high
    tight = replace(known, limits=[Limit("size", "size_bytes", size)])
    found = explained(tight, student)
    assert [view.precision for view in found.views] == ["int8", "fp32"]
    assert [view.levels for view in found.views] == [{"size": "kept"}, {"size": "missed"}]
    chosen = explained(replace(known, chosen=student.name, fitting=["int8"]), student)
    assert [view.precision for view in chosen.views] == ["int8", "fp32"]


def test_the_standing_in_the_sizing_is_told(make_known: Callable[..., Known]) -> None:
    known = make_known()
    one, other = known.by_capacity[:2]
    known = replace(known, chosen=one.name)
    assert explained(known, one).standing == "chosen"
    assert explained(known, other).standing == ""
    assert explained(known, known.teacher).standing == "teacher"
    assert explained(replace(known, chosen=None, nearest=other.name), other).standing == "nearest"


def test_sizes_are_told_against_the_teacher(make_known: Callable[..., Known]) -> None:
    known = make_known()
    assert explained(known, known.teacher).capacity_share == 1
    assert explained(known, known.teacher).warnings == ()
    small = known.by_capacity[0]
    assert explained(known, small).capacity_share == small.capacity / known.teacher.capacity
    bigger = replace(known.teacher, parameters=100 * known.teacher.parameters)
    assert "expect a large loss" in explained(replace(known, teacher=bigger), small).warnings[0]


def test_programs_get_the_same_numbers(make_known: Callable[..., Known]) -> None:
    known = make_known(notes=("a note",))
    found = explained(known, known.by_capacity[0])
    table = found.to_dict()
    assert json_text(table)
    assert table["student"] == known.by_capacity[0].name
    assert table["notes"] == ["a note"]
    view, shown = found.views[0], table["precisions"][0]
    assert shown["precision"] == view.precision
    assert sum(row["seconds"] for row in shown["time"]["rows"]) == sum(row.seconds for row in view.time.rows)
    assert [step["student"] for step in shown["steps"]] == [step.to.student.name for step in view.steps]
    assert view.outlook.latency is not None
    assert shown["best_known"]["latency_s"]["mid"] == view.outlook.latency.mid
