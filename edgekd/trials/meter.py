"""How much of the trial budget this machine has used, calls that were killed included."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.files import read_json, write_json


@dataclass
class Meter:
    """Seconds against `budget_s`, for the study of that name; kept in the file at `path`, which is one worker's."""

    path: Path
    study: str
    budget_s: float
    before_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    def at(cls, path: Path, study: str, budget_s: float) -> Meter:
        """The meter at `path`, which goes on where it stood if it was that study's. Errors: RecordError."""
        table = read_json(path) if path.is_file() else {}
        before_s = table.get("seconds", 0.0) if isinstance(table, dict) and table.get("study") == study else 0.0
        return cls(path, study, budget_s, float(before_s))

    def restart(self) -> None:
        """Do not count the time since this call began."""
        self.started_s = time.monotonic()

    @property
    def used_s(self) -> float:
        """Seconds used so far."""
        return self.before_s + time.monotonic() - self.started_s

    @property
    def left_s(self) -> float:
        """Seconds that are left; negative when the budget was overdrawn."""
        return self.budget_s - self.used_s

    @property
    def share(self) -> float:
        """The share of the budget that is used, at most 1."""
        return min(1.0, self.used_s / self.budget_s)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0

    def save(self) -> None:
        """Keep the time, so that a kill does not give it back. Errors: InputError, StorageError."""
        write_json(self.path, {"study": self.study, "seconds": self.used_s})
