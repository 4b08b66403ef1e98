"""Our distillation against others': what their students know, and how fast each makes its steps.

    python benchmarks/distillation/peers.py --case digits --seeds 3 --install --write
    python benchmarks/distillation/peers.py --case banking77 --teacher runs/retention/banking77/teacher --write

All methods have the same data, teacher, initial weights, batch size, number of steps, loss, optimiser and schedule; the
weights after the last step count, and none looks at the validation part. Each is a process of its own
(peer_worker.py). They make their steps in turns of `--turn`, one after the other and round again, and a turn is
compared with those of plain fine-tuning around it: what the machine does meanwhile happens to both.
TextBrewer and torchdistill have environments of their own under `--env`, which `--install` makes.
One session is all methods with one seed. Finished sessions are kept in the work folder and none is begun after
`--minutes`, so a killed or bounded call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils.logging import disable_progress_bar

from edgekd.bench.agent.facts import lasting_facts
from edgekd.data.encode import encode
from edgekd.distill.collate import LABELS, ROW, TEACHER_LOGITS
from edgekd.distill.evaluate import accuracy, predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.files import content_hash, make_folder, read_json, sha256_of_file, write_json
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.pipeline.run import run
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts
from edgekd.student import StudentSpec
from edgekd.trials.bake_off import Start

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import table_text, write_results
from peer_table import COLUMNS, NAMES, PLAIN, Outcome, goals, outcome, rows_of

HERE = Path(__file__).parent
# Of the teacher's layers a student keeps these, and begins with their weights or with random ones.
STARTS = {"digits": Start("random", (0, 3)), "banking77": Start("uniform", (0, 3))}
BANKING77 = HERE.parents[2] / "shared" / "data" / "banking77"
# torchdistill also names torchvision, which needs the very torch it was built with: where that has another build than
# the registry's, it cannot be imported ("operator torchvision::nms does not exist"). See peer_worker.ZOO.
ENVIRONMENTS = {
    "textbrewer": (["textbrewer==0.2.1.post1"], []),
    "torchdistill": (["numpy", "pyyaml", "scipy", "cython"], ["torchdistill==1.1.5"]),
}
FOREIGN = {"textbrewer": "textbrewer", "textbrewer-cached": "textbrewer", "torchdistill": "torchdistill"}


class Failed(Exception):
    """A method that could not be run, and why."""


@dataclass(frozen=True)
class Case:
    """One data set with its teacher."""

    name: str
    root: Path
    teacher: Path | None
    epochs: int | None

    @property
    def overrides(self) -> list[str]:
        """What differs from the recipe; fp32, for the other libraries know nothing else on a processor."""
        found = ["distill.precision=fp32"]
        if self.teacher is not None:
            found += [f"teacher.model={self.teacher.resolve()}", "teacher.fine_tune=null"]
        return found + ([] if self.epochs is None else [f"distill.epochs={self.epochs}"])

    @functools.cached_property
    def context(self) -> Context:
        """The run folder with the teacher in it."""
        recipe = str(HERE / f"{self.name}.yaml")
        run(recipe, self.overrides, self.root, only="teacher")
        return Context(load_recipe(recipe, self.overrides), self.root, Path.cwd())

    @functools.cached_property
    def taught(self) -> Lesson:
        """The data and the teacher, whose answers are cached from here on."""
        return lesson(self.context, None)

    @property
    def spec(self) -> StudentSpec:
        """The students' dimensions."""
        return StudentSpec.from_dict(self.taught.teacher_spec.to_dict() | {"layers": len(STARTS[self.name].layers)})

    def settings(self, seed: int) -> dict[str, Any]:
        """What all methods do alike, and where ours finds the lesson."""
        distill = self.context.recipe.distill
        steps = distill.epochs * -(-len(self.taught.train) // distill.batch_size)
        return {
            "recipe": str(HERE / f"{self.name}.yaml"), "overrides": self.overrides, "root": str(self.root.resolve()),
            "images": self.context.splits.kind == "image", "pad": self.taught.pad, "seed": seed, "steps": steps,
            "epochs": distill.epochs, "batch_size": distill.batch_size, "learning_rate": distill.learning_rate,
            "weight_decay": distill.weight_decay, "warmup_steps": max(1, round(distill.warmup * steps)),
            "temperature": distill.temperature, "alpha": distill.alpha, "freeze_embeddings": distill.freeze_embeddings,
        }  # fmt: skip

    def job(self, seed: int) -> Path:
        """A folder with all that a worker needs."""
        folder = make_folder(self.root / "peers" / f"seed-{seed}")
        start = STARTS[self.name]
        layers = () if start.method == "random" else start.layers
        student, _ = self.taught.student(self.spec, seed, Start(start.method, layers))
        student.save_pretrained(folder / "student")
        self.taught.teacher.save_pretrained(folder / "teacher")
        write_json(folder / "job.json", self.settings(seed))
        write_rows(self.taught.train, folder / "train.npz")
        test = encode(self.context.splits.test, self.taught.preprocessing, self.taught.tokenizer)
        write_rows(test, folder / "test.npz")
        return folder

    @property
    def labels(self) -> list[int]:
        """What is right in the test part."""
        found: list[int] = self.context.splits.test.labels.tolist()
        return found

    @functools.cached_property
    def teacher_right(self) -> float:
        """The teacher's accuracy on the test part."""
        path = self.root / "peers" / f"teacher-{weights_hash(self.taught.teacher)[:16]}.json"
        if not path.exists():
            test = encode(self.context.splits.test, self.taught.preprocessing, self.taught.tokenizer)
            write_json(
                path, accuracy(predict_logits(self.taught.teacher, test, 64, self.taught.pad), np.array(self.labels))
            )
        return float(read_json(path))

    def session_file(self, seed: int, turn: int, versions: dict[str, str]) -> Path:
        """Where the session with these settings is kept once it is finished."""
        settings = {
            key: value for key, value in self.settings(seed).items() if key not in ("recipe", "root", "overrides")
        }
        sources = [*sorted((HERE.parents[1] / "edgekd" / "distill").glob("*.py")), *sorted(HERE.glob("peer_[ow]*.py"))]
        key = content_hash({
            "sources": [sha256_of_file(path) for path in sources], "settings": settings, "turn": turn,
            "versions": versions, "student": self.spec.to_dict(), "teacher": weights_hash(self.taught.teacher),
        })  # fmt: skip
        return self.root / "peers" / f"session-{seed}-{key[:16]}.json"


def write_rows(dataset: Any, path: Path) -> None:
    """`dataset` for peer_worker.Rows: a column of equal shapes as one array, one of lists as its values and bounds."""
    names = [name for name in dataset.column_names if name not in (LABELS, ROW, TEACHER_LOGITS)]
    columns = dataset.with_format("numpy")
    arrays: dict[str, Any] = {"columns": np.array(names), "labels": np.asarray(columns[LABELS][:], dtype=np.int64)}
    for name in names:
        rows = [np.asarray(row) for row in columns[name][:]]
        kind = np.float32 if rows[0].dtype.kind == "f" else np.int64
        if rows[0].ndim > 1:
            arrays[name] = np.stack(rows).astype(kind)
        else:
            arrays[name] = np.concatenate(rows).astype(kind)
            arrays[f"{name}/bounds"] = np.cumsum([len(row) for row in rows])[:-1]
    np.savez(path, **arrays)


def install(folder: Path) -> None:
    """Make the environments that are missing, with the torch and transformers of this one."""
    torch_version, transformers_version = version("torch").split("+")[0], version("transformers")
    for name, (packages, alone) in ENVIRONMENTS.items():
        place = folder / name
        if isinstance(found_version(place, name), str):
            continue
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run(
            [*pip, f"torch=={torch_version}", f"transformers=={transformers_version}", *packages], check=True
        )
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True)


