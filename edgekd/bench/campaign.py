"""A campaign: many students measured in pairs with the sentinel, several times each, in rounds of another order.

Every student is visited in every round, so a slow drift of the board meets all alike. Whatever stands out (windows.py)
is measured again while there is time. Each visit is a record of its own, stored at once: a campaign that was killed
goes on where it stopped, and its answer can be computed again from its records. What a kill left running on the board
is taken up again, too: its name stands in a journal beside the records until they are written.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from edgekd.bench import several
from edgekd.bench.energy import Energy, energy_of
from edgekd.bench.journal import Journal
from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import own_times, undisturbed_s
from edgekd.bench.session import measure_pairs
from edgekd.bench.windows import Findings, Level, Visit, findings
from edgekd.errors import MeasureError, RecordError
from edgekd.hosts.base import Host
from edgekd.record import Artifact, PairedRecord, PairedRun, read_record, write_record
from edgekd.stats import weighted_median

LEAST_ROUNDS = 3  # our choice: the fewest of which one can disagree with the others
MOST_ROUNDS = 7  # our choice: with so many the median is as good as the model of the machine
EXTRA_ROUNDS = 2  # our choice: what stands out is measured again at most so often
UNSETTLED_ROUNDS = 6  # our choice: and a student without any believed visit so often
MOST_VISITS = MOST_ROUNDS + UNSETTLED_ROUNDS
USUAL_STUDENT = 20.0  # in least times of the sentinel: after a student of this size its quiet level is told
JOURNAL = ".runs"  # beside the visits
ENERGY_ROUNDS = 2  # our choice: of a second stretch one learns how far two differ
ENERGY_S = 1.0  # of a student alone, our choice: ten looks at the rails
TOGETHER = 8  # students per call of the agent, our choice: a kill loses a few seconds
_NORMAL = 1.4826

Model = tuple[Path, Artifact]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the visits of one student say together: its undisturbed time, with a relative standard error.

    `visits` are those that were believed; of one thread, others that the sentinel explains count a little.
    `energy` is that of one inference; None where no rail told.
    """

    name: str
    latency_s: float
    error: float
    visits: int
    peak_memory_bytes: int | None
    size_bytes: int
    energy: Energy | None = None


@dataclass(frozen=True)
class Answer:
    """The end of a campaign. `quiet_s` is the sentinel's time on the undisturbed board.

    All times stand and fall with what was taken to be undisturbed: `quiet_error` is the relative error of that.

    `findings` are what stood out over all `visits`, in the order of time; `unsettled` students have no believed visit.
    """

    measured: dict[str, Measured]
    quiet_s: float
    quiet_error: float
    findings: Findings
    visits: tuple[Visit, ...]
    repeated: int
    unsettled: tuple[str, ...]


