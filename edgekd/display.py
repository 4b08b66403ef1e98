"""The terminal while a run goes on: a line per step that ended, a moving bar for the one that goes on.

A log has no moving bar; there a line every half minute shows that something still happens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgekd.text import printable
from edgekd.units import text_from_s, text_from_share

LOG_EVERY_S = 30.0


class LiveProgress:
    """Progress on `console`: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, *, log_every_s: float = LOG_EVERY_S) -> None:
        self._console = console
        self._log_every_s = log_every_s
        self._logged = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._step = ""
        self._started = time.monotonic()
        self._current = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, step: str, *, current: bool) -> None:
        """`step` begins; `current` when nothing is left to do."""
        self._step, self._current, self._started = step, current, time.monotonic()
        self._logged = self._started
        self._bar.reset(self._task, total=None, description=escape(step), visible=not current)

    def update(self, text: str, share: float | None = None) -> None:
        """Show what the step is doing, and the share that is done."""
        total = None if share is None else 1.0
        shown = f"{self._step}: {escape(printable(text, 120))}"
        self._bar.update(self._task, description=shown, completed=share or 0, total=total)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._logged >= self._log_every_s:
            self._logged = now
            done = "" if share is None else f" ({text_from_share(share, 0)})"
            self._console.print(f"  {shown}{done}", highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print what the user should know before the step goes on."""
        line = f"[yellow]![/yellow] [bold]{self._step:<8}[/bold] {escape(printable(text))}"
        self._console.print(line, highlight=False, soft_wrap=not self._console.is_terminal)

    def end(self, step: str, summary: str) -> None:
        """Print the line of a step that ended."""
        self._bar.update(self._task, visible=False)
        took = "unchanged" if self._current else text_from_s(time.monotonic() - self._started)
        line = f"[green]✓[/green] [bold]{step:<8}[/bold] {escape(printable(summary))} [dim]({took})[/dim]"
        # A log is not a terminal: a width that nobody has would cut its lines in the middle of a thought.
        self._console.print(line, highlight=False, soft_wrap=not self._console.is_terminal)


class BoardTable:
    """Many boards at work: a table that moves on a terminal, a line for each board that ended elsewhere."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._started = time.monotonic()
        self._rows = dict.fromkeys(names, ("waiting", ""))
        self._live = Live(self._table(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, name: str, text: str, share: float | None) -> None:
        """Show what the board `name` is doing, and the share that is done."""
        done = "" if share is None else text_from_share(share, 0)
        self._rows[name] = (escape(printable(text, 120)), done)
        self._live.update(self._table())

    def end(self, name: str, text: str, *, well: bool) -> None:
        """Show how the board `name` ended."""
        mark = "[green]✓[/green]" if well else "[red]✗[/red]"
        took = text_from_s(time.monotonic() - self._started)
        self._rows[name] = (f"{mark} {escape(printable(text, 300))}", took)
        self._live.update(self._table())
        if not self._console.is_terminal:
            line = (
                f"{mark} [bold]{escape(printable(name, 80))}[/bold] {escape(printable(text, 300))} [dim]({took})[/dim]"
            )
            self._console.print(line, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table("board", "state", "", box=None, pad_edge=False, show_header=False)
        for name, (text, done) in self._rows.items():
            table.add_row(f"[bold]{escape(printable(name, 80))}[/bold]", text, f"[dim]{done}[/dim]")
        return table
