"""Which students a recipe's space holds: every combination of its choices, without those that cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import SpecColumns, Whole
from edgekd.cost.count import parameters
from edgekd.errors import SpecError
from edgekd.sizing.grid import Grid, Picked
from edgekd.sizing.layers import Layered, shape_parameters
from edgekd.sizing.price import SMALL_SHARE
from edgekd.student import StudentSpec
from edgekd.units import text_from_share


@dataclass(frozen=True, eq=False)
class Enumeration:
    """The students of a space in a fixed order, and how many combinations were refused for which reason.

    `considered` counts all combinations, refused ones included. Shapes: `sequence` int64 [students], tokens per input.
    """

    layered: Layered
    sequence: Whole
    considered: int
    refused: dict[str, int]
    warnings: list[str]

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def specs(self) -> SpecColumns:
        """The dimensions of the students."""
        return self.layered.specs


def enumerate_students(grid: Grid) -> Enumeration:
    """Every student of `grid`, ordered by sequence, layers, hidden, head_dim, heads, key heads and ffn.

    Errors: SpecError when nothing is left, with the reasons and what to change.
    """
    found = _enumerated(grid)
    if not len(found):
        raise SpecError(nothing_left(found.refused, grid))
    return found


def _enumerated(grid: Grid) -> Enumeration:
    return _by_shape(grid) if "layers" in grid.axes and not grid.ties_layers else _row_by_row(grid)


def possible(grid: Grid, picked: Picked) -> NDArray[np.bool_]:
    """Which combinations yield a student, shares included; equal ones are not told apart."""
    codes, _ = _coded(grid, picked)
    found: NDArray[np.bool_] = codes == 0
    if found.any():
        sizes = shape_parameters(picked.specs.rows(found))
        shares = sizes.grown(picked.specs.layers[found]) / parameters(grid.teacher)
        found[found] = (shares >= grid.space.min_share) & (shares <= grid.space.max_share)
    return found


def refusals(grid: Grid, number: int) -> dict[str, int]:
    """Why combinations of a large space yield no student, by an even sample of at most about `number` of them."""
    step = max(1, math.ceil((grid.size / number) ** (1 / len(grid.axes))))
    thinned = {name: values[::step].tolist() for name, values in grid.axes.items()}
    return _enumerated(replace(grid, space=grid.space.model_copy(update=thinned))).refused


def share_warnings(grid: Grid, specs: SpecColumns, shares: NDArray[np.float64]) -> list[str]:
    """What to say about the students as a whole."""
    warnings, teacher = [], grid.teacher
    small = int((shares < SMALL_SHARE).sum())
    if small:
        limit = text_from_share(SMALL_SHARE, 0)
        warnings.append(
            f"{small} of {len(specs)} students have less than {limit} of the teacher's parameters; "
            "expect them to lose much of its accuracy"
        )
    if specs.where(teacher).any():
        warnings.append(f"the space holds the teacher's own dimensions ({teacher.name})")
    return warnings


def _by_shape(grid: Grid) -> Enumeration:
    """All but layers is looked at once, for the layers change nothing about it but the parameters."""
    layers = grid.axes["layers"].astype(np.int64)
    shapes = grid.all_but("layers", "sequence")
    codes, reasons = _coded(grid, shapes, _first_of_each(shapes.specs))
    too_deep = layers > grid.teacher.layers
    refused = np.bincount(codes, minlength=len(reasons)) * int((~too_deep).sum())
    refused[1] = too_deep.sum() * len(codes)
    kept, depths = shapes.specs.rows(codes == 0), layers[~too_deep]
    of = np.tile(np.arange(len(kept)), len(depths))
    return _finished(grid, Layered(kept, np.repeat(depths, len(kept)), of), dict(zip(reasons, refused, strict=True)))


def _row_by_row(grid: Grid) -> Enumeration:
    rows = grid.all_but("sequence")
    codes, reasons = _coded(grid, rows, _first_of_each(rows.specs))
    kept = rows.specs.rows(codes == 0)
    refused = dict(zip(reasons, np.bincount(codes, minlength=len(reasons)), strict=True))
    return _finished(grid, Layered(kept, kept.layers, np.arange(len(kept))), refused)


def _coded(grid: Grid, picked: Picked, first: NDArray[np.bool_] | None = None) -> tuple[Whole, list[str]]:
    """For each combination the index of the reason that refuses it, 0 for none, and the reasons."""
    codes, reasons = np.zeros(len(picked.specs), np.int64), [""]
    for reason, mask in grid.reasons(picked):
        codes[(codes == 0) & mask] = len(reasons)
        reasons.append(reason)
    if first is not None:
        # Of equal combinations the first counts; equal ones are all refused or all possible.
        codes[(codes == 0) & ~first] = len(reasons)
        reasons.append("repeats another combination")
    return codes, reasons


def _first_of_each(specs: SpecColumns) -> NDArray[np.bool_]:
    keys, most = np.zeros(len(specs), np.int64), 1
    for column in specs.columns:
        levels = int(column.max(initial=0)) + 1
        if most * levels >= 2**63:
            keys = np.unique(keys, return_inverse=True)[1]
            most = len(keys)
        keys, most = keys * levels + column, most * levels
    found = np.zeros(len(specs), np.bool_)
    found[np.unique(keys, return_index=True)[1]] = True
    return found


def _finished(grid: Grid, layered: Layered, refused: dict[str, int]) -> Enumeration:
    """What the bounds on the share leave of the possible combinations, at each length of input."""
    shares = layered.parameters / parameters(grid.teacher)
    space, sequences = grid.space, grid.sequences
    above, below = shares > space.max_share, shares < space.min_share
    of_teacher = "of the teacher's parameters"
    refused |= {
        f"more than max_share {text_from_share(space.max_share)} {of_teacher}": above.sum(),
        f"less than min_share {text_from_share(space.min_share)} {of_teacher}": below.sum(),
        "": 0,
    }
    kept = ~above & ~below
    if not kept.all():
        layered, shares = layered.rows(kept), shares[kept]
    number = len(shares)
    warnings = share_warnings(grid, layered.specs, shares) if number else []
    return Enumeration(
        layered if len(sequences) == 1 else layered.rows(np.tile(np.arange(number), len(sequences))),
        np.repeat(np.array(sequences, np.int64), number),
        grid.size,
        {reason: int(count) * len(sequences) for reason, count in sorted(refused.items()) if count},
        warnings,
    )


def nothing_left(refused: dict[str, int], grid: Grid) -> str:
    """Why a space holds no student, and what to change."""
    space, teacher = grid.space, grid.teacher
    most = sorted(refused.items(), key=lambda item: (-item[1], item[0]))[:4]
    reasons = "; ".join(f"{number} x {reason}" for reason, number in most)
    advice = []
    if any("min_share" in reason for reason in refused):
        advice.append(f"lower space.min_share (now {space.min_share:g}) or add larger students")
    if any("max_share" in reason for reason in refused):
        advice.append(f"raise space.max_share (now {space.max_share:g}) or add smaller students")
    of_keys = [reason for reason in refused if "key" in reason or "kv_" in reason]
    of_heads = [reason for reason in refused if "head" in reason and reason not in of_keys]
    if of_heads and space.head_dim is not None:
        advice.append(f"choose head_dim among {_listed(_divisors(teacher))}")
    elif of_heads:
        advice.append(f"choose hidden as multiples of {_hidden_step(teacher)}, and leave heads out")
    if of_keys:
        advice.append(_key_advice(teacher))
    if any("above the teacher" in reason for reason in refused):
        advice.append(f"stay within the teacher ({teacher.name})")
    mend = ", ".join(advice) or "change the choices in space"
    return f"space: all {sum(refused.values())} combinations were refused ({reasons}). To get students: {mend}"


def _key_advice(teacher: StudentSpec) -> str:
    if teacher.architecture != "llama":
        return "leave kv_heads and kv_group out"
    most = teacher.heads // teacher.kv_heads
    return f"choose kv_heads that divide heads, at most {teacher.kv_heads}, with at most {most} query heads for each"


def _divisors(teacher: StudentSpec) -> list[int]:
    return [size for size in range(1, teacher.head_dim + 1) if teacher.head_dim % size == 0]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _hidden_step(teacher: StudentSpec) -> int:
    group = teacher.heads // teacher.kv_heads
    return next(
        width
        for width in range(1, teacher.hidden + 1)
        if (width * teacher.heads) % teacher.hidden == 0 and (width * teacher.heads // teacher.hidden) % group == 0
    )
