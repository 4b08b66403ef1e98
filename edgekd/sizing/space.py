"""Which students a recipe's space holds: every combination of its choices, without those that cannot be."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgekd.cost.limits import check_within
from edgekd.errors import SpecError
from edgekd.recipe import Space
from edgekd.sizing.tally import ParameterTally
from edgekd.student import StudentSpec
from edgekd.units import text_from_share

MAX_COMBINATIONS = 100_000  # our choice: beyond it the list is no longer something a person can look at
FFN_STEP = 8  # our choice: what vector units and int8 kernels take at once without a rest
SMALL_SHARE = 0.05  # of the teacher's parameters, our choice: below it, expect to lose much of its accuracy


@dataclass(frozen=True, slots=True)
class Enumeration:
    """The students of a space in a fixed order, and how many combinations were refused for which reason."""

    students: list[StudentSpec]
    refused: dict[str, int]
    warnings: list[str]

    @property
    def considered(self) -> int:
        """All combinations, refused ones included."""
        return len(self.students) + sum(self.refused.values())


class _RefusedError(Exception):
    """A combination that yields no student, with the reason under which it is counted."""


def enumerate_students(space: Space, teacher: StudentSpec) -> Enumeration:
    """Every student of `space`, ordered by layers, hidden, heads and ffn; what the space leaves out is the teacher's.

    Heads follow from hidden at the teacher's head_dim unless the space names them; key heads keep the teacher's ratio.
    A ratio of ffn to hidden is rounded to the nearest multiple of 8.
    Errors: SpecError when nothing is left, with the reasons and what to change, or when the space is too large.
    """
    combinations = _combinations(space, teacher)
    tally = ParameterTally()
    teacher_parameters = tally.parameters(teacher)
    students: list[StudentSpec] = []
    seen: set[StudentSpec] = set()
    refused: Counter[str] = Counter()
    small = 0
    for combination in combinations:
        try:
            student = _student(teacher, *combination)
            _check_new(student, seen)
            share = tally.parameters(student) / teacher_parameters
            _check_share(share, space)
        except _RefusedError as reason:
            refused[str(reason)] += 1
            continue
        students.append(student)
        small += share < SMALL_SHARE
    if not students:
        raise SpecError(_nothing_left(refused, space, teacher))
    return Enumeration(students, dict(sorted(refused.items())), _warnings(students, small, teacher))


def _combinations(space: Space, teacher: StudentSpec) -> list[tuple[int, int, int | None, int]]:
    layers = _sorted(space.layers, teacher.layers)
    hidden = _sorted(space.hidden, teacher.hidden)
    heads: list[int | None] = [*sorted(set(space.heads))] if space.heads else [None]
    inner = len(set(space.ffn_ratio)) if space.ffn_ratio else len(_sorted(space.ffn, teacher.ffn))
    size = len(layers) * len(hidden) * len(heads) * inner
    if size > MAX_COMBINATIONS:
        raise SpecError(
            f"the space holds {size} combinations, expected at most {MAX_COMBINATIONS}. "
            "Give the ranges in space a larger step"
        )
    return [
        (depth, width, head, ffn)
        for depth, width, head in itertools.product(layers, hidden, heads)
        for ffn in _inner_widths(space, teacher, width)
    ]


def _sorted(choices: Iterable[int] | None, otherwise: int) -> list[int]:
    return sorted(set(choices)) if choices is not None else [otherwise]


def _inner_widths(space: Space, teacher: StudentSpec, hidden: int) -> Iterator[int]:
    if space.ffn_ratio is None:
        yield from _sorted(space.ffn, teacher.ffn)
        return
    for ratio in sorted(set(space.ffn_ratio)):
        yield max(FFN_STEP, round(ratio * hidden / FFN_STEP) * FFN_STEP)


def _student(teacher: StudentSpec, layers: int, hidden: int, heads: int | None, ffn: int) -> StudentSpec:
    for name, value, limit in (
        ("layers", layers, teacher.layers),
        ("hidden", hidden, teacher.hidden),
        ("heads", heads or 0, teacher.heads),
        ("ffn", ffn, teacher.ffn),
    ):
        if value > limit:
            raise _RefusedError(f"{name} above the teacher's {limit}")
    heads = _heads(teacher, hidden, heads)
    key_heads = _key_heads(teacher, heads)
    try:
        student = replace(teacher, layers=layers, hidden=hidden, heads=heads, kv_heads=key_heads, ffn=ffn)
        check_within(student, teacher)
    except SpecError as error:
        raise _RefusedError(str(error)) from None
    return student


def _heads(teacher: StudentSpec, hidden: int, heads: int | None) -> int:
    """The heads that belong to `hidden` at the teacher's head_dim, or those that were named, if they can be."""
    if heads is None:
        # A llama whose heads are wider together than hidden keeps that ratio.
        derived, rest = divmod(hidden * teacher.heads, teacher.hidden)
        if rest or not derived:
            raise _RefusedError(f"hidden gives no whole number of heads at the teacher's head_dim {teacher.head_dim}")
        return derived
    if teacher.architecture != "llama" and heads * teacher.head_dim != hidden:
        raise _RefusedError(f"heads x the teacher's head_dim {teacher.head_dim} is not hidden")
    if hidden % heads:
        raise _RefusedError("hidden is no multiple of heads")
    return heads


