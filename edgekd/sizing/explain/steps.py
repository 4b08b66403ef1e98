"""What one step in each dimension would buy: the neighbours of a student, and how far each is from it by prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekd.cost.limits import check_within
from edgekd.errors import SpecError
from edgekd.sizing.explain.known import Known, Level, Outlook, Placed, finite, placed
from edgekd.student import StudentSpec

FFN_STEP = 8  # as in sizing/space.py: what vector units take at once without a rest
FFN_SHARE = 0.25  # our choice: a step of ffn where the space names no other value
LENGTH_FACTOR = 2  # our choice: a step of the input length where the space names no other; lengths go in powers of two


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A student one step away in `dimension`. `in_space` says whether the search looked at it."""

    dimension: str
    text: str
    student: Placed
    precision: str
    in_space: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A neighbour and what going there would change, both ends predicted.

    Units: seconds and bytes; `latency_change_s` is None when nothing is known of a latency. `crossed` holds the limits
    that would stand otherwise, each with how it stands now and how it would.
    """

    to: Neighbour
    before: Outlook
    after: Outlook
    parameters_change: int
    capacity_change: int
    crossed: dict[str, tuple[Level, Level]]

    @property
    def latency_change_s(self) -> float | None:
        """The predicted latency there less the one here, middle to middle."""
        if self.before.latency is None or self.after.latency is None:
            return None
        return finite(self.after.latency.mid - self.before.latency.mid)

    @property
    def memory_change_bytes(self) -> float | None:
        """The predicted peak memory there less the one here."""
        return finite(self.after.memory.mid - self.before.memory.mid)

    @property
    def energy_change_j(self) -> float | None:
        """The predicted energy of an inference there less the one here; None when nothing is known of one."""
        if self.before.energy is None or self.after.energy is None:
            return None
        return finite(self.after.energy.mid - self.before.energy.mid)

    @property
    def size_change_bytes(self) -> float | None:
        """The predicted file size there less the one here."""
        return finite(self.after.size.mid - self.before.size.mid)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "dimension": self.to.dimension,
            "change": self.to.text,
            "student": self.to.student.name,
            "sequence": self.to.student.sequence,
            "precision": self.to.precision,
            "in_space": self.to.in_space,
            "predicted": self.after.to_dict(),
            "latency_change_s": self.latency_change_s,
            "memory_change_bytes": self.memory_change_bytes,
            "size_change_bytes": self.size_change_bytes,
            "energy_change_j": self.energy_change_j,
            "parameters_change": self.parameters_change,
            "capacity_change": self.capacity_change,
            "crossed": {name: list(levels) for name, levels in self.crossed.items()},
        }


def steps_of(known: Known, student: Placed, precision: str) -> list[Step]:
    """One step down and one up in every dimension, as far as the teacher and the inputs allow it."""
    before = known.predicted(student, precision)
    return [_step(known, student, before, to) for to in neighbours(known, student, precision)]


def _step(known: Known, student: Placed, before: Outlook, to: Neighbour) -> Step:
    after = known.predicted(to.student, to.precision)
    now, then = known.levels(before), known.levels(after)
    return Step(
        to=to,
        before=before,
        after=after,
        parameters_change=to.student.parameters - student.parameters,
        capacity_change=to.student.capacity - student.capacity,
        crossed={name: (now[name], then[name]) for name in now if now[name] != then[name]},
    )


def neighbours(known: Known, student: Placed, precision: str) -> list[Neighbour]:
    """The students one step away: the next value of the space, or a usual step where the space names none."""
    around = _Around(known, student, precision)
    found = [*around.layers(), *around.width(), *around.heads(), *around.ffn(), *around.sequence()]
    others = [other for other in known.precisions if other != precision]
    listed = student.name in known.students
    return found + [Neighbour("precision", f"{precision} → {other}", student, other, listed) for other in others]


@dataclass(frozen=True, slots=True)
class _Around:
    """The neighbours of one student."""

    known: Known
    student: Placed
    precision: str

    def layers(self) -> Iterator[Neighbour]:
        now = self.student.spec.layers
        for layers in self._next(now, self._values("layers"), now - 1, now + 1):
            yield from self._changed("layers", f"{now} → {layers}", layers=layers)

    def width(self) -> Iterator[Neighbour]:
        """Hidden with its heads, which keep their head_dim; ffn follows where the space gives it as multiples."""
        spec = self.student.spec
        one_head = spec.hidden // spec.heads * (spec.heads // spec.kv_heads)
        for hidden in self._next(spec.hidden, self._values("hidden"), spec.hidden - one_head, spec.hidden + one_head):
            (heads, rest), (key_heads, key_rest) = (
                divmod(number * hidden, spec.hidden) for number in (spec.heads, spec.kv_heads)
            )
            if rest or key_rest:
                continue
            ffn = self._ffn_at(hidden) if self.known.ffn_follows else spec.ffn
            beside = f", ffn {spec.ffn} → {ffn}" if ffn != spec.ffn else ""
            text = f"{spec.hidden} → {hidden}{beside}"
            yield from self._changed("hidden", text, hidden=hidden, heads=heads, kv_heads=key_heads, ffn=ffn)

    def heads(self) -> Iterator[Neighbour]:
        """Other heads at the same width, where the space holds such students."""
        spec = self.student.spec
        others = {
            item.spec.heads: item.spec
            for item in self.known.students.values()
            if _but_for_heads(item.spec, spec) and item.sequence == self.student.sequence
        }
        for heads in self._next(spec.heads, list(others), spec.heads, spec.heads):
            wide, key_heads = others[heads].head_dim, others[heads].kv_heads
            text = f"{spec.heads} of {spec.head_dim} → {heads} of {wide}"
            yield from self._changed("heads", text, heads=heads, head_dim=wide, kv_heads=key_heads)

    def ffn(self) -> Iterator[Neighbour]:
        spec = self.student.spec
        at_width = [item.spec.ffn for item in self.known.students.values() if item.spec.hidden == spec.hidden]
        step = max(FFN_STEP, round(FFN_SHARE * spec.ffn / FFN_STEP) * FFN_STEP)
        for ffn in self._next(spec.ffn, at_width, spec.ffn - step, spec.ffn + step):
            yield from self._changed("ffn", f"{spec.ffn} → {ffn}", ffn=ffn)

    def sequence(self) -> Iterator[Neighbour]:
        now = self.student.sequence
        if self.student.spec.tokens:
            return  # the size of an image decides
        lengths = [item.sequence for item in self.known.students.values()]
        for length in self._next(now, lengths, now // LENGTH_FACTOR, now * LENGTH_FACTOR):
            yield from self._changed("sequence", f"{now} → {length}", sequence=length)

    def _values(self, name: str) -> list[int]:
        return [getattr(item.spec, name) for item in self.known.students.values()]

    def _next(self, now: int, values: list[int], otherwise_below: int, otherwise_above: int) -> Iterator[int]:
        """The next of `values` below `now` and the next above; where there is none, what is given otherwise."""
        below = max((value for value in values if value < now), default=otherwise_below)
        above = min((value for value in values if value > now), default=otherwise_above)
        yield from (value for value in (below, above) if value != now and value >= 1)

    def _ffn_at(self, hidden: int) -> int:
        """The ffn of the space at that width whose ratio is nearest to this student's, or the same ratio."""
        spec = self.student.spec
        exact = spec.ffn * hidden / spec.hidden
        at_width = {item.spec.ffn for item in self.known.students.values() if item.spec.hidden == hidden}
        rounded = max(FFN_STEP, round(exact / FFN_STEP) * FFN_STEP)
        return min(at_width, key=lambda ffn: (abs(ffn - exact), ffn), default=rounded)

    def _changed(self, dimension: str, text: str, *, sequence: int = 0, **sizes: int) -> Iterator[Neighbour]:
        """The neighbour with these `sizes`; none when the teacher has no such student, or it takes no such input."""
        length = sequence or self.student.sequence
        try:
            spec = StudentSpec.from_dict(self.student.spec.to_dict() | sizes)
            check_within(spec, self.known.teacher.spec)
            listed = self._listed(spec, length)
            found = listed or placed(spec, length)
            self.known.pass_of(found, self.precision)
        except SpecError:
            return
        yield Neighbour(dimension, text, found, self.precision, listed is not None)

    def _listed(self, spec: StudentSpec, sequence: int) -> Placed | None:
        students = self.known.students.values()
        return next((item for item in students if item.spec == spec and item.sequence == sequence), None)


def _but_for_heads(one: StudentSpec, other: StudentSpec) -> bool:
    """Whether both are the same apart from their heads; a plain table, since not every mixture of them can be."""
    of_heads = {"heads": 0, "head_dim": 0, "kv_heads": 0}
    return one.to_dict() | of_heads == other.to_dict() | of_heads