@dataclass
class Campaign:
    """The visits of `names`, stored in `folder`; `model` gives the file of a student when it is needed.

    `dims` gives sizes to a student's free dimensions, where they are not the plan's. `first` counts the campaigns of
    the same students in the same folder before this one, whose visits stay apart. `level` is the undisturbed level that
    an earlier campaign on the board learned.
    `budget_s` bounds the time of this call: rounds that cannot be finished within it are not begun, the first excepted.
    """

    host: Host
    sentinel: Path
    plan: BenchPlan
    folder: Path
    model: Callable[[str], Model]
    pairs: int
    dims: Callable[[str], Mapping[str, int]] | None = None
    first: int = 0
    level: Level | None = None
    least_s: float = 0.3
    budget_s: float = math.inf
    device: str | None = None
    progress: Progress | None = None
    now: Callable[[], float] = time.monotonic
    _begun_s: float = field(init=False, default=0.0)

    def run(self, names: Sequence[str]) -> Answer:
        """Measure `names` and say what came of it. Errors: as session.measure_pairs; RecordError for a foreign file."""
        records, repeated = self.records(names)
        return answer(records, repeated, self.level)

    def records(self, names: Sequence[str]) -> tuple[list[PairedRecord], int]:
        """All visits of `names` in the order of time, and how many were made again. Errors: as `run`."""
        self._begun_s = self.now()
        rounds = extra = 0
        each_s = 2 * (self.least_s + self.plan.warmup_s)  # until a round has told: its pairs, and loading its model
        while rounds < MOST_ROUNDS:
            enough = rounds >= LEAST_ROUNDS
            if enough and extra < UNSETTLED_ROUNDS and (behind := self._behind(names, rounds, extra)):
                fitting = [name for place, name in enumerate(behind, 1) if place * each_s <= self._left_s()]
                self._visit(fitting, MOST_ROUNDS + extra)
                extra += 1
            elif (enough and self.budget_s == math.inf) or (rounds and self._left_s() < len(names) * each_s):
                break
            else:
                begun_s = self.now()
                visited = self._visit(shuffled(names, rounds), rounds)
                each_s = (self.now() - begun_s) / visited if visited else each_s
                rounds += 1
        again = [path for name in names for path in self._paths(name, range(MOST_ROUNDS, MOST_VISITS))]
        return self._records(names, range(MOST_VISITS)), len(again)

    def _behind(self, names: Sequence[str], rounds: int, extra: int) -> list[str]:
        """Whom to measure again after so many rounds and `extra` ones, those that need it most first.

        That is every student with fewer believed visits than another, EXTRA_ROUNDS times; then those without any.
        Visits of later rounds, which a call that was killed may have left, do not count: they are not made twice.
        """
        records = self._records(names, [*range(rounds), *range(MOST_ROUNDS, MOST_ROUNDS + extra)])
        doubtful = findings([visit_of(record) for record in records], self.level).doubtful
        believed = Counter(record.artifact.name for index, record in enumerate(records) if index not in doubtful)
        enough = max(believed.values(), default=1) if extra < EXTRA_ROUNDS else 1
        return sorted((name for name in names if believed[name] < enough), key=lambda name: believed[name])

    def _visit(self, names: Sequence[str], number: int) -> int:
        """Visit those of `names` that this round has not visited yet; how many they were."""
        places = {name: path for name in names if not (path := self._path(name, number)).exists()}
        wanted, journal = list(places), Journal(self.folder / JOURNAL)
        energy_s = ENERGY_S if number < ENERGY_ROUNDS or number >= MOST_ROUNDS else 0.0
        for start in range(0, len(wanted), TOGETHER):
            part = wanted[start : start + TOGETHER]
            self._tell(f"round {number + 1}, measuring {part[0]}", start, len(wanted))

            def keep(record: PairedRecord) -> None:
                write_record(record, places[record.artifact.name])

            measure_pairs(
                self.host, [self.model(name) for name in part], self.sentinel, self.plan, pairs=self.pairs,
                least_s=self.least_s, energy_s=energy_s, together=TOGETHER,
                dims=[self.dims(name) for name in part] if self.dims else None, device=self.device,
                on_record=keep, journal=journal,
            )  # fmt: skip
            journal.clear()
        return len(wanted)

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{self.first * MOST_VISITS + number + 1}.json"

    def _paths(self, name: str, numbers: Iterable[int]) -> list[Path]:
        """Where the visits of the student in those rounds are stored, of the ones that were made."""
        return [path for number in numbers if (path := self._path(name, number)).exists()]

    def _left_s(self) -> float:
        return self.budget_s - (self.now() - self._begun_s)

    def _tell(self, text: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total, text)

    def _records(self, names: Sequence[str], numbers: Sequence[int]) -> list[PairedRecord]:
        """The stored visits of `names` in the rounds `numbers`, in the order of time."""
        found = []
        for number in numbers:
            order = shuffled(names, number) if number < MOST_ROUNDS else list(names)
            found += [self._stored(path) for name in order for path in self._paths(name, [number])]
        return sorted(found, key=lambda record: record.created_utc)

    def _stored(self, path: Path) -> PairedRecord:
        record = read_record(path)
        if not isinstance(record, PairedRecord):
            raise RecordError(f"{path}: is a record of kind {record.kind}, expected paired. Remove it and run again")
        return record


def shuffled(names: Sequence[str], number: int) -> list[str]:
    """`names` in the order of round `number`: the same order every time, another one every round."""
    order = list(names)
    random.Random(number).shuffle(order)  # noqa: S311  an order, not a secret
    return order


def visit_of(record: PairedRecord) -> Visit:
    """What the record says in short."""
    model_ns, sentinel_ns = own_times(record.run)
    model_s, error = undisturbed_s(model_ns)
    return Visit(record.artifact.name, model_s, undisturbed_s(sentinel_ns)[0], error)


