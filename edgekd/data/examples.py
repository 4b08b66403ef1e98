"""Examples with their labels, and the three parts a data set is split into."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd.data.normalise import normalised
from edgekd.errors import DataError
from edgekd.text import printable

MOST_SHOWN = 200  # characters of a text in reports, our choice

Kind = Literal["text", "image"]
Numbers = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Examples:
    """One part of a data set: texts (with `pairs` as second texts) or images, and the number of each one's class.

    Sentences have `words`, and their texts are these joined by spaces; a class belongs to a word then.

    Shapes: images [N, C, H, W], uint8 (0..255) or float32 (used as they are); labels [N], or [N, labels] of 1 and 0
    where an example may have several, or one for each word of all sentences, in their order.
    Errors: DataError when inputs and labels differ in number.
    """

    name: str
    labels: Numbers
    texts: list[str] | None = None
    pairs: list[str] | None = None
    images: Images | None = None
    words: list[list[str]] | None = None

    def __post_init__(self) -> None:
        if (self.texts is None) == (self.images is None):
            raise DataError(f"{self.name}: expected either texts or images, found both or neither")
        if self.images is not None and self.images.ndim != 4:
            raise DataError(f"{self.name}: found images of shape {self.images.shape}, expected [N, C, H, W]")
        for inputs in (self.texts, self.pairs, self.images):
            if inputs is not None and len(inputs) != len(self):
                raise DataError(f"{self.name}: found {len(inputs)} inputs and {len(self)} labels")
        if self.words is not None and sum(map(len, self.words)) != len(self.labels):
            raise DataError(f"{self.name}: found {sum(map(len, self.words))} words and {len(self.labels)} tags")

    def __len__(self) -> int:
        return len(self.labels) if self.words is None else len(self.words)

    @property
    def kind(self) -> Kind:
        """'text' or 'image'."""
        return "image" if self.texts is None else "text"

    @property
    def present(self) -> set[int]:
        """The numbers of the classes that have an example."""
        return set(np.flatnonzero(self.labels.any(axis=0) if self.several else np.bincount(self.labels)).tolist())

    @property
    def several(self) -> bool:
        """Whether an example may have several labels, or none."""
        return self.labels.ndim == 2

    @property
    def starts(self) -> Numbers:
        """Where the words of each sentence begin among all, and where the last one ends. Shapes: [N + 1]."""
        lengths = [1] * len(self) if self.words is None else list(map(len, self.words))
        return np.asarray(np.cumsum([0, *lengths]), dtype=np.int64)

    def counts(self, classes: int) -> Numbers:
        """The examples of each class, or words of each tag. Shapes: [classes]."""
        if self.several:
            return np.asarray(self.labels.sum(axis=0), dtype=np.int64)
        return np.bincount(self.labels, minlength=classes)

    @cached_property
    def strata(self) -> Numbers:
        """What a draw keeps the shares of: the class, or the rarest of several; one more for those without any.

        Shapes: [N].
        """
        if self.several:
            shares = np.where(self.labels > 0, self.labels.sum(axis=0), len(self) + 1)
            none = np.full((len(self), 1), len(self))
            found: Numbers = np.concatenate([shares, none], axis=1).argmin(axis=1).astype(np.int64)
            return found
        if self.words is None:
            return self.labels
        order = np.argsort(np.bincount(self.labels), kind="stable")
        rank: Numbers = np.empty_like(order)
        rank[order] = np.arange(len(order))
        found = np.asarray(order)[np.minimum.reduceat(rank[self.labels], self.starts[:-1])]
        return np.asarray(found, dtype=np.int64)

    @property
    def answers(self) -> list[bytes]:
        """What the labels of each example are, for comparisons."""
        starts = self.starts
        return [self.labels[starts[row] : starts[row + 1]].tobytes() for row in range(len(self))]

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of inputs and labels in their order; the name does not count."""
        digest = hashlib.sha256(self.kind.encode())
        for texts in (self.texts, self.pairs):
            digest.update(b"-" if texts is None else f"{len(texts)}:".encode())
            for text in texts or ():
                data = text.encode()
                digest.update(f"{len(data)}:".encode() + data)
        if self.images is not None:
            digest.update(f"{self.images.dtype.name}{self.images.shape}".encode())
            digest.update(np.ascontiguousarray(self.images).data)
        for words in self.words or ():
            data = "\x1f".join(words).encode()
            digest.update(f"{len(words)}:{len(data)}:".encode() + data)
        if self.several:
            digest.update(f"{self.labels.shape}".encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    @cached_property
    def normal(self) -> list[tuple[str, ...]]:
        """Per example its text, or both of a pair, without differences that make no other input; empty for images."""
        sides = [texts for texts in (self.texts, self.pairs) if texts is not None]
        return list(zip(*(map(normalised, texts) for texts in sides), strict=True)) if sides else []

    @cached_property
    def keys(self) -> list[bytes]:
        """One key per example, equal where the inputs are: texts when normalised, images to the bit."""
        if self.images is not None:
            return [hashlib.sha256(image.tobytes()).digest() for image in self.images]
        # No normalised text holds a control character.
        return [hashlib.sha256("\x1f".join(texts).encode()).digest() for texts in self.normal]

    @property
    def blank(self) -> list[int]:
        """The examples of which a text, or one of the two, holds nothing visible."""
        return [row for row, texts in enumerate(self.normal) if "" in texts]

    def shown(self, row: int) -> str | None:
        """The text of an example, or both of a pair, short enough to read and safe to print; None for an image."""
        texts = [column[row] for column in (self.texts, self.pairs) if column is not None]
        return " | ".join(printable(" ".join(text.split()), MOST_SHOWN) for text in texts) if texts else None

    def subset(self, indices: Sequence[int] | Numbers) -> Examples:
        """The examples at `indices`, in that order, under the same name."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            labels=self.labels[rows] if self.words is None else self._labels_of(rows),
            words=None if self.words is None else [self.words[row] for row in rows],
            texts=None if self.texts is None else [self.texts[row] for row in rows],
            pairs=None if self.pairs is None else [self.pairs[row] for row in rows],
            images=None if self.images is None else self.images[rows],
        )

    def _labels_of(self, rows: Numbers) -> Numbers:
        parts = [self.labels[begin:end] for begin, end in zip(self.starts[rows], self.starts[rows + 1], strict=True)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set ready for use. `notes` are sentences about it that the user should see.

    `dropped` counts training examples that were left out because they also stand in another part.
    """

    train: Examples
    validation: Examples
    test: Examples
    label_names: list[str]
    kind: Kind
    notes: list[str] = field(default_factory=list)
    dropped: int = 0

    @property
    def parts(self) -> dict[str, Examples]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def labelled(self) -> bool:
        """Whether the examples have labels: without them all are of one class."""
        return len(self.label_names) > 1

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """Examples of each class (words of each tag) in each part: part -> label name -> number."""
        counts = {part: rows.counts(len(self.label_names)) for part, rows in self.parts.items()}
        return {
            part: {name: int(number) for name, number in zip(self.label_names, numbers, strict=True)}
            for part, numbers in counts.items()
        }

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the three parts and the label names."""
        parts = [examples.sha256 for examples in self.parts.values()]
        names = [f"{len(name)}:{name}" for name in self.label_names]
        return hashlib.sha256("\n".join([*parts, *names]).encode()).hexdigest()
