"""Whether bad links cost samples, hang, or leave a board unusable: many short measurements, each with one random fault.

    python benchmarks/runner/chaos.py --runs 200 --write

Every run measures a tiny model on a private SSH server, as `edgekd bench` does, through a proxy that does one thing to
one connection: resets, closes or half-closes it, swallows it, or turns a bit; after a number of bytes drawn between
nothing and a little more than what an undisturbed run sends. In every fifth run each connection meets the fault. Number
and kind follow from --seed and the number of the run. A run that ends without a record is asked for once more, by the
same journal and over a good link. A witness on the board keeps what each agent really wrote. Counted are records with
samples that no agent wrote, runs whose samples were written and came home neither way, runs that end later than their
deadline allows, locks held and processes alive after the end, files left behind, and how runs ended.
"""

from __future__ import annotations

import argparse
import fcntl
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence import table_text, write_results
from loopback import Loopback, loopback, samples_in, this_machine

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.journal import Journal
from edgekd.bench.plan import BenchPlan
from edgekd.bench.reopen import Reopening
from edgekd.bench.session import measure
from edgekd.errors import EdgekdError
from edgekd.hosts.watched import SILENCE_S
from edgekd.record import LatencyRecord
from edgekd.units import text_from_s
from tests.lab.chaos import KINDS, NONE, ChaosProxy, Direction, Faults

PERMANENT = 5  # one run in so many
MORE = 1.05  # a few faults come too late: then the run has to be as if there were none
LOCK_PATIENCE_S = 15.0  # an agent whose run was lost ends by itself, some seconds later
RECORD, HANG = "record", "hang"


@dataclass(frozen=True)
class ShortPlan(BenchPlan):
    """A plan whose runs and links are given up early, so that a link that swallows everything is met many times."""

    deadline_s: float = 20.0
    patience_s: float = 20.0

    @property
    def timeout_s(self) -> float:
        """See BenchPlan."""
        return self.deadline_s

    @property
    def latest_s(self) -> float:
        """When all has to be over: the run, the patience with the link, and two silences before and two after it."""
        return self.deadline_s + self.patience_s + 4 * SILENCE_S


@dataclass(frozen=True)
class Outcome:
    """How the run `number` ended, and what is true of it. `struck` is None where the fault came too late.

    `again` is how the same measurement ended over a good link afterwards; empty where that was not needed.
    """

    number: int
    kind: str
    direction: str
    after_bytes: int
    permanent: bool
    struck: int | None
    end: str
    message: str
    again: str
    took_s: float
    wrong: bool
    lost: bool
    late: bool
    lock_held: bool
    processes_left: int
    left_behind: int


def faults_of(seed: int, number: int, usual: dict[Direction, int]) -> Faults:
    """The fault of the run `number`: the same for the same seed and `usual` bytes of an undisturbed run."""
    chance = random.Random(f"{seed}-{number}")  # noqa: S311  repeatable, not secret
    ways: tuple[Direction, ...] = ("up", "down")
    direction = chance.choice(ways)
    return Faults(
        kind=chance.choice(KINDS),
        direction=direction,
        after_bytes=chance.randrange(round(MORE * usual[direction])),
        times=None if number % PERMANENT == PERMANENT - 1 else 1,
    )


def usual_bytes(place: Loopback, plan: ShortPlan) -> dict[Direction, int]:
    """What an undisturbed run sends in each direction. Errors: as measure."""
    with ChaosProxy(place.board.port, NONE) as proxy:
        _measured(place, "calm", proxy.port, None, plan, Journal())
        return dict(proxy.passed)


def run(place: Loopback, number: int, faults: Faults, plan: ShortPlan, grace_s: float) -> Outcome:
    """One disturbed measurement in a workspace of its own, judged by what the witness kept."""
    name = f"run-{number}"
    python, kept = place.witness(name)
    journal, again, brought = Journal(place.folder / "journals" / name), "", []
    with ChaosProxy(place.board.port, faults, seed=number) as proxy:

        def work() -> LatencyRecord:
            return _measured(place, name, proxy.port, python, plan, journal)

        start = time.monotonic()
        end, message, record = _ended(work, plan, grace_s)
        took_s = time.monotonic() - start
        events = [event.passed for event in proxy.events]
        if record is not None:
            brought.append(record)
        elif end != HANG:
            proxy.faults = NONE
            again, _, record = _ended(work, plan, grace_s)
            brought += [record] if record is not None else []
    processes_left, lock_held = _at_work(place.workspace(name)), _is_held(place.workspace(name) / "lock")
    written = samples_in(kept)
    found = [tuple(one.samples_ns) for record in brought for one in record.runs]
    return Outcome(
        number, str(faults.kind), faults.direction, faults.after_bytes, faults.times is None,
        events[0] if events else None, end, message, again, took_s,
        wrong=any(samples not in written for samples in found), lost=any(samples not in found for samples in written),
        late=took_s > plan.latest_s + grace_s, lock_held=lock_held, processes_left=processes_left,
        left_behind=_left_behind(place.workspace(name)),
    )  # fmt: skip


def _measured(
    place: Loopback, name: str, port: int, python: Path | None, plan: ShortPlan, journal: Journal
) -> LatencyRecord:
    with Reopening(lambda: place.open(name, port=port, python=python), patience_s=plan.patience_s) as host:
        (record,) = measure(host, [(place.model, artifact_from_file(place.model))], plan, journal=journal)
        return record