def _key_heads(teacher: StudentSpec, heads: int) -> int:
    group = teacher.heads // teacher.kv_heads
    if heads % group:
        raise _RefusedError(f"heads are no multiple of the teacher's {group} query heads per key head")
    return heads // group


def _check_new(student: StudentSpec, seen: set[StudentSpec]) -> None:
    if student in seen:
        raise _RefusedError("repeats another combination")
    seen.add(student)


def _check_share(share: float, space: Space) -> None:
    if share > space.max_share:
        raise _RefusedError(f"more than max_share {text_from_share(space.max_share)} of the teacher's parameters")
    if share < space.min_share:
        raise _RefusedError(f"less than min_share {text_from_share(space.min_share)} of the teacher's parameters")


def _warnings(students: list[StudentSpec], small: int, teacher: StudentSpec) -> list[str]:
    warnings = []
    if small:
        limit = text_from_share(SMALL_SHARE, 0)
        warnings.append(
            f"{small} of {len(students)} students have less than {limit} of the teacher's parameters; "
            "expect them to lose much of its accuracy"
        )
    if teacher in students:
        warnings.append(f"the space holds the teacher's own dimensions ({teacher.name})")
    return warnings


def _nothing_left(refused: Counter[str], space: Space, teacher: StudentSpec) -> str:
    reasons = "; ".join(f"{number} x {reason}" for reason, number in refused.most_common(4))
    advice = []
    if any("min_share" in reason for reason in refused):
        advice.append(f"lower space.min_share (now {space.min_share:g}) or add larger students")
    if any("max_share" in reason for reason in refused):
        advice.append(f"raise space.max_share (now {space.max_share:g}) or add smaller students")
    if any("heads" in reason for reason in refused):
        step = _hidden_step(teacher)
        advice.append(f"choose hidden as multiples of {step}, and leave heads out")
    if any("above the teacher" in reason for reason in refused):
        advice.append(f"stay within the teacher ({teacher.name})")
    mend = ", ".join(advice) or "change the choices in space"
    return f"space: all {sum(refused.values())} combinations were refused ({reasons}). To get students: {mend}"


def _hidden_step(teacher: StudentSpec) -> int:
    group = teacher.heads // teacher.kv_heads
    return next(
        width
        for width in range(1, teacher.hidden + 1)
        if (width * teacher.heads) % teacher.hidden == 0 and (width * teacher.heads // teacher.hidden) % group == 0
    )
