"""What every step of a run needs: the recipe, the folder, and somebody to tell how it goes."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekd import __version__
from edgekd.device import DeviceProfile, load_profile
from edgekd.errors import HostError, InputError, RecordError
from edgekd.files import content_hash, is_litter, open_or_fail, read_json, sha256_of_file
from edgekd.host_choice import HostChoice
from edgekd.pipeline.ledger import Ledger
from edgekd.recipe import Data, Recipe
from edgekd.task import TASKS, TaskWords
from edgekd.text import printable

if TYPE_CHECKING:
    from edgekd.data.checks import Checks
    from edgekd.data.examples import Splits
    from edgekd.hosts.base import Host
    from edgekd.hosts.target import Target
    from edgekd.sizing.attempts import Blocked

TEACHER, STUDENT, ARTIFACTS, RECORDS = "teacher", "student", "artifacts", "records"
ATTEMPTS, ATTEMPTS_JSON = "attempts", "attempts.json"
CALIBRATION, CACHE, WORK, TRIALS, TENSORBOARD = "calibration", "cache", "work", "trials", "tensorboard"
STUDENTS_JSON, SIZING_JSON = "students.json", "sizing.json"
TEACHER_JSON, STUDENT_JSON, DATA_JSON = "teacher.json", "student.json", "data.json"
VERDICT_JSON, JUNIT_XML, SUMMARY_MD, REPORT_HTML = "verdict.json", "junit.xml", "summary.md", "report.html"
RECIPE_JSON = "recipe.json"

MACHINES = {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64"}
MAX_HASHED_BYTES = 256 * 2**20


class Progress(Protocol):
    """Somebody to tell how it goes; the terminal's display, or nobody."""

    def begin(self, step: str, *, current: bool) -> None:
        """`step` begins; `current` when its files are up to date and nothing is left to do."""
        ...

    def update(self, text: str, share: float | None = None) -> None:
        """What the step is doing, and the share of it that is done when that is known."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should know at once, before time is spent on it."""
        ...

    def end(self, step: str, summary: str) -> None:
        """`step` ended."""
        ...


