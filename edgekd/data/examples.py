"""Examples with their labels, and the three parts a data set is split into."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekd.errors import DataError

Kind = Literal["text", "image"]
Numbers = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Examples:
    """One part of a data set: texts (with `pairs` as second texts) or images, and the number of each one's class.

    Shapes: images [N, C, H, W], uint8 (0..255) or float32 (used as they are); labels [N].
    Errors: DataError when inputs and labels differ in number.
    """

    name: str
    labels: Numbers
    texts: list[str] | None = None
    pairs: list[str] | None = None
    images: Images | None = None

    def __post_init__(self) -> None:
        if (self.texts is None) == (self.images is None):
            raise DataError(f"{self.name}: expected either texts or images, found both or neither")
        if self.images is not None and self.images.ndim != 4:
            raise DataError(f"{self.name}: found images of shape {self.images.shape}, expected [N, C, H, W]")
        for inputs in (self.texts, self.pairs, self.images):
            if inputs is not None and len(inputs) != len(self.labels):
                raise DataError(f"{self.name}: found {len(inputs)} inputs and {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kind(self) -> Kind:
        """'text' or 'image'."""
        return "image" if self.texts is None else "text"

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
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    @cached_property
    def keys(self) -> list[bytes]:
        """One key per example, equal where the inputs are: texts but for case, width and spaces, images to the bit."""
        if self.images is not None:
            return [hashlib.sha256(image.tobytes()).digest() for image in self.images]
        first = self.texts or []
        second = self.pairs or [""] * len(first)
        both = (f"{normalised(a)}\x1f{normalised(b)}" for a, b in zip(first, second, strict=True))
        return [hashlib.sha256(text.encode()).digest() for text in both]

    def subset(self, indices: Sequence[int] | Numbers) -> Examples:
        """The examples at `indices`, in that order, under the same name."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            labels=self.labels[rows],
            texts=None if self.texts is None else [self.texts[row] for row in rows],
            pairs=None if self.pairs is None else [self.pairs[row] for row in rows],
            images=None if self.images is None else self.images[rows],
        )


def normalised(text: str) -> str:
    """`text` without differences of case, character width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set ready for use. `notes` are sentences about it that the user should see."""

    train: Examples
    validation: Examples
    test: Examples
    label_names: list[str]
    kind: Kind
    notes: list[str] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, Examples]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """Examples of each class in each part: part -> label name -> number."""
        counts = {part: np.bincount(rows.labels, minlength=len(self.label_names)) for part, rows in self.parts.items()}
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
