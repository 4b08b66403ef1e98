"""Parts cut from the training part: stratified by class, the same for ever, and without twins on both sides.

Examples are drawn in the order of the SHA-256 of the seed and their content. So the draw depends neither on the order
of the rows nor on the version of a random generator.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from edgekd.data.examples import Examples
from edgekd.errors import DataError
from edgekd.text import printable


def cut(
    train: Examples, share: float, names: list[str], *, seed: int, purpose: str, keep: int = 1
) -> tuple[Examples, Examples]:
    """What stays in `train`, and the part cut from it: of every class `share`, at least one example.

    Equal inputs stay together; `keep` is how many different ones must stay. An input that stands there under several
    classes stays, for whoever is judged on it is wrong either way. Of several labels the rarest one of an example
    counts; an example whose rarest label is too rare to be shared stays.
    Errors: DataError when a class has too few different examples.
    """
    taken: list[int] = []
    keys, by_class = train.keys, _rows_by_class(train, len(names))
    disputed = _disputed(keys, train.answers)
    one_each = not train.several and train.words is None
    sizes = {label: len(rows) for label, rows in enumerate(by_class) if rows}
    quotas = _quotas(list(sizes.values()), min(len(train), max(len(sizes), round(share * len(train)))))
    for label, quota in zip(sizes, quotas, strict=True):
        twins: dict[bytes, list[int]] = defaultdict(list)
        for row in by_class[label]:
            twins[keys[row]].append(row)
        own = twins.keys() - disputed
        most = len(own) - max(0, keep - (len(twins) - len(own)))
        if most < 1 and not one_each:
            continue
        if most < 1:
            which = f"the class {printable(repr(names[label]), 80)} has" if len(names) > 1 else "holds"
            many = f"{len(own)} different example{'' if len(own) == 1 else 's'}"
            alone = " that no other class has" if len(own) < len(twins) else ""
            raise DataError(
                f"{train.name}: {which} {many}{alone}, expected at least {keep + 1} to cut a {purpose} "
                f"part. Add examples or name the part in data.{purpose}"
            )
        ordered = [twins[key] for key in sorted(own, key=lambda key: _rank(seed, purpose, key))]
        taken += _groups_within(ordered, quota, most)
    if not taken:
        raise DataError(f"{train.name}: holds too few examples to cut a {purpose} part. Name one in data.{purpose}")
    inside = np.zeros(len(train), dtype=bool)
    inside[taken] = True
    return train.subset(np.flatnonzero(~inside)), train.subset(np.flatnonzero(inside))


def _disputed(keys: list[bytes], labels: list[bytes]) -> set[bytes]:
    """The inputs that stand in `keys` under more than one of `labels`."""
    first = dict(zip(reversed(keys), reversed(labels), strict=True))
    return {key for key, label in zip(keys, labels, strict=True) if first[key] != label}


def _groups_within(groups: list[list[int]], limit: int, most: int) -> list[int]:
    """The rows of at most `most` groups that fit in `limit`; the smallest group where none fits."""
    taken: list[int] = []
    for group in groups:
        if most and len(taken) + len(group) <= limit:
            taken += group
            most -= 1
    return taken or min(groups, key=len)


def drawn(train: Examples, count: int, seed: int, names: list[str]) -> Examples:
    """`count` examples of `train` with its shares of the classes kept, at least one of each class it has.

    Errors: DataError when `count` is below the number of classes.
    """
    by_class = [rows for rows in _rows_by_class(train, len(names)) if rows]
    if count < len(by_class):
        classes = len(by_class)
        raise DataError(f"data.max_train_examples is {count}, expected at least {classes}, one of each class")
    if count >= len(train):
        return train
    keys, taken = train.keys, []
    for rows, quota in zip(by_class, _quotas([len(rows) for rows in by_class], count), strict=True):
        taken += sorted(rows, key=lambda row: (_rank(seed, "draw", keys[row]), row))[:quota]
    return train.subset(sorted(taken))


def _quotas(sizes: list[int], count: int) -> list[int]:
    """`count` shared out in proportion to `sizes` by largest remainder, at least 1 and at most the size each."""
    exact = [count * size / sum(sizes) for size in sizes]
    quotas = [max(1, int(share)) for share in exact]
    by_need = sorted(range(len(sizes)), key=lambda at: (quotas[at] - exact[at], at))
    while (rest := count - sum(quotas)) > 0:
        for at in [at for at in by_need if quotas[at] < sizes[at]][:rest]:
            quotas[at] += 1
    while sum(quotas) > count:
        largest = max((at for at in range(len(sizes)) if quotas[at] > 1), key=lambda at: (quotas[at] - exact[at], at))
        quotas[largest] -= 1
    return quotas


def _rows_by_class(examples: Examples, classes: int) -> list[list[int]]:
    order = np.argsort(examples.strata, kind="stable")
    ends = np.cumsum(np.bincount(examples.strata, minlength=classes + 1))
    return [rows.tolist() for rows in np.split(order, ends[:-1])]


def _rank(seed: int, purpose: str, key: bytes) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:".encode() + key).digest()
