"""Ask a board what it is. Its answer is bounded, and every value in it is checked before it is believed."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from edgekd.bench.packed import packed_agent
from edgekd.config import Model
from edgekd.errors import HostError, MeasureError, RecordError
from edgekd.files import json_from_bytes, sha256_of_bytes, write_bytes
from edgekd.hosts.base import Host
from edgekd.text import printable

FORMAT = 1
MAX_ANSWER_BYTES = 1 << 18
ASK_TIMEOUT_S = 600.0
LEAST_PYTHON = (3, 8)
_NOT_FOUND = (126, 127)
_VERSION = re.compile(r"Python (\d{1,2})\.(\d{1,3})")

Word = Annotated[str, Field(max_length=400)]
Whole = Annotated[int, Field(ge=0)]
Words = Annotated[list[Word], Field(max_length=64)]


class Cluster(Model):
    """Equal processors; None: the board does not tell."""

    core: Word | None
    cpus: Annotated[list[Whole], Field(min_length=1, max_length=1024)]
    clock_hz: Annotated[int, Field(gt=0)] | None
    capacity: Whole | None


class Hardware(Model):
    """`features` are those every processor has, in the words of device profiles."""

    model: Word | None
    machine: Word
    clusters: Annotated[list[Cluster], Field(max_length=16)]
    features: Words | None
    memory_bytes: Whole | None
    memory_available_bytes: Whole | None


class System(Model):
    """`family` is the distribution and those it is made from, `l4t` NVIDIA's Linux for Jetson boards."""

    kernel: Word | None
    distribution: Word | None
    family: Word | None
    l4t: Word | None
    android: dict[str, Word] | None
    boot_id: Word | None
    unix_s: float


class Python(Model):
    """The interpreter that answered."""

    version: Annotated[str, Field(pattern=r"^\d{1,2}\.\d{1,3}\.\d{1,3}\S{0,20}$")]
    implementation: Word
    executable: Word | None
    bits: Literal[32, 64]
    free_threaded: bool
    has_venv: bool
    has_pip: bool
    libc: Literal["glibc", "musl", "bionic"] | None
    libc_version: Word | None

    @property
    def number(self) -> tuple[int, int]:
        """(3, 11) of 3.11.7."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


class Zone(Model):
    """One thermal zone."""

    kind: Word | None
    temperature_c: float | None


class Sensors(Model):
    """What can be read of heat, power and clocks now."""

    zones: Annotated[list[Zone], Field(max_length=64)]
    temperature_c: float | None
    rails: Words
    throttled: Word | None
    has_vcgencmd: bool
    thermal_status: Annotated[int, Field(ge=0, le=6)] | None
    power_mode: Word | None
    has_nvpmodel: bool
    governors: Words
    clock_hz: Annotated[int, Field(gt=0)] | None
    may_tune: bool


class Runtime(Model):
    """A module that was imported and did a little work, or why not; `said` is the signal or the last line."""

    state: Literal["fine", "missing", "killed", "failed", "hung"]
    version: Word | None
    providers: Words
    said: Word | None


class Tool(Model):
    """A program of the board."""

    path: Word
    version: Word | None


class Workspace(Model):
    """Edgekd's own folder there. `left_tuned`: a measurement that was cut did not put back governor and clocks."""

    folder: Word
    disk_free_bytes: Whole
    lock: Literal["free", "held", "unknown"]
    left_tuned: bool


class BoardFacts(Model):
    """Everything that a board said of itself, at one time."""

    hardware: Hardware
    system: System
    python: Python
    sensors: Sensors
    runtimes: dict[str, Runtime]
    trtexec: Tool | None
    workspace: Workspace

    @property
    def model(self) -> str | None:
        """What the board is called: a phone has its name among its properties."""
        return self.hardware.model or (self.system.android or {}).get("ro.product.model")

    @property
    def cores(self) -> int:
        """All processors."""
        return sum(len(cluster.cpus) for cluster in self.hardware.clusters)


def python_trouble(host: Host) -> str | None:
    """Why the host's Python cannot answer, or None when it can. Errors: HostError for the link."""
    done = host.run([host.python, "--version"], timeout_s=60, max_output_bytes=4096)
    name, found = printable(host.python, 200), _VERSION.search(done.stdout + done.stderr)
    if done.exit_status in _NOT_FOUND:
        return f"has no {name}"
    if done.exit_status != 0 or found is None:
        said = printable(" ".join((done.stdout + done.stderr).split()), 200) or "nothing"
        return f"{name} --version said {said}"
    if (int(found[1]), int(found[2])) < LEAST_PYTHON:
        return f"{name} is Python {found[1]}.{found[2]}, expected {LEAST_PYTHON[0]}.{LEAST_PYTHON[1]} or newer"
    return None


def require_python(host: Host) -> None:
    """Errors: HostError when the host's Python does not start, or is older than what the agent needs."""
    trouble = python_trouble(host)
    if trouble is not None:
        raise HostError(f"{host.name}: {trouble}. Name its Python: --python PATH")


def ask(host: Host) -> BoardFacts:
    """What the board says of itself. Errors: HostError for board and link, MeasureError for an impossible answer."""
    return facts_from_json(asked(host, "probe"), host.name)


def restore(host: Host) -> list[str]:
    """Put back what a measurement that was cut left tuned; what could not be put back. Errors: HostError."""
    left = asked(host, "restore").get("left")
    if not isinstance(left, list):
        raise MeasureError(f"{host.name}: the board's answer lacks what could not be put back")
    return [printable(str(name), 120) for name in left[:64]]


def facts_from_json(table: dict[str, Any], where: str) -> BoardFacts:
    """The facts in `table`. Errors: MeasureError naming the place."""
    try:
        return BoardFacts.model_validate({key: value for key, value in table.items() if key != "format"})
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        found = printable(repr(first["input"]), 60)
        raise MeasureError(
            f"{where}: the board's answer cannot be true: {printable(place, 80)}: {first['msg']} (found {found})"
        ) from None


def asked(host: Host, verb: str) -> dict[str, Any]:
    """What the agent answers to `verb`; nothing of it stays on the board but the agent itself."""
    data = packed_agent()
    agent = f"blobs/{sha256_of_bytes(data)}.pyz"
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        write_bytes(Path(folder) / "agent.pyz", data)
        host.put(Path(folder) / "agent.pyz", agent)
    folder_there = f"runs/{secrets.token_hex(12)}"
    place = f"{folder_there}/answer.json"
    host.write(f"{folder_there}/asked", verb.encode())  # so that the folder is there for the answer
    try:
        done = host.run([host.python, agent, verb, place], timeout_s=ASK_TIMEOUT_S, max_output_bytes=1 << 16)
        if done.exit_status not in (0, 3):
            said = [line for line in done.stderr.splitlines() if line.strip()]
            last = printable(said[-1], 300) if said else "nothing"
            raise HostError(f"{host.name}: asking what it is failed with {done.exit_status}; the last it said: {last}")
        answer = host.read(place, max_bytes=MAX_ANSWER_BYTES)
    finally:
        with contextlib.suppress(HostError):
            host.remove(folder_there)
    return _checked(answer, host.name)


def _checked(answer: bytes, where: str) -> dict[str, Any]:
    try:
        table = json_from_bytes(answer, where=where)
    except RecordError as error:
        raise MeasureError(f"{error}; the board's answer is damaged") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise MeasureError(f"{where}: the board's answer has another format than {FORMAT}")
    failure = table.get("error")
    if failure is not None:
        said = failure.get("message") if isinstance(failure, dict) else failure
        raise HostError(f"{where}: {printable(str(said), 600)}")
    return table
