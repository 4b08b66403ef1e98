"""How the classes are spread over the parts, what cannot be trained or judged on, and what should be known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekd.data.examples import Splits
from edgekd.errors import DataError
from edgekd.text import listing, printable

# Our choices. From fewer examples of a class a network learns these examples and not the class; and with 20 times as
# many of one class as of another, being right 95 times in 100 takes no knowledge of the smaller one.
LEAST_EXAMPLES = 10
MOST_IMBALANCE = 20.0


def refuse_unlearnable(splits: Splits) -> None:
    """Nothing, when every class that is judged on can be learned, and there are at least two of them.

    Errors: DataError naming the classes.
    """
    trained = splits.train.present
    if len(trained) < 2:
        only = printable(listing(splits.label_names[label] for label in trained)) or "none"
        raise DataError(
            f"{splits.train.name}: the training part holds one class only ({only}), expected at least two. "
            f"Add examples of the others{_after_dropping(splits)}"
        )
    if splits.train.several:
        _refuse_constant(splits)
    for name in ("validation", "test"):
        part = splits.parts[name]
        unknown = [splits.label_names[label] for label in sorted(part.present - trained)]
        if unknown:
            raise DataError(
                f"{part.name}: the {name} part has examples of {_named(unknown)}, of which the training part has none, "
                "expected classes that can be learned. Add some to the training part, or remove them "
                f"here{_after_dropping(splits)}"
            )


def _refuse_constant(splits: Splits) -> None:
    train, counts = splits.train, splits.class_counts["train"]
    for wrong, said in ((0, "to none"), (len(train), "to every one")):
        names = [name for name, count in counts.items() if count == wrong]
        if names:
            raise DataError(
                f"{train.name}: of the labels {_named(names)} apply {said} of the {len(train)} training examples, "
                f"expected examples with and without each. Add such, or leave them out{_after_dropping(splits)}"
            )


def _after_dropping(splits: Splits) -> str:
    return f" ({splits.dropped} training examples were left out by data.drop_leaked)" if splits.dropped else ""


def imbalance(counts: Mapping[str, int]) -> float:
    """How many times as many examples the largest class has as the smallest that has any; 1 where there is none."""
    present = [count for count in counts.values() if count]
    return max(present) / min(present) if present else 1.0


def balance_warnings(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What to say of the class counts by part: of missing classes, and of small ones in the training part.

    Nothing of a single class: that is no data set of classes.
    """
    warnings: list[str] = []
    if len(counts["train"]) < 2:
        return warnings
    for part, by_class in counts.items():
        absent = [name for name, count in by_class.items() if not count]
        if absent:
            what = "no model can learn that" if part == "train" else "nothing will be known of that"
            warnings.append(f"{part} has no example of {_named(absent)}: {what}")
    train = {name: count for name, count in counts["train"].items() if count}
    few = [name for name, count in train.items() if count < LEAST_EXAMPLES]
    if few:
        warnings.append(
            f"train has fewer than {LEAST_EXAMPLES} examples of {_named(few)}: expect wrong answers there. Add examples"
        )
    if imbalance(train) > MOST_IMBALANCE:
        most, least = max(train, key=lambda name: train[name]), min(train, key=lambda name: train[name])
        warnings.append(
            f"train has {imbalance(train):.0f} times as many examples of {_named([most])} ({train[most]}) as of "
            f"{_named([least])} ({train[least]}): accuracy says little of small classes. Add examples of these"
        )
    return warnings


def _named(names: Sequence[str]) -> str:
    return printable(listing(names), 400)
