"""The moment when the most activations are alive: which operator runs then, and what it finds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.cost.count import QUANTISED_BYTES, float_bytes, reads_quantised
from edgekd.cost.trace import Operator


@dataclass(frozen=True, slots=True)
class Peak:
    """The peak of one pass: while `operator` of the class `group` runs, the tensors in `alive` take their bytes."""

    operator: str
    group: str
    alive: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """All tensors together."""
        return sum(self.alive.values())


def peak_of(trace: Sequence[Operator], precision: str) -> Peak:
    """The peak of `trace` under the schedule of `edgekd.cost.count.peak_activation_bytes`, the first of equal ones.

    The largest tensor stands first; 'X as uint8' is the copy of X that a quantised layer reads.
    """
    last_reader = {name: index for index, op in enumerate(trace) for name in op.reads}
    alive: dict[str, int] = {}
    best = Peak("", "", {})
    for index, op in enumerate(trace):
        if op.overwrites and last_reader[op.reads[0]] == index:
            del alive[op.reads[0]]
        alive[op.name] = float_bytes(precision) * op.elements
        copy = QUANTISED_BYTES * op.input_elements if reads_quantised(precision) else 0
        now = {**alive, f"{op.reads[0]} as uint8": copy} if copy else dict(alive)
        if sum(now.values()) > best.total_bytes:
            best = Peak(op.name, op.group, now)
        for name in op.reads:
            if last_reader[name] == index:
                alive.pop(name, None)
    ordered = sorted(best.alive.items(), key=lambda item: -item[1])
    return Peak(best.operator, best.group, dict(ordered))
