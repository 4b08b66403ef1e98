"""Numbers in an exported graph, traced to the dimensions of the student they come from.

Two exports of students that differ in every dimension tell the two kinds of numbers apart: what is equal in both is a
constant of the teacher, what differs must be one of the known dimensions in both.
"""

from __future__ import annotations

from dataclasses import replace

from edgekd.errors import ExportError
from edgekd.student import StudentSpec

Number = int | str
"""A constant, or the name of a dimension in the table of `dimensions`."""


def dimensions(spec: StudentSpec) -> dict[str, int]:
    """The sizes that may stand in the graph of `spec` and that differ from student to student, by name.

    Names for what is always equal in a family are left out: the width of all heads where it is hidden, key heads where
    there are as many as query heads.
    """
    table = {"hidden": spec.hidden, "ffn": spec.ffn}
    if spec.architecture != "llama":
        table["three times hidden"] = 3 * spec.hidden  # queries, keys and values of GPT-2 in one product
    if spec.head_dim > 1:
        table["heads"] = spec.heads
    if spec.architecture == "llama":
        table["width of all heads"] = spec.heads * spec.head_dim
    if is_grouped(spec):
        table["key heads"] = spec.kv_heads
        table["width of all key heads"] = spec.kv_heads * spec.head_dim
        table["query heads per key head"] = spec.heads // spec.kv_heads
    return table


def is_grouped(spec: StudentSpec) -> bool:
    """Whether several query heads share a key head; the graph then repeats the keys."""
    return spec.kv_heads != spec.heads


def number(small: int, large: int, tables: tuple[dict[str, int], dict[str, int]], where: str) -> Number:
    """What stands behind a number that is `small` in the one export and `large` in the other.

    Errors: ExportError when it is no known dimension, or when it could be two.
    """
    if small == large:
        return small
    first, second = tables
    names = [name for name in first if first[name] == small and second[name] == large]
    if len(names) == 1:
        return names[0]
    found = f"{where}: the number {small} in one export and {large} in another"
    known = ", ".join(f"{name} {first[name]} and {second[name]}" for name in first)
    if names:
        raise ExportError(f"{found} may be {' or '.join(names)}, expected one dimension. Export each student instead")
    raise ExportError(f"{found} is none of the dimensions ({known}). Export each student instead")


def filled(value: Number, table: dict[str, int]) -> int:
    """The number for the student whose `dimensions` are in `table`."""
    return value if isinstance(value, int) else table[value]


def probes(teacher: StudentSpec, like: StudentSpec) -> tuple[StudentSpec, StudentSpec, StudentSpec]:
    """Three small students of `teacher`, with the head_dim and the kind of attention of `like`, of 2, 4 and 1 layers.

    No dimension of the first is that of the second, and no two dimensions are equal in both, so that `number` has one
    answer. The third is for a check.
    """
    if teacher.architecture != "llama":
        # hidden, heads, key heads, ffn: heads times head_dim is hidden here.
        sizes = [(heads * like.head_dim, heads, heads, ffn) for heads, ffn in ((2, 29), (3, 43), (1, 37))]
    elif is_grouped(like):
        # More query heads per key head than any axis has as its number: the exporter shares equal small constants.
        sizes = [(30, 10, 2, 29), (21, 21, 3, 43), (36, 4, 1, 37)]
    else:
        sizes = [(14, 2, 2, 29), (15, 3, 3, 43), (36, 1, 1, 37)]
    first, second, third = (
        replace(teacher, layers=layers, hidden=hidden, heads=heads, kv_heads=keys, ffn=ffn, head_dim=like.head_dim)
        for layers, (hidden, heads, keys, ffn) in zip((2, 4, 1), sizes, strict=True)
    )
    return first, second, third
