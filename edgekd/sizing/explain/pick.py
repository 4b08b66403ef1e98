"""Which student a word means: a name of the space, or one of a few words with a definition that is printed."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.errors import InputError
from edgekd.sizing.explain.known import Known, Placed
from edgekd.text import did_you_mean, listing, printable

SIZES = ("small", "medium", "large")
WORDS = (*SIZES, "chosen", "teacher")


def picked(known: Known, word: str) -> Placed:
    """The student that `word` means: a name, small, medium, large, chosen or teacher. Errors: InputError."""
    if word == "teacher":
        return known.teacher
    if word == "chosen":
        return _chosen(known)
    if word in SIZES:
        students = known.feasible or known.by_capacity
        return students[{"small": 0, "medium": (len(students) - 1) // 2, "large": -1}[word]]
    if word in known.students:
        return known.students[word]
    hint = did_you_mean(word, [*known.students, *WORDS])
    raise InputError(
        f"{printable(word, 80)!r}: no such student among the {len(known.students)} of this space, expected a name such "
        f"as {_examples(known)}, or one of {', '.join(WORDS)}.{hint}"
    )


def default_pick(known: Known) -> Placed:
    """The chosen student, or the nearest one where none fits."""
    return known.students.get(known.chosen or known.nearest or "") or picked(known, "large")


def meaning(known: Known, words: Sequence[str]) -> str:
    """What small, medium and large mean here, in a sentence; empty when none of `words` is one of them."""
    if not set(words) & set(SIZES):
        return ""
    which = "that keep every limit" if known.feasible else "of the space, of which none keeps every limit for sure"
    return (
        "small, medium and large have the least, the median and the most parameters outside the embeddings of the "
        f"{len(known.feasible or known.by_capacity)} students {which}"
    )


def _chosen(known: Known) -> Placed:
    found = known.students.get(known.chosen or "")
    if found is None:
        nearest = f" The nearest is {known.nearest}" if known.nearest else ""
        raise InputError(f"chosen: no student of this space keeps the limits, so none is chosen.{nearest}")
    return found


def _examples(known: Known) -> str:
    names = [student.name for student in known.by_capacity]
    return listing({names[0], names[len(names) // 2], names[-1]})
