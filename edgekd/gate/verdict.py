"""The verdict as plain data: one outcome per limit, one for the whole, and what was found.

A verdict holds no path, no date and no machine of ours, so equal evidence gives equal files.

History of the format
    1.0  first, with the limits of language models: perplexity, perplexity_rise.
    1.1  more reasons: CLOCK_FELL, GOVERNOR_CHANGED, SUSPENDED, POWER_MODE; energy, with ENERGY_UNKNOWN.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from edgekd.errors import RecordError
from edgekd.text import printable
from edgekd.units import text_from_bytes, text_from_j, text_from_s, text_from_share

SCHEMA_VERSION = "1.1"
READABLE = ("1.0", SCHEMA_VERSION)
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Unit = Literal["s", "B", "share", "perplexity", "J"]
Count = Annotated[int, Field(ge=0)]


class Outcome(StrEnum):
    """PASS and FAIL each need evidence of their own; whatever lies between is INCONCLUSIVE."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Reason(StrEnum):
    """Why a criterion ended as it did. What each one blocks is said in `edgekd.gate.judge`."""

    KEPT = "KEPT"
    MISSED = "MISSED"
    NO_LATENCY_RECORD = "NO_LATENCY_RECORD"
    MIXED_CONDITIONS = "MIXED_CONDITIONS"
    THROTTLED = "THROTTLED"
    POWER_MODE = "POWER_MODE"
    SUSPENDED = "SUSPENDED"
    GOVERNOR_CHANGED = "GOVERNOR_CHANGED"
    CLOCK_FELL = "CLOCK_FELL"
    DRIFT = "DRIFT"
    RUNS_MISSING = "RUNS_MISSING"
    TOO_FEW_SAMPLES = "TOO_FEW_SAMPLES"
    TOO_CLOSE = "TOO_CLOSE"
    BURSTS = "BURSTS"
    MEMORY_UNKNOWN = "MEMORY_UNKNOWN"
    ENERGY_UNKNOWN = "ENERGY_UNKNOWN"
    MEMORY_UNSEEN = "MEMORY_UNSEEN"
    TOO_FEW_RUNS = "TOO_FEW_RUNS"
    SIZE_CONTRADICTED = "SIZE_CONTRADICTED"
    NO_ACCURACY_RECORD = "NO_ACCURACY_RECORD"
    NO_LOSSES = "NO_LOSSES"
    NO_TEACHER_RECORD = "NO_TEACHER_RECORD"
    OTHER_DATASET = "OTHER_DATASET"
    NOT_REPEATABLE = "NOT_REPEATABLE"


@dataclass(frozen=True)
class Criterion:
    """One limit judged.

    `low` and `high` bound the truth where a bound was computed; `over` of `n` samples are beyond the limit; `needed`
    is about how many samples in all would decide. `text` says it to a person, in one sentence.
    Units: limit, estimate, low and high are in `unit`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    metric: str
    limit: float
    unit: Unit
    outcome: Outcome
    reason: Reason
    text: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: Count | None = None
    over: Count | None = None
    needed: Count | None = None

    @property
    def excess(self) -> float | None:
        """How far the estimate is on the wrong side: above 0 misses the limit, as a share of it or of all answers."""
        if self.estimate is None:
            return None
        if self.unit == "share":
            beyond = self.estimate - self.limit
            return -beyond if self.metric == "accuracy" else beyond
        return self.estimate / self.limit - 1


@dataclass(frozen=True)
class Verdict:
    """What was decided about one artifact; `alternatives` are the verdicts on those that were not selected."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    artifact: str
    sha256: str
    precision: str
    role: Literal["student", "teacher", "other"]
    size_bytes: Count
    outcome: Outcome
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    device: str | None = None
    host: str | None = None
    runtime: str | None = None
    median_latency_s: Annotated[float, Field(gt=0)] | None = None
    notes: tuple[str, ...] = ()
    alternatives: tuple[Verdict, ...] = ()
    schema_version: Literal["1.0", "1.1"] = SCHEMA_VERSION  # type: ignore[assignment]

    @property
    def text(self) -> str:
        """'PASS: MODEL (int8) keeps 3 of 3 limits' in one line."""
        kept = sum(criterion.outcome is Outcome.PASS for criterion in self.criteria)
        where = f" on {printable(self.device, 80)}" if self.device else ""
        name = f"{printable(self.artifact, 80)} ({printable(self.precision, 40)}){where}"
        return f"{self.outcome.upper()}: {name} keeps {kept} of {len(self.criteria)} limits"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as a JSON value."""
        table: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return table

    @classmethod
    def from_dict(cls, table: Any, where: str = "verdict") -> Verdict:
        """The verdict in the JSON value `table`; `where` names its origin.

        Errors: RecordError, also when the outcome does not follow from the criteria.
        """
        if not isinstance(table, dict) or "schema_version" not in table or "criteria" not in table:
            raise RecordError(f"{where}: is not an edgekd verdict. Make one: edgekd gate RECORDS --sla sla.yaml")
        version = table["schema_version"]
        if version not in READABLE:
            found = printable(repr(version), 40)
            raise RecordError(
                f"{where}: has schema_version {found}, this edgekd reads {READABLE[0]} to {SCHEMA_VERSION}"
            )
        try:
            verdict = _ADAPTER.validate_json(json.dumps(table))
        except ValidationError as problems:
            first = problems.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "verdict"
            found = printable(repr(first["input"]), 60)
            raise RecordError(f"{where}: {place}: {first['msg']} (found {found})") from None
        except (ValueError, RecursionError):
            raise RecordError(f"{where}: holds a value that no verdict can hold") from None
        for each in (verdict, *verdict.alternatives):
            if each.outcome is not overall(each.criteria):
                said, follows = each.outcome, overall(each.criteria)
                raise RecordError(f"{where}: says {said} where its criteria say {follows}; judge the records again")
        return verdict


_ADAPTER: TypeAdapter[Verdict] = TypeAdapter(Verdict)


def overall(criteria: tuple[Criterion, ...]) -> Outcome:
    """FAIL if any fails, PASS only if there is one and all pass, INCONCLUSIVE otherwise."""
    outcomes = {criterion.outcome for criterion in criteria}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    return Outcome.PASS if outcomes == {Outcome.PASS} else Outcome.INCONCLUSIVE


def value_text(value: float | None, unit: Unit) -> str:
    """`value` as a person reads it: '5.00 ms', '1.20 MB', '97.30 %', '23.41'; 'unknown' for None."""
    if value is None:
        return "unknown"
    if unit == "s":
        return text_from_s(value)
    if unit == "perplexity":
        return f"{value:.2f}"
    if unit == "J":
        return text_from_j(value)
    return text_from_bytes(value) if unit == "B" else text_from_share(value, 2)


def excess_text(excess: float) -> str:
    """'1.23 times the limit' or, close to it, '0.40 % above the limit', for a miss by the share `excess`."""
    return f"{1 + excess:.2f} times the limit" if excess >= 0.1 else f"{100 * excess:.2g} % above the limit"
