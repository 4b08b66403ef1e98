"""A host for tests and examples: scripted commands and files in memory, under the same contract as the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from edgekd.errors import HostError, HostTimeout
from edgekd.files import open_or_fail, sha256_of_bytes, sha256_of_file
from edgekd.hosts.base import Completed
from edgekd.hosts.grammar import checked_argv, checked_path
from edgekd.hosts.output import Tail
from edgekd.units import text_from_s

_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scripted command does: how it ends, what it says, which files it writes and how long it takes."""

    exit_status: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    takes_s: float = 0.0


class FakeHost:
    """A board that answers from `answers` by its argv, or from `respond`, which may look at `files`.

    A command neither knows ends with status 127, as on a real board. `runs` and `sent` tell what was asked of it.
    """

    def __init__(
        self,
        answers: Mapping[tuple[str, ...], Answer] | None = None,
        *,
        respond: Callable[[FakeHost, tuple[str, ...]], Answer | None] | None = None,
        name: str = "fake",
        python: str = "python3",
    ) -> None:
        self.name = name
        self.python = python
        self.files: dict[str, bytes] = {}
        self.runs: list[tuple[str, ...]] = []
        self.sent: list[str] = []
        self._answers = dict(answers or {})
        self._respond = respond

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open."""

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run; a command that `takes_s` longer than `timeout_s` fails at once and writes nothing."""
        words = checked_argv(argv)
        self.runs.append(words)
        answer = self._answer(words)
        if answer.takes_s > timeout_s:
            raise HostTimeout(f"{self.name}: {words[0]} did not end within {text_from_s(timeout_s)} and was stopped")
        for remote, data in answer.files.items():
            self.files[checked_path(remote)] = data
        out, err = Tail(max_output_bytes), Tail(max_output_bytes)
        out.add(answer.stdout)
        err.add(answer.stderr)
        return Completed(words, answer.exit_status, out.text(), err.text())

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put."""
        del timeout_s
        place, digest = checked_path(remote), sha256_of_file(local)
        if place in self.files and sha256_of_bytes(self.files[place]) == digest:
            return False
        with open_or_fail(local) as stream:
            self.files[place] = stream.read()
        self.sent.append(place)
        return True

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        self.files[checked_path(remote)] = data

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read."""
        data = self.files.get(checked_path(remote))
        if data is None:
            raise HostError(f"{self.name}: {remote} cannot be read (No such file or directory)")
        if len(data) > max_bytes:
            raise HostError(f"{self.name}: {remote} is longer than the {max_bytes} bytes expected")
        return data

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        place = checked_path(remote)
        self.files = {
            name: data for name, data in self.files.items() if name != place and not name.startswith(f"{place}/")
        }

    def _answer(self, words: tuple[str, ...]) -> Answer:
        answer = self._answers.get(words)
        if answer is None and self._respond is not None:
            answer = self._respond(self, words)
        return answer or Answer(_NOT_FOUND, stderr=f"{words[0]}: not found\n".encode())