class Silent:
    """Progress that nobody sees."""

    def begin(self, step: str, *, current: bool) -> None:
        """Nothing."""

    def update(self, text: str, share: float | None = None) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def end(self, step: str, summary: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step left: the files it answers for (folders with all inside), and one line for the user.

    `blocked` says why a sizing after an attempt proposes no further student; then it left nothing.
    """

    paths: tuple[Path, ...]
    summary: str
    blocked: Blocked | None = None


@dataclass
class Context:
    """One run: `base` is the folder that relative paths in the recipe start from, `root` the run folder."""

    recipe: Recipe
    root: Path
    base: Path
    progress: Progress = field(default_factory=Silent)

    @cached_property
    def profile(self) -> DeviceProfile:
        """The profile of the device that the recipe names."""
        return load_profile(self.recipe.device)

    @property
    def words(self) -> TaskWords:
        """The task in words."""
        return TASKS[self.recipe.task]

    @cached_property
    def splits(self) -> Splits:
        """The data set, read once."""
        from edgekd.data.documents import load_documents
        from edgekd.data.sources import load_splits

        self.progress.update("reading the data")
        words = self.words
        if words.head == "language":
            return load_documents(self.recipe.data, base=self.base)
        return load_splits(self.recipe.data, base=self.base, kind=words.kind, labelling=words.labelling)

    @cached_property
    def checks(self) -> Checks:
        """What was found in the data set, looked at once. Errors: DataError for one that cannot be used."""
        from edgekd.data.checks import checked, checked_documents

        splits = self.splits
        self.progress.update("checking the data")
        check = checked_documents if self.words.head == "language" else checked
        return check(splits, data_used(self.recipe.data, self.base))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the run folder."""
        return Ledger(self.root)

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.root.joinpath(*parts)

    def left_by(self, step: str) -> dict[str, str]:
        """The files that `step` left, with their hashes; empty when it has not run."""
        entry = self.ledger.entry(step)
        return entry.files if entry is not None else {}

    @property
    def sequence(self) -> int:
        """Tokens per input of what is trained and measured: the recipe's, or the length that the step size chose."""
        if self.recipe.space.sequence is None:
            return self.recipe.sequence
        chosen = read_json(self.path(STUDENTS_JSON)).get("sequence")
        if not isinstance(chosen, int) or isinstance(chosen, bool) or chosen not in self.recipe.space.sequence:
            found = printable(repr(chosen), 40)
            raise RecordError(
                f"{self.path(STUDENTS_JSON)}: sequence is {found}, expected one of space.sequence. "
                "Make it again: edgekd size"
            )
        return chosen

    def data_content(self, *parts: str) -> Any:
        """The hashes of `parts` of the data set as the step teacher read it; None before it did."""
        path = self.path(DATA_JSON)
        table = read_json(path) if path.exists() else {}
        return [table.get(part) for part in parts]

    @contextmanager
    def open_host(self) -> Iterator[Host]:
        """The host that the recipe names, open, and sure to have the processor of the device that the recipe names.

        A link that breaks is opened again. Errors: InputError when it has another, or hosts.yaml calls it another
        device, for its latencies would say nothing about the device; HostError.
        """
        from edgekd.bench.reopen import Reopening
        from edgekd.hosts.open import open_target

        target = target_of(self.recipe.host, self.base)
        _require_device(target, self.profile)
        with Reopening(lambda: open_target(target)) as host:
            mend = "Set host.url to such a board, or device to another"
            require_isa(host, self.profile, mend)
            yield host


def isa_of(host: Host) -> str:
    """The instruction set that the host's own Python names, in the words of device profiles. Errors: HostError."""
    done = host.run([host.python, "-c", "import platform; print(platform.machine())"], timeout_s=60)
    if done.exit_status != 0:
        said = printable(" ".join(done.stderr.split()), 200)
        raise HostError(f"{host.name}: {host.python} does not run there ({said}). Name its Python: host.python")
    machine = done.stdout.strip()
    return MACHINES.get(machine.lower(), machine)


def require_isa(host: Host, profile: DeviceProfile, mend: str) -> None:
    """`host` has the processor of `profile`. Errors: InputError that says `mend`, and an example; HostError."""
    isa = printable(isa_of(host), 40)
    if isa != profile.isa:
        raise InputError(
            f"{host.name}: its processor is {isa}, the device {profile.name} is {profile.isa}. "
            f"{mend}, such as generic-{isa.replace('_', '-')}"
        )


def _require_device(target: Target, profile: DeviceProfile) -> None:
    """`target` is a board of that kind, or hosts.yaml does not say. Errors: InputError."""
    if target.device is None:
        return
    known = load_profile(target.device)
    if known.name != profile.name:
        raise InputError(
            f"host {target.name}: hosts.yaml calls it a {known.name}, the recipe's device is {profile.name}. "
            f"Name another host, or --set device={known.name}"
        )


def target_of(choice: HostChoice, base: Path) -> Target:
    """The board of `choice`, not yet opened; relative paths start from `base`. Errors: InputError, SecurityError."""
    from edgekd.hosts.resolve import target_from_text

    def located(name: str | None) -> Path | None:
        return (base / Path(name).expanduser()) if name else None

    return target_from_text(
        choice.url,
        hosts=located(choice.hosts),
        key=located(choice.key),
        known_hosts=located(choice.known_hosts),
        python=choice.python,
    )


def open_choice(choice: HostChoice, base: Path) -> Host:
    """The host of `choice`; relative paths start from `base`. Errors: InputError, HostError, SecurityError."""
    from edgekd.hosts.open import open_target

    return open_target(target_of(choice, base))


def inputs_hash(*parts: Any) -> str:
    """A hash of everything that a step's result depends on, the version of edgekd included."""
    return content_hash([__version__, list(parts)])


def file_facts(path: Path) -> list[Any]:
    """What identifies the file at `path`: its name and content, or for a huge one its size and time.

    Errors: InputError when it cannot be read.
    """
    with open_or_fail(path) as stream:
        facts = os.fstat(stream.fileno())
    if facts.st_size > MAX_HASHED_BYTES:
        return [path.name, facts.st_size, facts.st_mtime_ns]
    return [path.name, sha256_of_file(path)]


def data_used(data: Data, base: Path) -> Data:
    """The part of `data` that is read: `otherwise` where the local source does not exist."""
    absent = ":" not in data.source and not (base / Path(data.source).expanduser()).exists()
    return data_used(data.otherwise, base) if absent and data.otherwise is not None else data


def data_facts(data: Data, base: Path) -> Any:
    """What identifies the user's data: the settings, and the content of every local file that may be read for them."""
    used = data_used(data, base)
    source = base / Path(used.source.removeprefix("hub:")).expanduser()
    folder = source.parent if source.is_file() else source
    named = [folder / name for name in (used.train, used.validation, used.test) if name]
    files: list[Path] = []
    if source.is_file():
        files = [source, *(path for path in named if path.is_file())]
    elif source.is_dir():
        # A named training part ends all guessing; images that a table names lie in folders below.
        files = [
            path
            for path in _files_below(source)
            if used.train is None or path.parent != source or path in named or "labels-idx1" in path.name
        ]
        files += [path for path in named if path.is_file()]
    if source.exists():
        # Those that lie elsewhere, and links, which rglob does not follow.
        files += [path for part in named if part != source and part.is_dir() for path in _files_below(part)]
    # max_leakage changes nothing about the data; it is compared with what was found.
    settings = used.model_dump(mode="json", exclude={"otherwise", "max_leakage"})
    return [settings, [_data_file_facts(path, source) for path in dict.fromkeys(files)]]


def _files_below(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(is_litter, path.relative_to(folder).parts))
    ]


def _data_file_facts(path: Path, source: Path) -> list[Any]:
    """As file_facts; files in folders below, which are many where images lie there, by size and time."""
    if path.parent in (source, source.parent):
        facts = file_facts(path)
    else:
        root = source if source.is_dir() else source.parent
        state = path.stat()
        name = path.relative_to(root) if path.is_relative_to(root) else path
        facts = [name.as_posix(), state.st_size, state.st_mtime_ns]
    # Names need not be UTF-8, and JSON must.
    return [facts[0].encode(errors="backslashreplace").decode(), *facts[1:]]


def machine_facts(choice: HostChoice, base: Path) -> Any:
    """What is known unasked of the machine behind `choice`: of this one its name and runtime, else the URL.

    A name of hosts.yaml counts as the URL that it stands for there. Errors: as target_of.
    """
    target = target_of(choice, base)
    if target.jump:
        return [target.url, *(hop.address.name for hop in target.jump)]
    if target.url != "local":
        return target.url
    try:
        runtime = importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        runtime = "none"
    return [platform.node(), platform.machine(), os.cpu_count(), runtime]


def model_facts(name: str, base: Path) -> Any:
    """What identifies the model `name`: for a local folder the content of its files, else the name."""
    folder = base / Path(name).expanduser()
    if not folder.is_dir():
        return name
    return [file_facts(path) for path in sorted(folder.iterdir()) if path.is_file()]