def found_version(place: Path, name: str) -> str | Failed:
    """The version of the library in its environment, or why there is none."""
    python = place / "bin" / "python"
    if not python.exists():
        return Failed(f"no environment in {place.name}; --install makes one")
    asked = subprocess.run(
        [str(python), "-c", f"import importlib.metadata as m; print(m.version({name!r}))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return asked.stdout.strip() if asked.returncode == 0 else Failed(last_line(asked.stderr))


def last_line(text: str) -> str:
    """What a program said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


class Worker:
    """A method in its process. Errors: Failed when it ends before its time."""

    def __init__(self, method: str, python: Path, job: Path) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
        }
        environment["HF_HUB_OFFLINE"] = "1"
        if method in FOREIGN:
            environment.pop("PYTHONPATH", None)
        self._log = job / f"{method}.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), str(HERE / "peer_worker.py"), method, str(job)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
            )  # fmt: skip

    def told(self, command: str = "") -> dict[str, Any]:
        """The answer to `command`; without one, that it is ready."""
        source, sink = self._process.stdout, self._process.stdin
        try:
            if command and sink is not None:
                sink.write(command + "\n")
                sink.flush()
            line = "" if source is None else source.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(last_line(self._log.read_text(encoding="utf-8")))
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def stretches(steps: int, turn: int) -> list[int]:
    """The steps of each turn; the last may be shorter."""
    whole, rest = divmod(steps, turn)
    return [turn] * whole + ([rest] if rest else [])


class Session:
    """The workers of one job. Who fails is left out from then on, with the reason."""

    def __init__(self, job: Path, methods: Sequence[str], environments: Path) -> None:
        self.failed: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}
        for method in methods:
            place = environments / FOREIGN[method] / "bin" / "python" if method in FOREIGN else Path(sys.executable)
            self._workers[method] = Worker(method, place, job)

    def asked(self, command: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Each method and its answer, one after the other."""
        for method, worker in list(self._workers.items()):
            try:
                yield method, worker.told(command)
            except Failed as reason:
                self.failed[method] = str(reason)
                self._workers.pop(method).close()

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()


def session(job: Path, methods: Sequence[str], environments: Path, turn: int) -> dict[str, Any]:
    """All methods with one seed, in turns: their seconds for each whole turn, and what their students answer."""
    running = Session(job, methods, environments)
    try:
        turns: dict[str, list[float]] = {method: [] for method, _ in running.asked()}
        for steps in stretches(read_json(job / "job.json")["steps"], turn):
            for method, reply in running.asked(f"train {steps}"):
                if steps == turn:
                    turns[method].append(reply["seconds"])
        answers = {method: reply["answers"] for method, reply in running.asked("answers")}
    finally:
        running.close()
    return {"turns": turns, "answers": answers, "failed": running.failed}


def told(case: Case, found: Outcome, rounds: int) -> tuple[str, dict[str, Any]]:
    """What to say of a case below the table, and its numbers."""
    settings, spec, teacher = case.settings(0), case.spec, case.taught.teacher_spec
    said = goals(found, settings["epochs"])
    made = f"{settings['steps']} steps of {settings['batch_size']} examples ({settings['epochs']} epochs)"
    shown = f"{case.name}: teacher {teacher.name}, right {case.teacher_right:.2%}; student {spec.name}; {made}; "
    lines = [
        f"{shown}{len(case.labels)} test examples; {rounds} rounds of turns.\n",
        *(f"- {goal}: {result}" for goal, result, _ in said),
    ]
    numbers = {
        "teacher": teacher.name, "teacher_right": case.teacher_right, "student": spec.name,
        "steps": settings["steps"], "rounds": rounds,
        "accuracy": {method: right.mean(axis=1).tolist() for method, right in found.right.items()},
        "goals": {goal: numbers for goal, _, numbers in said}, "failed": found.failed,
        "ratios": {method: [round(ratio, 4) for ratio in ratios] for method, ratios in found.ratios.items()},
        "cached_by_online": [round(ratio, 4) for ratio in found.speed_up],
    }  # fmt: skip
    return "\n".join(lines), numbers


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=list(STARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--turn", type=int, default=20, help="optimiser steps before the next method's turn")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further session after that")
    parser.add_argument("--method", action="append", choices=list(NAMES), help="only these, besides plain fine-tuning")
    parser.add_argument("--teacher", type=Path, help="a checkpoint of the case's teacher, instead of training one")
    parser.add_argument("--env", type=Path, default=Path("runs/peers/environments"))
    parser.add_argument("--install", action="store_true", help="make the environments of the others, with pip")
    parser.add_argument("--work", type=Path, default=Path("runs/peers"))
    parser.add_argument("--write", action="store_true", help="replace the results with what is finished")
    asked = parser.parse_args()
    if asked.case is None:
        asked.case = [name for name in STARTS if name != "banking77" or BANKING77.is_dir()]
    if asked.teacher is not None and len(asked.case) > 1:
        parser.error("--teacher belongs to one --case")
    return asked


def main() -> None:
    """Finish what sessions there is time for, and show what is finished."""
    asked, begun = arguments(), time.monotonic()
    disable_progress_bar()
    if asked.install:
        install(asked.env)
    wanted = [method for method in NAMES if method == PLAIN or asked.method is None or method in asked.method]
    known = {name: found_version(asked.env / name, name) for name in ENVIRONMENTS}
    missing = {m: str(known[FOREIGN[m]]) for m in wanted if m in FOREIGN and isinstance(known[FOREIGN[m]], Failed)}
    methods = [method for method in wanted if method not in missing]
    versions = {m: str(known[FOREIGN[m]]) if m in FOREIGN else version("edgekd") for m in methods}
    rows: list[list[str]] = []
    texts: list[str] = []
    numbers: dict[str, Any] = {"versions_of_others": {m: found for m, found in versions.items() if m in FOREIGN}}
    for name in asked.case:
        case = Case(name, asked.work / name, asked.teacher, asked.epochs)
        sessions = []
        for seed in range(1, asked.seeds + 1):
            path = case.session_file(seed, asked.turn, versions)
            if not path.exists() and time.monotonic() - begun < 60 * asked.minutes:
                print(f"{name}, seed {seed}", flush=True)
                write_json(path, session(case.job(seed), methods, asked.env, asked.turn))
            if path.exists():
                sessions.append(read_json(path))
        if not sessions:
            continue
        found = outcome(sessions, case.labels, missing)
        rows += rows_of(name, found)
        said, numbers[name] = told(case, found, max(len(turns) for one in sessions for turns in one["turns"].values()))
        texts.append(said)
    text = f"{table_text(COLUMNS, rows)}\n\n{EXPLAINED}\n\n" + "\n\n".join(texts)
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("distillation_peers", "Our distillation and others'", text, numbers, host)
    else:
        print(text)


EXPLAINED = """`right` is the mean of the students' accuracies on the test part, its interval is over seeds and test
examples, both drawn again. `steps/s by plain` is the median over rounds of turns, its interval over rounds drawn again.
A goal is not decided when its interval contains the limit. All students of one seed begin with the same weights; each
method draws its batches in an order of its own."""


if __name__ == "__main__":
    main()
