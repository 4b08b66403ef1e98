"""Exact counts of many students at once.

From the second on, the layers of a transformer are equal, so every count grows by the same amount with each further
layer. Students that differ in layers alone therefore share three counts of `edgekd.cost.count`, each made for all
precisions together; a test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekd.cost.count import Counts, Macs, count_each, parameters
from edgekd.student import StudentSpec

_Shape = tuple[int, int, int, int, int]
_ByPrecision = dict[str, Counts]


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
    """Counts of the students of one teacher for one input shape."""

    def __init__(self, *, batch: int, sequence: int, precisions: Sequence[str]) -> None:
        self._setting = {"batch": batch, "sequence": sequence}
        self._precisions = tuple(precisions)
        self._known: dict[_Shape, tuple[_ByPrecision, _ByPrecision]] = {}

    def counts(self, spec: StudentSpec) -> _ByPrecision:
        """What `edgekd.cost.count.count` gives for `spec`, by precision. Errors: SpecError."""
        if spec.layers == 1:
            return self._counted(spec)
        shape = _shape(spec)
        if shape not in self._known:
            self._known[shape] = (self._counted(replace(spec, layers=2)), self._counted(replace(spec, layers=3)))
        two, three = self._known[shape]
        return {name: _continued(two[name], three[name], spec.layers - 2) for name in self._precisions}

    def _counted(self, spec: StudentSpec) -> _ByPrecision:
        return count_each(spec, self._precisions, **self._setting)


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
