"""One worker of a study, as a process of its own; see test_halving.py.

Usage: python worker.py JOURNAL_OR_URL STUDY NAME LOG GRACE_S. Prints what it decided, as JSON. Its students learn by formula,
a step in a millisecond, and every outcome it makes is a line in LOG.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from edgekd.sizing.quality import CurvePoint
from edgekd.trials.halving import Halving
from edgekd.trials.plan import Plan
from edgekd.trials.register import Job, Outcome, Register
from edgekd.trials.storage import Place, opened

STUDENTS = {f"s{number}": 0.2 + 0.1 * ((number * 5) % 9) for number in range(9)}  # where each one's loss ends
PLAN = Plan(tuple(STUDENTS), (80, 240), 20)
HARD = np.random.default_rng(0).normal(0, 0.3, 100)


def losses_at(student: str, step: int) -> Any:
    return STUDENTS[student] + 2.0 / math.sqrt(step) + HARD - HARD.mean()


def learn(job: Job, every: int, go_on: Any, step_s: float = 0.001) -> Outcome:
    begun, curve = time.monotonic(), []
    for step in range(every, job.steps + 1, every):
        time.sleep(every * step_s)
        losses = losses_at(job.student, step)
        curve.append(CurvePoint(step, float(losses.mean()), 0.5))
        if not go_on(curve, losses):
            break
    ended = "finished" if curve[-1].step == job.steps else "pruned"
    return Outcome(ended, time.monotonic() - begun, curve[-1].loss, 0.5, tuple(curve), losses)


def main() -> None:
    where, study_name, name, log, grace_s = sys.argv[1:]
    place = Place("it", url=where) if "://" in where else Place("it", Path(where))

    def train(job: Job, every: int, go_on: Any) -> Outcome:
        outcome = learn(job, every, go_on)
        with Path(log).open("a") as stream:
            stream.write(json.dumps([name, job.student, job.steps]) + "\n")
        return outcome

    with opened(place) as storage:
        study = optuna.create_study(study_name=study_name, storage=storage, load_if_exists=True)
        register = Register(study, place, name, beat_s=0.05, grace_s=float(grace_s))
        halving = Halving(PLAN, {}, register, train, lambda: False, look_s=0.05)
        found = halving.run()
    sys.stdout.write(json.dumps({student: [tried.rung, tried.ended] for student, tried in found.items()}))


if __name__ == "__main__":
    main()
