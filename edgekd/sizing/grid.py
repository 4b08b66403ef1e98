"""Every combination of a space's choices in columns: the dimensions that each stands for, and why some cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import DIMENSIONS, SpecColumns, Whole
from edgekd.cost.tails import left_over
from edgekd.space import Dimension, Space, Tie, tie_from_text
from edgekd.student import StudentSpec

FFN_STEP = 8  # our choice: what vector units and int8 kernels take at once without a rest
AXES = ("sequence", "layers", "hidden", "head_dim", "heads", "kv_heads", "kv_group", "ffn", "ffn_ratio")
STEPS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.5, 1.0, 3.0)
MOST_PROMISED = 0.2  # a coarser promise is none
MOST_TRIMMED = 1_000_000  # combinations of heads and widths looked at, our choice
# What shrinks another dimension while it grows: a search over boxes splits these apart first.
SEPARATE = ("sequence", "head_dim", "kv_group")

Index = Sequence[Whole]
Reasons = Iterator[tuple[str, NDArray[np.bool_]]]


@dataclass(frozen=True, eq=False)
class Picked:
    """Combinations as students, possible or not. `rest` says of each derived dimension where it is no whole number.

    Shapes: columns of one length; `sequence` int64, tokens per input.
    """

    specs: SpecColumns
    sequence: Whole
    rest: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Grid:
    """The axes of a space, the outermost first: those of AXES that it names. `sequence` is used where it names none."""

    space: Space
    teacher: StudentSpec
    sequence: int

    @cached_property
    def axes(self) -> dict[str, NDArray[Any]]:
        """The choices of each axis, ascending, without repetitions."""
        named = {name: getattr(self.space, name) for name in AXES}
        return {name: np.unique(np.array(values)) for name, values in named.items() if values is not None}

    @property
    def lengths(self) -> list[int]:
        """How many choices each axis has."""
        return [len(values) for values in self.axes.values()]

    @cached_property
    def size(self) -> int:
        """All combinations."""
        return math.prod(self.lengths)

    @property
    def sequences(self) -> list[int]:
        """The lengths of input in the space, ascending."""
        return [int(value) for value in self.axes.get("sequence", [self.sequence])]

    @property
    def ties_layers(self) -> bool:
        """Whether the layers decide about other dimensions, or these about the layers."""
        sources = [tie_from_text(text).source for text in self.space.ties.values()]
        return "layers" in self.space.ties or "layers" in sources

    def at(self, index: Index) -> Picked:
        """The combinations at `index`: for each axis a column of positions on it."""
        return _Resolved(
            self, {name: values[at] for (name, values), at in zip(self.axes.items(), index, strict=True)}
        ).picked

    def all_but(self, *left_out: str) -> Picked:
        """Every combination of the other axes, the last changing fastest; those left out stay at their first choice."""
        lengths = [1 if name in left_out else len(values) for name, values in self.axes.items()]
        return self.at([column.ravel() for column in np.indices(lengths, dtype=np.int32)] if lengths else [])

    def reasons(self, picked: Picked) -> Reasons:
        """Why combinations yield no student, in the order in which they count."""
        specs, teacher = picked.specs, self.teacher
        for name in ("layers", "hidden", "heads", "head_dim", "ffn"):
            yield f"{name} above the teacher's {getattr(teacher, name)}", getattr(specs, name) > getattr(teacher, name)
        named_dim = self.space.head_dim is not None
        dim = "head_dim" if named_dim else f"the teacher's head_dim {teacher.head_dim}"
        for name, rest in picked.rest.items():
            if name == "heads" and name not in self.space.ties:
                yield f"hidden gives no whole number of heads at {dim}", rest
            elif name in self.space.ties:
                yield f"{self.space.ties[name]} is no whole number for {name}", rest
        if teacher.architecture != "llama":
            yield f"heads x {dim} is not hidden", specs.heads * specs.head_dim != specs.hidden
        yield "hidden is no multiple of heads", specs.hidden % np.maximum(specs.heads, 1) != 0
        yield f"head_dim does not divide the teacher's {teacher.head_dim}", teacher.head_dim % specs.head_dim != 0
        yield from self._head_reasons(picked)

    def may_hold(self, first: SpecColumns, last: SpecColumns) -> NDArray[np.bool_]:
        """Which boxes may hold a student, from the smallest and the largest dimensions in each."""
        teacher = self.teacher
        found = np.ones(len(first), np.bool_)
        for name in ("layers", "hidden", "heads", "head_dim", "kv_heads", "ffn"):
            found &= getattr(first, name) <= getattr(teacher, name)
        found &= first.heads * teacher.kv_heads <= last.kv_heads * teacher.heads
        if teacher.architecture != "llama":
            found &= first.heads * first.head_dim <= last.hidden
            found &= last.heads * last.head_dim >= first.hidden
        return found

    def _head_reasons(self, picked: Picked) -> Reasons:
        specs, teacher = picked.specs, self.teacher
        group = teacher.heads // teacher.kv_heads
        if "kv_heads" in picked.rest and "kv_heads" not in self.space.ties:
            per = "kv_group" if self.space.kv_group is not None else f"the teacher's {group} query heads per key head"
            yield f"heads are no multiple of {per}", picked.rest["kv_heads"]
        if teacher.architecture != "llama":
            yield f"a {teacher.architecture} has as many key as query heads", specs.kv_heads != specs.heads
        else:
            yield "llama needs an even head_dim", specs.head_dim % 2 != 0
        yield f"kv_heads above the teacher's {teacher.kv_heads}", specs.kv_heads > teacher.kv_heads
        key_heads = np.maximum(specs.kv_heads, 1)
        yield "heads are no multiple of kv_heads", specs.heads % key_heads != 0
        yield f"more than the teacher's {group} query heads per key head", specs.heads // key_heads > group


def trimmed(grid: Grid) -> tuple[Grid, float]:
    """`grid` without the choices of heads and widths that are part of no student, and which share of the rest may be.

    A search halves a space many times, and would look at these again and again. A space with ties stays as it is.
    """
    names = [str(name) for name in ("hidden", "head_dim", "heads", "kv_heads", "kv_group") if name in grid.axes]
    if grid.space.ties or not names or math.prod(len(grid.axes[name]) for name in names) > MOST_TRIMMED:
        return grid, 1.0
    picked = grid.all_but(*(name for name in grid.axes if name not in names))
    good = np.ones(len(picked.specs), np.bool_)
    for reason, mask in grid.reasons(picked):
        if not reason.startswith(("layers above", "ffn above")):
            good &= ~mask
    lengths = [len(values) if name in names else 1 for name, values in grid.axes.items()]
    cube, kept = good.reshape(lengths), {}
    for axis, (name, values) in enumerate(grid.axes.items()):
        if name in names:
            used = cube.any(axis=tuple(other for other in range(len(lengths)) if other != axis))
            kept[name] = [int(value) for value in values[used]]
    if not all(kept.values()):
        return grid, 1.0
    density = int(good.sum()) / math.prod(len(values) for values in kept.values())
    return replace(grid, space=grid.space.model_copy(update=kept)), density


def thinned(grid: Grid, most: float, *, tails: bool = False) -> tuple[Grid, float | None]:
    """A part of `grid` of at most `most` combinations, and by which share a student left out may be more capable.

    Layers and ffn are thinned to steps of a constant factor, so that for every student there is a kept one just below
    it: as wide, no slower, no larger, and its capacity less by at most that share (but for a smallest student that
    min_share refuses). With `tails`, the one below leaves no more of its ffn over either, for else it may be slower.
    Where that is not enough, the other dimensions are thinned too and nothing is promised: None.
    """
    tied = {tie_from_text(text).source for text in grid.space.ties.values()}
    safe = [str(name) for name in ("layers", "ffn") if name in grid.axes and name not in tied]
    rest = [name for name in grid.axes if name not in ("sequence", "head_dim", "kv_group")]
    promised = sorted(
        ((1 + step) ** len(names) - 1, step, names)
        for names in (safe, safe[1:])
        for step in STEPS
        if step <= MOST_PROMISED
    )
    found, within = grid, None
    for within, step, names in (*promised, *((None, step, rest) for step in STEPS)):
        choices = {name: _spaced(grid.axes[name], step, tails=tails and name == "ffn") for name in names}
        found = replace(grid, space=grid.space.model_copy(update=choices))
        if found.size <= most:
            return found, within
    return found, None


def _spaced(values: NDArray[Any], step: float, *, tails: bool = False) -> list[Any]:
    """Of `values`, the first, the last, and between them as few as leave no gap wider than 1 + `step` to the next.

    With `tails`, the one below each is one that leaves no more over.
    """
    kept: list[Any] = []
    newest: dict[int, Any] = {}  # by what is left over
    for value in values.tolist():
        over = left_over(value) if tails else 0
        if not any(value <= below * (1 + step) for rest, below in newest.items() if rest <= over):
            kept.append(value)
            newest[over] = value
    last = values[-1].item()
    return kept if kept[-1] == last else [*kept, last]


class _Resolved:
    """The dimensions that follow from the choices on the axes. What is no whole number is rounded down, never to 0."""

    def __init__(self, grid: Grid, chosen: Mapping[str, NDArray[Any]]) -> None:
        self.grid = grid
        self.chosen = chosen
        self.length = len(next(iter(chosen.values()))) if chosen else 1
        self.rest: dict[str, NDArray[np.bool_]] = {}
        self.known: dict[str, Whole] = {}

    @property
    def picked(self) -> Picked:
        columns = [self.dimension(cast("Dimension", name)) for name in DIMENSIONS]
        sequence = self.chosen.get("sequence", np.full(self.length, self.grid.sequence))
        return Picked(SpecColumns(self.grid.teacher, *columns), sequence.astype(np.int64), self.rest)

    def dimension(self, name: Dimension) -> Whole:
        if name not in self.known:
            self.known[name] = self._found(name)
        return self.known[name]

    def _found(self, name: Dimension) -> Whole:
        if name in self.chosen:
            return self.chosen[name].astype(np.int64)
        ties = self.grid.space.ties
        return self._tied(name, tie_from_text(ties[name])) if name in ties else self._implied(name)

    def _tied(self, name: Dimension, tie: Tie) -> Whole:
        source = self.dimension(tie.source)
        if name == "ffn":
            return _rounded(float(tie.factor) * source)
        return self._divided(name, source * tie.factor.numerator, tie.factor.denominator)

    def _implied(self, name: Dimension) -> Whole:
        teacher = self.grid.teacher
        if name == "ffn" and "ffn_ratio" in self.chosen:
            return _rounded(self.chosen["ffn_ratio"] * self.dimension("hidden"))
        if name == "heads":
            # A llama whose heads are wider together than hidden keeps that ratio.
            width = self.dimension("hidden") * (teacher.heads * teacher.head_dim)
            return self._divided(name, width, teacher.hidden * self.dimension("head_dim"))
        if name == "kv_heads":
            group = self.chosen.get("kv_group", teacher.heads // teacher.kv_heads)
            return self._divided(name, self.dimension("heads"), group)
        return np.full(self.length, getattr(teacher, name), np.int64)

    def _divided(self, name: str, value: Whole, by: Any) -> Whole:
        found = value // by
        self.rest[name] = (value % by != 0) | (found < 1)
        return cast("Whole", np.maximum(found, 1))


def _rounded(value: NDArray[Any]) -> Whole:
    whole: Whole = np.maximum(FFN_STEP, np.rint(value / FFN_STEP) * FFN_STEP).astype(np.int64)
    return whole
