"""One step: to the next student there is, worth the difference of two predictions."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgekd.sizing.explain.known import Known, Placed, placed
from edgekd.sizing.explain.steps import Neighbour, neighbours, steps_of
from edgekd.sizing.limits import Limit
from edgekd.student import StudentSpec


def _by_text(known: Known, student: Placed, precision: str = "fp32") -> dict[str, Neighbour]:
    found = neighbours(known, student, precision)
    assert len({(to.dimension, to.text) for to in found}) == len(found)
    return {f"{to.dimension} {to.text}": to for to in found}


def test_a_step_is_the_difference_of_two_predictions(make_known: Callable[..., Known], vit: StudentSpec) -> None:
    for known in (make_known(), make_known(vit), make_known(latency=None)):
        for student in known.students.values():
            for step in steps_of(known, student, "fp32"):
                before = known.predicted(student, "fp32")
                after = known.predicted(step.to.student, step.to.precision)
                assert (step.before, step.after) == (before, after)
                assert before.latency is not None
                assert after.latency is not None
                assert step.latency_change_s == after.latency.mid - before.latency.mid
                assert step.memory_change_bytes == after.memory.mid - before.memory.mid
                assert step.size_change_bytes == after.size.mid - before.size.mid
                assert step.parameters_change == step.to.student.parameters - student.parameters
                assert step.capacity_change == step.to.student.capacity - student.capacity


def test_the_next_values_of_the_space_are_taken(make_known: Callable[..., Known]) -> None:
    known = make_known()
    found = _by_text(known, known.students["L2-H192-A6-F768"])
    names = {text: to.student.name for text, to in found.items() if to.in_space}
    assert names == {
        "layers 2 → 1": "L1-H192-A6-F768",
        "layers 2 → 3": "L3-H192-A6-F768",
        "hidden 192 → 384, ffn 768 → 1536": "L2-H384-A12-F1536",
        "ffn 768 → 384": "L2-H192-A6-F384",
        "precision fp32 → int8": "L2-H192-A6-F768",
    }
    outside = {text: to.student.name for text, to in found.items() if not to.in_space}
    assert outside == {
        "hidden 192 → 160, ffn 768 → 640": "L2-H160-A5-F640",
        "ffn 768 → 960": "L2-H192-A6-F960",
        "sequence 64 → 32": "L2-H192-A6-F768",
        "sequence 64 → 128": "L2-H192-A6-F768",
    }


def test_ffn_stays_where_the_space_gives_it_as_numbers(make_known: Callable[..., Known]) -> None:
    known = make_known(ffn_follows=False)
    found = _by_text(known, known.students["L2-H192-A6-F768"])
    assert found["hidden 192 → 384"].student.name == "L2-H384-A12-F768"


def test_no_step_leaves_the_teacher_or_its_inputs(make_known: Callable[..., Known], vit: StudentSpec) -> None:
    known = make_known()
    texts = set(_by_text(known, known.teacher))
    assert "layers 6 → 3" in texts
    assert texts.isdisjoint({"layers 6 → 7", "hidden 384 → 416, ffn 1536 → 1664", "ffn 1536 → 1920"})
    long = placed(known.teacher.spec, 128)
    assert "sequence 128 → 64" in _by_text(known, long)
    assert "sequence 128 → 256" not in _by_text(known, long)
    pictures = make_known(vit)
    assert not any(text.startswith("sequence") for text in _by_text(pictures, pictures.by_capacity[0]))


def test_other_heads_of_the_same_width_are_a_step_where_the_space_has_them(
    make_known: Callable[..., Known], llama: StudentSpec
) -> None:
    known = make_known(llama)
    student = known.by_capacity[0]
    assert not any(text.startswith("heads") for text in _by_text(known, student))
    fewer = placed(replace(student.spec, heads=2, kv_heads=1), student.sequence)
    known = replace(known, students={**known.students, fewer.name: fewer})
    found = _by_text(known, student)
    assert found["heads 4 of 64 → 2 of 64"].student is fewer


def test_lengths_of_the_space_go_before_halves_and_doubles(make_known: Callable[..., Known]) -> None:
    known = make_known()
    student = known.by_capacity[0]
    other = replace(student, name=f"{student.name}-S48", sequence=48)
    known = replace(known, students={**known.students, other.name: other})
    found = _by_text(known, student)
    assert found["sequence 64 → 48"].student is other
    assert found["sequence 64 → 48"].in_space
    assert not found["sequence 64 → 128"].in_space


def test_a_limit_that_would_stand_otherwise_is_told(make_known: Callable[..., Known]) -> None:
    known = make_known()
    small, large = known.students["L1-H192-A6-F768"], known.students["L2-H192-A6-F768"]
    between = (known.predicted(small, "fp32").size.high + known.predicted(large, "fp32").size.low) / 2
    known = replace(known, limits=[Limit("size", "size_bytes", between), Limit("memory", "memory_bytes", 1e12)])
    crossed = {step.to.text: step.crossed for step in steps_of(known, small, "fp32") if step.to.dimension == "layers"}
    assert crossed == {"1 → 2": {"size": ("kept", "missed")}}
    back = next(step for step in steps_of(known, large, "fp32") if step.to.text == "2 → 1")
    assert back.crossed == {"size": ("missed", "kept")}
    assert back.to_dict()["crossed"] == {"size": ["missed", "kept"]}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_precision_is_a_step_of_the_same_student(make_known: Callable[..., Known], precision: str) -> None:
    known = make_known()
    student = known.by_capacity[0]
    (step,) = (step for step in steps_of(known, student, precision) if step.to.dimension == "precision")
    assert step.to.student is student
    assert step.to.precision != precision
    assert (step.parameters_change, step.capacity_change) == (0, 0)
