"""What is wrong with a data set, found before anything is trained on it: refused where it cannot be used, else told.

History of the format of data.json
    (none)  hashes of the three parts, no schema_version.
    1.0     these, and what was found in them.
    1.1     also how many test examples repeat another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekd.data.balance import balance_warnings, imbalance, refuse_unlearnable
from edgekd.data.examples import Examples, Splits
from edgekd.data.leakage import CHANCE_FOUND, THRESHOLD, Leak, leaks, repeats
from edgekd.data.passages import passages
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.text import printable
from edgekd.units import text_from_share

SCHEMA_VERSION = "1.1"
MOST_TRUNCATED = 0.05  # our choice: as much as an accuracy may then be off for what nobody read


@dataclass(frozen=True)
class Checks:
    """What was found in the parts of a data set. Of images nothing is `blank` or `truncated`.

    `classes` are examples by part and class. `blank` are texts that hold nothing, `truncated` those that are longer
    than `max_length` tokens, by part; both are None where no tokenizer has counted. `rows` are the examples by
    part, where classes do not count them; `cut_words` the words by part whose tag lies beyond `max_length`. `repeated`
    are the test examples with the same input as one before them.
    """

    classes: Mapping[str, Mapping[str, int]]
    leaks: list[Leak]
    dropped: int
    blank: Mapping[str, int]
    max_length: int | None = None
    truncated: Mapping[str, int] | None = None
    rows: Mapping[str, int] | None = None
    cut_words: Mapping[str, int] | None = None
    repeated: int = 0

    @property
    def examples(self) -> dict[str, int]:
        """Examples by part."""
        return dict(self.rows or {part: sum(counts.values()) for part, counts in self.classes.items()})

    @property
    def warnings(self) -> list[str]:
        """What the user should know, the most harmful first."""
        told = [_leak_text(leak) for leak in self.leaks if leak.count]
        told += [_cut_short(leak) for leak in self.leaks if not leak.whole]
        told += [self._repeats_text()] if self.repeated else []
        told += balance_warnings(self.classes) if len(self.classes["train"]) > 1 else []
        told += [
            f"{part}: {count} of {self.examples[part]} texts are blank. Remove them"
            for part, count in self.blank.items()
            if count
        ]
        for part, count in (self.truncated or {}).items():
            share = count / max(1, self.examples[part])
            if share > MOST_TRUNCATED:
                told.append(
                    f"{part}: {text_from_share(share)} of the texts are longer than {self.max_length} tokens, and no "
                    "student sees what is cut off. Raise data.max_length"
                )
        told += [
            f"{part}: {count} words lie beyond {self.max_length} tokens; their tags are neither learned nor judged. "
            "Raise data.max_length, or cut sentences"
            for part, count in (self.cut_words or {}).items()
            if count
        ]
        return told

    def _repeats_text(self) -> str:
        share = text_from_share(self.repeated / self.examples["test"])
        same = "but for case, spaces and punctuation" if self.blank else "to the pixel"
        return (
            f"{self.repeated} of {self.examples['test']} test examples ({share}) repeat another one of test: the same "
            f"{same}. A second answer to one input tells nothing new, so intervals look narrower than they are. Remove "
            "them"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        parts = list(self.classes)
        names = list(self.classes["train"])
        return {
            "schema_version": SCHEMA_VERSION,
            "examples": self.examples,
            "classes": [{"name": name, **{part: self.classes[part][name] for part in parts}} for name in names],
            "imbalance": imbalance(self.classes["train"]),
            "leakage": [leak.to_dict() for leak in self.leaks],
            "near_duplicates": {"similarity": THRESHOLD, "chance_found": CHANCE_FOUND},
            "dropped": self.dropped,
            "repeated": self.repeated,
            "blank": dict(self.blank),
            "max_length": self.max_length,
            "truncated": None if self.truncated is None else dict(self.truncated),
            "warnings": self.warnings,
        }


def checked(splits: Splits, data: Data) -> Checks:
    """What is found in `splits`, which come from `data`.

    Errors: DataError where a class cannot be learned, or more of the test part than data.max_leakage also stands in the
    training part.
    """
    if splits.labelled:
        refuse_unlearnable(splits)
    blank = {name: len(part.blank) for name, part in splits.parts.items()} if splits.kind == "text" else {}
    found = Checks(
        splits.class_counts, leaks(splits.parts), splits.dropped, blank,
        rows={name: len(part) for name, part in splits.parts.items()}, repeated=repeats(splits.test),
    )  # fmt: skip
    return _unless_leaked(found, splits, data)


def checked_documents(splits: Splits, data: Data) -> Checks:
    """What is found in `splits` of documents, which come from `data`; leaks are of passages.

    Errors: DataError where more of the test part than data.max_leakage also stands in the training part.
    """
    shared = leaks({name: passages(part) for name, part in splits.parts.items()})
    blank = dict.fromkeys(splits.parts, 0)  # those that hold nothing were left out as they were read
    found = Checks(splits.class_counts, shared, splits.dropped, blank, repeated=repeats(splits.test))
    return _unless_leaked(found, splits, data)


def _unless_leaked(found: Checks, splits: Splits, data: Data) -> Checks:
    for leak in found.leaks:
        if (leak.part, leak.other) == ("test", "train") and leak.share > data.max_leakage:
            raise DataError(_refusal(leak, splits.test, data))
    return found


def _leak_text(leak: Leak) -> str:
    counts = f"{leak.count} of {leak.examples} {leak.part} examples ({text_from_share(leak.share)})"
    return f"{counts} also stand in {leak.other}: {_kinds(leak)}. {_consequence(leak)}"


def _kinds(leak: Leak) -> str:
    if leak.shown and leak.shown[0]["text"] is None:
        return f"{leak.same} the same to the pixel"
    return f"{leak.same} the same but for case, spaces and punctuation, {leak.nearly} nearly the same"


def _consequence(leak: Leak) -> str:
    if leak.other == "train":
        return "They show what a model remembers, not what it has learned. Set data.drop_leaked: true"
    return "What is chosen by them is also judged by them. Take them out of the validation part or name another"


def _cut_short(leak: Leak) -> str:
    return (
        f"{leak.part} resembles {leak.other} so much that not all of it was compared: more of it may stand there, too"
    )


def _refusal(leak: Leak, test: Examples, data: Data) -> str:
    first = leak.shown[-1]
    such = "" if first["text"] is None else f" such as {printable(repr(first['text']), 100)}"
    return (
        f"{test.name}: {leak.count} of {leak.examples} test examples ({text_from_share(leak.share)}) also stand in the "
        f"training part{such}, expected at most {text_from_share(data.max_leakage)} (data.max_leakage). Set "
        "data.drop_leaked: true to train without them, or name another test part"
    )
