"""Words for students: each means one, and another word is told what it may be."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgekd.errors import InputError
from edgekd.sizing.explain.known import Known
from edgekd.sizing.explain.pick import default_pick, meaning, picked
from edgekd.sizing.limits import Limit


def test_a_name_is_the_student_of_that_name(make_known: Callable[..., Known]) -> None:
    known = make_known()
    for name, student in known.students.items():
        assert picked(known, name) is student
    assert picked(known, "teacher") is known.teacher


def test_small_medium_and_large_are_told_by_capacity_among_those_that_fit(make_known: Callable[..., Known]) -> None:
    known = make_known()
    order = [student.name for student in known.by_capacity]
    whole = [picked(known, word).name for word in ("small", "medium", "large")]
    assert whole == [order[0], order[(len(order) - 1) // 2], order[-1]]
    assert "12 students that keep every limit" in meaning(known, ["small"])
    largest = known.predicted(known.students[order[-1]], "int8").size.high
    fewer = replace(known, limits=[Limit("size", "size_bytes", largest - 1)])
    assert picked(fewer, "large").name == fewer.feasible[-1].name != order[-1]
    none = replace(known, limits=[Limit("size", "size_bytes", 1)])
    assert picked(none, "large").name == order[-1]
    assert "12 students of the space, of which none keeps" in meaning(none, ["large"])
    assert meaning(none, ["teacher", order[0]]) == ""


def test_chosen_is_the_chosen_one_or_an_error_that_names_the_nearest(make_known: Callable[..., Known]) -> None:
    known = make_known()
    name = known.by_capacity[3].name
    assert picked(replace(known, chosen=name), "chosen").name == name
    with pytest.raises(InputError, match=f"none is chosen. The nearest is {name}"):
        picked(replace(known, nearest=name), "chosen")


def test_without_a_word_it_is_the_chosen_the_nearest_or_the_largest(make_known: Callable[..., Known]) -> None:
    known = make_known()
    names = [student.name for student in known.by_capacity]
    assert default_pick(replace(known, chosen=names[2])).name == names[2]
    assert default_pick(replace(known, nearest=names[4])).name == names[4]
    assert default_pick(known).name == names[-1]


def test_an_unknown_name_is_told_the_nearest_and_examples(make_known: Callable[..., Known]) -> None:
    known = make_known()
    name = known.by_capacity[0].name
    with pytest.raises(InputError) as caught:
        picked(known, name + "1")
    assert f"Did you mean {name!r}?" in str(caught.value)
    assert known.by_capacity[-1].name in str(caught.value)
    assert "small, medium, large, chosen, teacher" in str(caught.value)
    with pytest.raises(InputError, match="Did you mean 'large'"):
        picked(known, "lage")
