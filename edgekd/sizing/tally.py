"""Exact counts of many students at once.

From the second on, the layers of a transformer are equal, so every count grows by the same amount with each further
layer. Students that differ in layers alone therefore share two counts of `edgekd.cost.count`; a test compares both.
"""

from __future__ import annotations

from dataclasses import replace

from edgekd.cost.count import Counts, Macs, count, parameters
from edgekd.student import StudentSpec

_Shape = tuple[int, int, int, int, int]


class ParameterTally:
    """Parameter counts of the students of one teacher."""

    def __init__(self) -> None:
        self._known: dict[_Shape, tuple[int, int]] = {}

    def parameters(self, spec: StudentSpec) -> int:
        """What `edgekd.cost.count.parameters` gives for `spec`. Errors: SpecError."""
        shape = _shape(spec)
        if shape not in self._known:
            one, two = parameters(replace(spec, layers=1)), parameters(replace(spec, layers=2))
            self._known[shape] = (one, two - one)
        first, step = self._known[shape]
        return first + (spec.layers - 1) * step


class CountTally:
    """Counts of the students of one teacher for one input shape and precision."""

    def __init__(self, *, batch: int, sequence: int, precision: str) -> None:
        self._setting = {"batch": batch, "sequence": sequence}
        self._precision = precision
        self._known: dict[_Shape, tuple[Counts, Counts]] = {}

    def counts(self, spec: StudentSpec) -> Counts:
        """What `edgekd.cost.count.count` gives for `spec`. Errors: SpecError."""
        if spec.layers == 1:
            return count(spec, **self._setting, precision=self._precision)
        shape = _shape(spec)
        if shape not in self._known:
            two, three = (
                count(replace(spec, layers=layers), **self._setting, precision=self._precision) for layers in (2, 3)
            )
            self._known[shape] = (two, three)
        return _continued(*self._known[shape], spec.layers - 2)


def _shape(spec: StudentSpec) -> _Shape:
    return spec.hidden, spec.heads, spec.head_dim, spec.kv_heads, spec.ffn


def _continued(two: Counts, three: Counts, further: int) -> Counts:
    def grown(first: int, second: int) -> int:
        return first + further * (second - first)

    before, after = two.breakdown, three.breakdown
    breakdown = Macs(
        embeddings=before.embeddings,
        projections=grown(before.projections, after.projections),
        attention=grown(before.attention, after.attention),
        feed_forward=grown(before.feed_forward, after.feed_forward),
        head=before.head,
    )
    return Counts(
        parameters=grown(two.parameters, three.parameters),
        macs=breakdown.total,
        breakdown=breakdown,
        weight_bytes=grown(two.weight_bytes, three.weight_bytes),
        activation_bytes=grown(two.activation_bytes, three.activation_bytes),
        peak_activation_bytes=three.peak_activation_bytes,
        batch=two.batch,
        sequence=two.sequence,
        precision=two.precision,
    )
