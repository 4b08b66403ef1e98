"""Measures of answers that say more than the share of right ones: F1 of labels, and of entities in a sentence.

All are shares from 0 to 1, greater is better. No numpy here: the gate computes them from records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OUTSIDE = "O"
_STARTS = ("B", "S", "U")  # the first word of an entity, and its only one in BIOES and in BILOU
_ENDS = ("E", "S", "L", "U")


class Entity(NamedTuple):
    """What the tokens from `start` up to `end`, which is not part of it, are together."""

    kind: str
    start: int
    end: int


def f1(right: int, said: int, true: int) -> float:
    """The harmonic mean of precision `right`/`said` and recall `right`/`true`; 1 where there is nothing to find or say.

    Source: van Rijsbergen 1979, Information Retrieval; that nothing said of nothing is right is our choice.
    """
    return 2 * right / (said + true) if said + true else 1.0


def f1_micro(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """F1 of all pairs of example and label as one, 1 where the label applies and 0 where it does not."""
    return f1(sum(p == y == 1 for p, y in zip(predictions, labels, strict=True)), sum(predictions), sum(labels))


def f1_macro(predictions: Sequence[int], labels: Sequence[int], classes: int) -> float:
    """The mean F1 of the labels. The pairs stand example after example, `classes` each."""
    each = [f1_micro(predictions[at::classes], labels[at::classes]) for at in range(classes)]
    return sum(each) / classes


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that `tags` of the words of one sentence mark, in BIO (IOB2), IOB1, BIOES or BILOU, read leniently.

    'B-PER', 'S-PER' or 'U-PER' begins an entity, and so does an inside tag (any other prefix) after O or after another
    type; 'E-', 'L-', 'S-' and 'U-' end one. A tag without a hyphen is its own type, unless it is O.
    Source: Ramshaw and Marcus 1995, cmp-lg/9505040 (IOB); the reading is that of conlleval and of seqeval's default.
    """
    found: list[Entity] = []
    start, kind = -1, ""
    before = OUTSIDE
    for at, tag in enumerate([*tags, OUTSIDE]):
        prefix, its = split_tag(tag)
        goes_on = start >= 0 and prefix not in (OUTSIDE, *_STARTS) and its == kind and before not in _ENDS
        if not goes_on:
            if start >= 0:
                found.append(Entity(kind, start, at))
            start, kind = (at, its) if prefix != OUTSIDE else (-1, "")
        before = prefix
    return found


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type: ('B', 'PER') of 'B-PER', ('O', '') of 'O', ('I', 'PER') of a bare 'PER'."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, hyphen, kind = tag.partition("-")
    return (prefix, kind) if hyphen else ("I", tag)


def entity_f1(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> float:
    """F1 of entities over sentences: one is right where kind, start and end are all those of a true one."""
    right = said = true = 0
    for answers, truth in zip(predictions, labels, strict=True):
        its, own = set(entities(truth)), set(entities(answers))
        right, said, true = right + len(its & own), said + len(own), true + len(its)
    return f1(right, said, true)


def inside_starts(tags: Sequence[str]) -> int:
    """How many entities of a sentence begin with an inside tag, as in IOB1 or where somebody erred."""
    return sum(
        "-" in tags[entity.start] and split_tag(tags[entity.start])[0] not in _STARTS for entity in entities(tags)
    )
