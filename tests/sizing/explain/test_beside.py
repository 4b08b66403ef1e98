"""Side by side: each column is the student that was asked for, against the teacher."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgekd.device import DeviceProfile
from edgekd.errors import InputError
from edgekd.files import json_text
from edgekd.sizing.explain.beside import side_by_side
from edgekd.sizing.explain.known import Known
from edgekd.sizing.forecast import Measurement


def test_the_columns_stand_in_the_order_asked_for(make_known: Callable[..., Known]) -> None:
    known = make_known()
    name = known.by_capacity[2].name
    found = side_by_side(known, ["teacher", "small", name])
    assert [column.word for column in found.columns] == ["teacher", "small", name]
    assert [column.student.name for column in found.columns] == [known.teacher.name, known.by_capacity[0].name, name]
    assert found.columns[0].capacity_share == 1
    assert found.columns[1].capacity_share == known.by_capacity[0].capacity / known.teacher.capacity
    assert "the least, the median and the most" in found.notes[0]


def test_speed_is_told_against_the_teacher_in_fp32(make_known: Callable[..., Known]) -> None:
    known = make_known()
    found = side_by_side(known, ["teacher", "small"])
    small, teacher = (known.predicted(each, "fp32").latency for each in (known.by_capacity[0], known.teacher))
    assert small is not None
    assert teacher is not None
    assert found.columns[0].cells["fp32"].speed_up == 1
    assert found.columns[1].cells["fp32"].speed_up == teacher.mid / small.mid
    assert found.reference == "fp32"
    assert side_by_side(replace(known, precisions=("int8",)), ["small"]).reference == "int8"


def test_a_measured_latency_goes_before_a_predicted_one(make_known: Callable[..., Known]) -> None:
    known = make_known()
    name = known.by_capacity[0].name
    known = replace(known, measurements={f"{name}-int8": Measurement(0.5, 0.03, 0.49, 0.51, None, None)})
    found = side_by_side(known, [name])
    assert "against a predicted latency of the teacher" in found.notes[0]
    cell = found.columns[0].cells["int8"]
    assert cell.outlook.latency is not None
    assert (cell.outlook.latency.mid, cell.outlook.latency.measured) == (0.5, True)
    teacher = known.predicted(known.teacher, "fp32").latency
    assert teacher is not None
    assert cell.speed_up == teacher.mid / 0.5
    timed = {f"{known.teacher.name}-fp32": Measurement(4.0, 0.03, 3.9, 4.1, None, None)}
    against = side_by_side(replace(known, measurements={**known.measurements, **timed}), [name])
    assert (against.notes, against.columns[0].cells["int8"].speed_up) == ((), 8.0)


def test_an_unknown_latency_has_no_speed(
    make_known: Callable[..., Known], make_profile: Callable[..., DeviceProfile]
) -> None:
    found = side_by_side(make_known(latency=None, profile=make_profile()), ["small"])
    assert found.columns[0].cells["fp32"].speed_up is None


def test_a_student_under_a_twentieth_of_the_teacher_has_a_warning(make_known: Callable[..., Known]) -> None:
    known = make_known()
    assert side_by_side(known, ["small"]).columns[0].warnings == ()
    bigger = replace(known.teacher, parameters=100 * known.teacher.parameters)
    assert "large loss" in side_by_side(replace(known, teacher=bigger), ["small"]).columns[0].warnings[0]


def test_programs_get_the_same_columns(make_known: Callable[..., Known]) -> None:
    found = side_by_side(make_known(), ["small", "teacher"])
    table = found.to_dict()
    assert json_text(table)
    assert [row["asked"] for row in table["students"]] == ["small", "teacher"]
    assert table["students"][1]["precisions"]["fp32"]["speed_up"] == 1


def test_nothing_asked_for_is_an_error_with_an_example(make_known: Callable[..., Known]) -> None:
    with pytest.raises(InputError, match="small,medium,large"):
        side_by_side(make_known(), [])
