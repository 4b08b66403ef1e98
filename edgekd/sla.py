"""The SLA: what a model must keep on its device, and how sure we must be."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from edgekd.config import Bytes, Joules, Model, Number, Seconds, Share, load
from edgekd.errors import SlaError

_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)")


def quantile_from_name(name: str) -> float:
    """0.95 from 'p95', 0.999 from 'p99.9'. Errors: ValueError for another spelling, p0 included."""
    match = _QUANTILE.fullmatch(name)
    if match is None or not 0 < float(match[1]) < 100:
        raise ValueError(f"found {name!r}, expected a percentile such as p50, p95, p99 or p99.9")
    return float(match[1]) / 100


class Sla(Model):
    """Limits that one artifact must keep on one device. A limit that is absent is not judged; at least one is needed.

    Units: latency in seconds by percentile, memory and size in bytes, energy in joules for an inference, accuracy as a
    share of right answers, accuracy_drop as a share lost against the teacher (0.01 = one percentage point). Of a
    language model accuracy is that of the next token, perplexity e to the power of the mean loss of a token,
    perplexity_rise a share above the teacher's (0.05 = 5 % more). `power_mode` is no limit: latency and energy are
    judged in it alone.
    """

    latency: dict[str, Seconds] = Field(default_factory=dict, description="limit by percentile, such as p95: 5 ms")
    memory: Bytes | None = Field(default=None, description="peak resident memory of the measuring process")
    energy: Joules | None = Field(default=None, description="energy of one inference, of the whole board")
    size: Bytes | None = Field(default=None, description="bytes of the model file on disk")
    accuracy: Share | None = Field(default=None, description="least share of right answers on the test data")
    accuracy_drop: Share | None = Field(default=None, description="most accuracy lost against the teacher")
    perplexity: Number | None = Field(default=None, description="most perplexity of a language model on the test data")
    perplexity_rise: Share | None = Field(default=None, description="most perplexity above the teacher's, as a share")
    power_mode: Annotated[str, Field(min_length=1, max_length=40)] | None = Field(
        default=None, description="the power mode the board must be in, as its own tool names it, such as 15W"
    )
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = Field(
        default=0.95, description="how sure PASS and FAIL must be about a latency percentile"
    )

    @field_validator("latency")
    @classmethod
    def _percentiles(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            quantile_from_name(name)
        ordered = sorted(value, key=quantile_from_name)
        for low, high in itertools.pairwise(ordered):
            if value[low] > value[high]:
                raise ValueError(f"the limit of {low} is above that of {high}, so {low} can never be the one missed")
        return value

    @model_validator(mode="after")
    def _positive(self) -> Sla:
        for name, limit in (*((f"latency.{k}", v) for k, v in self.latency.items()), *self._bounds()):
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} is 0, which no model can keep; write a limit above zero or remove the line")
        if self.perplexity is not None and self.perplexity < 1:
            raise ValueError(f"perplexity is {self.perplexity}, which no model can keep; it is 1 at the very least")
        if not self.latency and all(
            limit is None for limit in (self.accuracy_drop, self.perplexity_rise, *dict(self._bounds()).values())
        ):
            raise ValueError(
                "no limit is set; set at least one of latency, memory, energy, size, accuracy, accuracy_drop, "
                "perplexity, perplexity_rise"
            )
        return self

    def _bounds(self) -> tuple[tuple[str, float | None], ...]:
        return (
            ("memory", self.memory),
            ("energy", self.energy),
            ("size", self.size),
            ("accuracy", self.accuracy),
            ("perplexity", self.perplexity),
        )


def load_sla(path: Path) -> Sla:
    """The SLA in the YAML file at `path`. Errors: InputError, SlaError with the line."""
    return load(path, Sla, SlaError)
