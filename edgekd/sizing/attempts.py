"""`attempts.json`: what became of the students that a run trained, measured and judged, and how it went on from each.

A truth is what the gate found for one limit of one exported student, beside what sizing had expected of it untrained.
This module is light: the terminal and the report read the file without numpy.

History of the format
    1.0  first.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from edgekd.config import Model
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, write_json
from edgekd.student import StudentSpec
from edgekd.text import printable

SCHEMA_VERSION = "1.0"

Outcome = Literal["pass", "fail", "inconclusive"]
Ratio = Annotated[float, Field(ge=0)]
Factors = dict[str, dict[str, Annotated[float, Field(gt=0)]]]

# Open for a reason that a smaller student would mend; any other lies in the measurement. See edgekd.gate.judge.
MENDED_BY_SIZE = ("MISSED", "TOO_CLOSE", "BURSTS", "DRIFT")


class Truth(Model):
    """One limit of one exported student: `expected` before any training, and what the gate found.

    Units: all numbers are in `unit`; `expected` is None for accuracy and perplexity, which nobody foretold.
    """

    metric: str
    unit: Literal["s", "B", "share", "perplexity", "J"]
    limit: float
    expected: float | None
    estimate: float | None
    low: float | None
    high: float | None
    outcome: Outcome
    reason: str

    @property
    def cost(self) -> bool:
        """Whether it grows with the student: a latency, the memory, the size or the energy."""
        return self.unit in ("s", "B", "J")

    @property
    def found(self) -> float | None:
        """What must lie within the limit for a PASS: the upper end of the confidence interval, else the estimate."""
        return self.estimate if self.high is None else self.high

    @property
    def value(self) -> float:
        """`found`, and beyond the limit where that was not kept, whatever was found."""
        over = math.nextafter(self.limit, math.inf)
        if self.outcome == "pass" and self.found is not None:
            return self.found
        return max(over, self.found or over)

    @property
    def ratio(self) -> float:
        """`value` / limit."""
        return self.value / self.limit

    @property
    def factor(self) -> float | None:
        """Truth / expectation; never below 1 where the limit was not kept, None where one of them is unknown."""
        if not self.expected or not self.found:
            return None
        ratio = self.found / self.expected
        return ratio if self.outcome == "pass" else max(1.0, ratio)


class Aim(Model):
    """Where the next student should stand, as value / limit of the limit that it takes most of.

    `least` and `most` are 10 to 20 % away from the attempt before; where no student lies between them, the nearest ones
    from `low` to `high` are meant, or all of them where the limit is `exact`: on memory or size, which hardly scatter.
    All are more capable than the student named in `above`.
    """

    direction: Literal["smaller", "larger"]
    least: Ratio
    most: Ratio
    low: Ratio
    high: Ratio
    above: str | None
    after: str
    exact: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Aim:
        if not self.low <= self.high <= 1 or self.least > self.most:
            raise ValueError("the ends of an aim are not in order, expected low <= high <= 1 and least <= most")
        return self


class Tried(Model):
    """A student that was trained; `sequence` as in Candidate."""

    spec: dict[str, Any]
    sequence: int

    @field_validator("spec")
    @classmethod
    def _possible(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            StudentSpec.from_dict(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @property
    def student(self) -> StudentSpec:
        """The spec as an object."""
        return StudentSpec.from_dict(self.spec)


class Learned(Model):
    """What trained students tell a sizing.

    `factors` are truth / expectation by precision and limit, `truths` values by candidate and limit, `tried` the
    students of the attempts so far, and `aim` says where the next one should stand.
    """

    factors: Factors = {}  # noqa: RUF012  pydantic copies defaults
    truths: dict[str, dict[str, float]] = {}  # noqa: RUF012
    tried: list[Tried] = []  # noqa: RUF012
    aim: Aim | None = None


NOTHING = Learned()


class Attempt(Tried):
    """One student that was trained, exported, measured and judged. `number` names its folder in attempts/.

    `name` is that in students.json, `capacity` its parameters outside the embeddings, `truths` are by precision,
    `selected` is the precision that the verdict is about, `learned` what the choice rested on, `seconds` how long the
    training took.
    """

    number: Annotated[int, Field(ge=1)]
    name: str
    parameters: Annotated[int, Field(ge=1)]
    capacity: Annotated[int, Field(ge=0)]
    learned: Learned
    truths: Annotated[dict[str, list[Truth]], Field(min_length=1)]
    selected: str
    outcome: Outcome
    validation_accuracy: Annotated[float, Field(ge=0, le=1)]
    seconds: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _selected_is_there(self) -> Attempt:
        if self.selected not in self.truths:
            raise ValueError(f"the selected precision {self.selected!r} is not among the truths")
        return self

    def costs(self, precision: str) -> list[Truth]:
        """The limits that grow with a student."""
        return [truth for truth in self.truths[precision] if truth.cost]

    @property
    def capability(self) -> tuple[int, int]:
        """The order in which sizing ranks students: the length of their input, then their capacity."""
        return self.sequence, self.capacity

    @property
    def kept(self) -> list[str]:
        """The precisions in which latency, memory, size and energy were kept, whatever the accuracy is."""
        return [name for name in self.truths if all(truth.outcome == "pass" for truth in self.costs(name))]

    @property
    def nearest(self) -> str:
        """The precision that does best: it takes least of the limit that it takes most of."""
        return min(self.kept or self.truths, key=self._ratio)

    @property
    def worst(self) -> Truth | None:
        """The limit that is taken most in the precision that does best; None without limits on costs."""
        return max(self.costs(self.nearest), key=lambda truth: truth.ratio, default=None)

    @property
    def ratio(self) -> float:
        """value / limit of `worst`; 0 without such limits."""
        return self._ratio(self.nearest)

    def _ratio(self, precision: str) -> float:
        return max((truth.ratio for truth in self.costs(precision)), default=0.0)

    @property
    def missed(self) -> bool:
        """Whether a smaller student is the way to mend it."""
        open_ = [truth for name in self.truths for truth in self.costs(name) if truth.outcome != "pass"]
        return not self.kept and any(truth.reason in MENDED_BY_SIZE for truth in open_)


class Blocked(Model):
    """Why no attempt follows the last one although a wish is left: no such student, or not enough time for it."""

    why: Literal["space", "time"]
    needs_s: float = 0.0


class AttemptsFile(Model):
    """All attempts under the same limits in their order, `earlier` ones that still teach, and how it ended.

    `key` and `loop` hash what the truths and the sequence depend on; `best` is the number of the winner.
    """

    schema_version: Literal["1.0"] = "1.0"
    kind: Literal["attempts"] = "attempts"
    key: str
    loop: str
    attempts: list[Attempt] = []  # noqa: RUF012
    earlier: list[Attempt] = []  # noqa: RUF012
    blocked: Blocked | None = None
    ended: str | None = None
    best: int | None = None

    @model_validator(mode="after")
    def _numbers_are_unique(self) -> AttemptsFile:
        numbers = [attempt.number for attempt in (*self.attempts, *self.earlier)]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"two attempts have the same number in {numbers}")
        if self.best is not None and all(attempt.number != self.best for attempt in self.attempts):
            raise ValueError(f"best is {self.best}, which is none of the attempts")
        return self


def write_attempts(file: AttemptsFile, path: Path) -> None:
    """Store `file` at `path`; a file that says the same already is left alone. Errors: InputError, StorageError."""
    table = file.model_dump(mode="json")
    if not path.is_file() or read_json(path) != table:
        write_json(path, table)


def read_attempts(path: Path) -> AttemptsFile:
    """The file at `path`. Errors: InputError when unreadable, RecordError when it is no such file."""
    table = read_json(path)
    mend = "Remove it, and edgekd run makes it again"
    if not isinstance(table, dict) or table.get("kind") != "attempts" or "schema_version" not in table:
        raise RecordError(f"{path}: is no attempts.json of edgekd (kind and schema_version). {mend}")
    version = table["schema_version"]
    if version != SCHEMA_VERSION:
        found = printable(repr(version), 40)
        raise RecordError(f"{path}: has schema_version {found}, this edgekd reads {SCHEMA_VERSION}. {mend}")
    try:
        return AttemptsFile.model_validate(table)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RecordError(f"{path}: {printable(place, 200)}: {printable(message, 300)}. {mend}") from None