def answer(records: Sequence[PairedRecord], repeated: int, level: Level | None = None) -> Answer:
    """The answer of `records`, which are in the order of time, at the undisturbed `level` where one is known.

    Errors: MeasureError without records.
    """
    if not records:
        raise MeasureError("a campaign without visits has no answer; measure at least one student")
    visits = tuple(visit_of(record) for record in records)
    found = _of_threads(findings(visits, level), records, visits, level)
    by_name: dict[str, list[int]] = {}
    for index, visit in enumerate(visits):
        by_name.setdefault(visit.name, []).append(index)
    measured, unsettled, doubtful = {}, [], found.doubtful
    for name, indices in by_name.items():
        believed = [index for index in indices if index not in doubtful]
        if not believed:
            unsettled.append(name)
        own = [records[index] for index in indices]
        if all(map(several.by_the_wall, own)):
            level_s = found.curve.level_s(min(visits[index].model_s for index in indices))
            time_s, error = several.least_s([record.run for record in own], level_s, found.sensitivity)
            measured[name] = _measured(name, time_s, error, len(own), own)
        else:
            counted = [index for index in indices if found.weight(index)] or indices
            times_s = [found.undisturbed_s(visits, index) for index in counted]
            errors = [visits[index].error for index in counted]
            # What a student's sensitivity is off by, all its disturbed visits share: together they count as one.
            disturbed = sum(index in doubtful for index in counted)
            weights = [(found.weight(index) or 1.0) / (disturbed if index in doubtful else 1) for index in counted]
            joined = _joined(name, times_s, weights, errors, own)
            measured[name] = replace(joined, visits=len(believed or indices))
        energy = energy_of([records[index].run for index in believed or indices])
        measured[name] = replace(measured[name], energy=energy)
    quiet_s = found.curve.level_s(USUAL_STUDENT * math.exp(found.curve.floor))
    rest = sorted(abs(math.log(slower)) for slower in found.disturbances)
    quiet_error = found.sensitivity * _NORMAL * median(rest[: max(1, len(rest) // 2)])
    return Answer(measured, quiet_s, quiet_error, found, visits, repeated, tuple(unsettled))


def _of_threads(
    found: Findings, records: Sequence[PairedRecord], visits: Sequence[Visit], level: Level | None
) -> Findings:
    """`found` with the sensitivity of several threads; that of the `level` where it counted, to compare with it."""
    if not all(map(several.by_the_wall, records)):
        return found
    if level is not None and found.curve == level.curve:
        return replace(found, sensitivity=level.sensitivity)
    runs: dict[str, list[PairedRun]] = {}
    least_s: dict[str, float] = {}
    for record, visit in zip(records, visits, strict=True):
        runs.setdefault(visit.name, []).append(record.run)
        least_s[visit.name] = min(visit.model_s, least_s.get(visit.name, math.inf))
    levels_s = {name: found.curve.level_s(time_s) for name, time_s in least_s.items()}
    return replace(found, sensitivity=several.steadiest(runs, levels_s, found.sensitivity))


def _joined(
    name: str, times_s: Sequence[float], weights: Sequence[float], errors: Sequence[float],
    records: Sequence[PairedRecord],
) -> Measured:  # fmt: skip
    """The weighted median over visits. A visit's own error cannot know what was the same during all of it.

    Repetition can. Source of how many visits the weights stand for: Kish 1965, the effective sample size.
    """
    logs = [math.log(time_s) for time_s in times_s]
    middle = weighted_median(logs, weights)
    within = median(errors)
    between = _NORMAL * weighted_median([abs(value - middle) for value in logs], weights) if len(logs) > 2 else 0.0
    count = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    error = max(within, between) / math.sqrt(count)
    return _measured(name, math.exp(middle), error, len(logs), records)


def _measured(name: str, latency_s: float, error: float, visits: int, records: Sequence[PairedRecord]) -> Measured:
    peaks = [record.run.peak_memory_bytes for record in records if record.run.peak_memory_bytes is not None]
    size_bytes = records[0].artifact.size_bytes
    return Measured(name, latency_s, error, visits, max(peaks, default=None), size_bytes)
