"""`edgekd bench` on many boards at once: a thread for each, a record for each, and no board's failure is another's."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgekd.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_PASS, EdgekdError, InputError, worst_exit_code
from edgekd.hosts.target import Target
from edgekd.pipeline.measure import Asked, BenchRequest, asked, bench_on, target_file
from edgekd.record import Artifact, LatencyRecord
from edgekd.report.terminal import record_lines
from edgekd.text import printable

# Each board costs this machine a thread, a connection and its encryption, which must not slow the answers of others.
MOST_AT_ONCE = 8
_INTERRUPTED = "interrupted; the same command goes on where this one stopped"
_LEFT = "interrupted again; what runs on the boards goes on there, and the same command finds it"


class Display(Protocol):
    """Somebody to tell how each board fares; called from one thread only."""

    def update(self, name: str, text: str, share: float | None) -> None:
        """The board `name` is doing `text`, of which `share` is done when that is known."""
        ...

    def end(self, name: str, text: str, *, well: bool) -> None:
        """The board `name` ended, and how."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one board: the record and its file, or the error."""

    board: Target
    path: Path | None = None
    record: LatencyRecord | None = None
    error: BaseException | None = None

    @property
    def exit_code(self) -> int:
        """The code that a command on this board alone would end with."""
        if self.error is None:
            return EXIT_PASS
        if isinstance(self.error, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        return self.error.exit_code if isinstance(self.error, EdgekdError) else EXIT_BUG


@dataclass(frozen=True, slots=True)
class _Said:
    """What a thread tells of the board `number`: how far it is, or what came of it."""

    number: int
    text: str
    share: float | None = None
    result: Result | None = None


def bench_boards(request: BenchRequest, boards: Sequence[Target], display: Display) -> list[Result]:
    """Measure the model of `request` on all `boards`, up to MOST_AT_ONCE at a time; a result for each, in their order.

    Each board measures one process at a time, as its lock sees to. A record is stored as soon as it is there.
    After Ctrl-C the runs on the boards are cancelled, and waited for; after a second one they are left to themselves.
    Errors: InputError for a request that no board could carry out; what happens on a board stands in its result.
    """
    wanted = asked(request)
    paths = _paths(request.out, wanted, boards)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
    stop = threading.Event()
    for number in range(len(boards)):
        waiting.put(number)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number = waiting.get_nowait()
                result = _on_one(number, boards[number], request.model, wanted, paths[number], said, stop)
                said.put(_Said(number, _ending(result), result=result))

    for number in range(min(len(boards), MOST_AT_ONCE)):
        # A thread that waits for a board must not keep an interrupted program alive.
        threading.Thread(target=work, name=f"edgekd-board-{number}", daemon=True).start()
    found: dict[int, Result] = {}
    while len(found) < len(boards):
        event = _next(said, stop)
        if event is None:
            for number in set(range(len(boards))) - found.keys():
                display.update(boards[number].name, "stopping", None)
            continue
        name = boards[event.number].name
        if event.result is None:
            display.update(name, event.text, event.share)
        else:
            found[event.number] = event.result
            display.end(name, event.text, well=event.result.error is None)
    return [found[number] for number in range(len(boards))]


def _next(said: queue.SimpleQueue[_Said], stop: threading.Event) -> _Said | None:
    """What is told next; None at the first Ctrl-C, which sets `stop`. Errors: KeyboardInterrupt at the second."""
    try:
        return said.get()
    except KeyboardInterrupt:
        if stop.is_set():
            raise KeyboardInterrupt(_LEFT) from None
        stop.set()
        return None


def _on_one(
    number: int, board: Target, model: Path, wanted: Asked, path: Path, said: queue.SimpleQueue[_Said],
    stop: threading.Event,
) -> Result:  # fmt: skip
    def tell(done: int, total: int, _: Artifact) -> None:
        said.put(_Said(number, f"process {done} of {total}", done / total))

    if stop.is_set():
        return Result(board, error=KeyboardInterrupt("interrupted before it was reached"))
    said.put(_Said(number, "reaching it"))
    try:
        record = bench_on(board, model, wanted, path, tell, stop)
    except KeyboardInterrupt as error:
        return Result(board, error=KeyboardInterrupt(str(error) or _INTERRUPTED))
    except Exception as error:  # noqa: BLE001  a bug on one board must not lose the records of the others
        return Result(board, error=error)
    return Result(board, path, record)


def _ending(result: Result) -> str:
    if result.record is None:
        return printable(" ".join(str(result.error).split()), 300)
    return f"{len(result.record.samples_ns)} samples"


def _paths(out: Path | None, wanted: Asked, boards: Sequence[Target]) -> list[Path]:
    """A file for each board, named by model and board. Errors: InputError, StorageError."""
    if out is not None and out.suffix == ".json":
        raise InputError(f"--out {out}: found one file for {len(boards)} boards, expected a folder")
    model = wanted.named.name.removesuffix(".onnx")
    names = [re.sub(r"[^A-Za-z0-9_.-]+", "-", board.name).strip("-.") for board in boards]
    if len(set(names)) != len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, start=1)]
    return [target_file(out, f"{model}-{name}") for name in names]


def result_lines(results: Sequence[Result]) -> list[str]:
    """What a person wants to know of the boards that were measured, each by its record."""
    lines = []
    for result in results:
        if result.record is not None:
            lines += [*record_lines(result.record), printable(f"record {result.path}")]
    return lines


def failure_lines(results: Sequence[Result]) -> list[str]:
    """A line for each board that was not measured; a bug of ours is shown whole."""
    lines = []
    for result in results:
        if result.error is None:
            continue
        if not isinstance(result.error, EdgekdError | KeyboardInterrupt):
            lines += [printable(line.rstrip("\n")) for line in traceback.format_exception(result.error)]
            lines.append("edgekd: this is a bug in edgekd; please report it with the lines above")
        lines.append(f"edgekd: {printable(result.board.name, 80)}: {_ending(result)}")
    return lines


def exit_code_of(results: Sequence[Result]) -> int:
    """The worst end of all `results`."""
    return worst_exit_code(result.exit_code for result in results)