def _ended(work: Callable[[], LatencyRecord], plan: ShortPlan, grace_s: float) -> tuple[str, str, LatencyRecord | None]:
    """How `work` ended: the kind, the message and the record if there is one. A hang is left behind in its thread."""
    found: list[tuple[str, str, LatencyRecord | None]] = []

    def try_it() -> None:
        try:
            found.append((RECORD, "", work()))
        except EdgekdError as error:
            found.append((type(error).__name__, str(error), None))
        except Exception as error:  # noqa: BLE001  a bug of ours is a way to end, too, and the worst
            found.append((f"bug: {type(error).__name__}", str(error), None))

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(plan.latest_s + 2 * grace_s)
    return found[0] if found else (HANG, "", None)


def _is_held(lock: Path) -> bool:
    """Whether an agent holds the lock even after LOCK_PATIENCE_S."""
    if not lock.exists():
        return False
    end = time.monotonic() + LOCK_PATIENCE_S
    with lock.open("ab") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    return True
                time.sleep(0.2)
            else:
                return False


def _at_work(workspace: Path) -> int:
    """How many processes still work in `workspace` after LOCK_PATIENCE_S."""
    end = time.monotonic() + LOCK_PATIENCE_S
    while (found := sum(_works_in(entry, workspace) for entry in Path("/proc").glob("[0-9]*"))) != 0:
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    return found


def _works_in(entry: Path, workspace: Path) -> bool:
    try:
        return (entry / "cwd").readlink() == workspace
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return False


def _left_behind(workspace: Path) -> int:
    """Files of a run or parts of an upload that nobody will ask for again; models and agent stay on purpose."""
    return sum(
        1 for path in workspace.rglob("*") if path.is_file() and (path.suffix == ".part" or "runs" in path.parts)
    )


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The counts that are the answer."""
    return {
        "runs": len(outcomes),
        "faults_met": sum(one.struck is not None for one in outcomes),
        "wrong_samples": sum(one.wrong for one in outcomes),
        "lost_samples": sum(one.lost for one in outcomes),
        "past_deadline": sum(one.late for one in outcomes),
        "locks_held": sum(one.lock_held for one in outcomes),
        "runs_with_processes_left": sum(one.processes_left > 0 for one in outcomes),
        "found_again": sum(one.again == RECORD for one in outcomes),
        "runs_that_left_files": sum(one.left_behind > 0 for one in outcomes),
        "slowest_s": max(one.took_s for one in outcomes),
        "ends": dict(Counter(one.end for one in outcomes).most_common()),
    }


def text_of(outcomes: list[Outcome], plan: ShortPlan, grace_s: float, seed: int) -> str:
    """The page: the counts, and how runs ended by kind of fault."""
    found = summary(outcomes)
    ends = list(found["ends"])
    counts = Counter((_what(one), one.end) for one in outcomes)
    rows = [[what, *(str(counts[what, end]) for end in ends)] for what in sorted({_what(one) for one in outcomes})]
    told = {
        "records with samples that no agent wrote": found["wrong_samples"],
        "runs whose samples were written and not brought home": found["lost_samples"],
        "runs without a record at first, with one when asked again": found["found_again"],
        f"runs past the deadline of {plan.latest_s:g} s by more than {grace_s:g} s": found["past_deadline"],
        f"locks held {LOCK_PATIENCE_S:g} s after the end": found["locks_held"],
        f"runs with a process alive {LOCK_PATIENCE_S:g} s after the end": found["runs_with_processes_left"],
        "runs that left files behind": found["runs_that_left_files"],
        "slowest run": text_from_s(found["slowest_s"]),
    }
    lines = [
        f"{found['runs']} runs with the seed {seed}; in {found['faults_met']} the fault came before the end.",
        table_text(("", "found"), [[name, str(value)] for name, value in told.items()]),
        "How runs ended, by the fault they met:",
        table_text(("fault", *ends), rows),
    ]
    return "\n\n".join(lines)


def _what(one: Outcome) -> str:
    return f"{one.kind}, on every connection" if one.permanent else one.kind


def disturbed(
    place: Loopback, asked: argparse.Namespace, plan: ShortPlan, usual: dict[Direction, int]
) -> list[Outcome]:
    """The outcomes of all runs that began within --minutes; each is told on stderr when it ended."""
    late = time.monotonic() + 60 * asked.minutes

    def one(number: int) -> Outcome | None:
        if time.monotonic() > late:
            return None
        outcome = run(place, number, faults_of(asked.seed, number, usual), plan, asked.grace)
        print(outcome, file=sys.stderr, flush=True)
        return outcome

    with ThreadPoolExecutor(asked.jobs) as pool:
        return [outcome for outcome in pool.map(one, range(asked.runs)) if outcome is not None]


def main() -> None:
    """Run, print, and with --write store results/runner_chaos."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=8, help="runs at once; most of their time is waiting")
    parser.add_argument("--minutes", type=float, default=60.0, help="no run begins later")
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds after which a run is given up")
    parser.add_argument("--grace", type=float, default=20.0, help="seconds by which the end may come later")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    plan = ShortPlan(
        processes=1, warmup_s=0.05, min_duration_s=0.2, min_samples=20, max_duration_s=5.0,
        dims={"batch": 1, "sequence": 16}, deadline_s=asked.deadline,
    )  # fmt: skip
    with loopback() as place:
        usual = usual_bytes(place, plan)
        outcomes = disturbed(place, asked, plan, usual)
    text = text_of(outcomes, plan, asked.grace, asked.seed)
    if asked.write:
        kept = [asdict(one) for one in outcomes]
        numbers = {"seed": asked.seed, "usual_bytes": usual, **summary(outcomes), "outcomes": kept}
        write_results("runner_chaos", "Measurements over bad links", text, numbers, this_machine())
    else:
        print(text)


if __name__ == "__main__":
    main()
