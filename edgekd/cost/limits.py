"""Which students can be cut out of a teacher."""

from __future__ import annotations

from edgekd.cost.operators import check_buildable
from edgekd.errors import SpecError
from edgekd.student import StudentSpec

# What every student has from its teacher.
SAME = (
    "architecture",
    "vocabulary",
    "positions",
    "token_types",
    "labels",
    "tied",
    "image_size",
    "patch_size",
    "channels",
    "gated",
    "head",
)
_AT_MOST = ("layers", "decoder_layers", "hidden", "heads", "kv_heads", "ffn")


def check_within(student: StudentSpec, teacher: StudentSpec) -> None:
    """Accept `student` when every one of its weights has a counterpart in `teacher` to start from.

    Inputs and outputs must be the same, no dimension larger, a head_dim that divides the teacher's (of a narrower head
    every second, third ... row is kept, which are also the rows that rotary positions turn at its own frequencies) and,
    in grouped attention, no more query heads per key head than the teacher has.
    Errors: SpecError naming the limit.
    """
    check_buildable(student)
    for name in SAME:
        found, expected = getattr(student, name), getattr(teacher, name)
        if found != expected:
            raise SpecError(f"the student {student.name} has {name} {found!r}, expected the teacher's {expected!r}")
    for name in _AT_MOST:
        found, limit = getattr(student, name), getattr(teacher, name)
        if found > limit:
            raise SpecError(f"the student {student.name} has {name} {found}, expected at most the teacher's {limit}")
    if teacher.head_dim % student.head_dim:
        raise SpecError(
            f"the student {student.name} has head_dim {student.head_dim}, which does not divide the teacher's "
            f"{teacher.head_dim}: choose heads = hidden / {teacher.head_dim}, or more of them"
        )
    group, limit = student.heads // student.kv_heads, teacher.heads // teacher.kv_heads
    if group > limit:
        raise SpecError(
            f"the student {student.name} has {group} query heads per key head, expected at most the teacher's {limit}; "
            "give more kv_heads"
        )
