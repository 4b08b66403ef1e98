"""Progress on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from edgekd.display import BoardTable, LiveProgress


def _console(*, terminal: bool, width: int = 60) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, legacy_windows=False)


def _written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_one_whole_line_per_step_however_long() -> None:
    console = _console(terminal=False)
    with LiveProgress(console) as progress:
        for step in ("size", "distill"):
            progress.begin(step, current=False)
            progress.update("measuring", 0.5)
            progress.end(step, "word " * 40)
    lines = _written(console).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("✓ size     word word")
    assert lines[1].startswith("✓ distill  word word")
    assert lines[1].count("word") == 40


def test_a_log_shows_now_and_then_that_something_still_happens() -> None:
    console = _console(terminal=False)
    with LiveProgress(console, log_every_s=0) as progress:
        progress.begin("distill", current=False)
        progress.update("epoch 3", 0.25)
    assert _written(console).splitlines() == ["  distill: epoch 3 (25 %)"]


def test_a_step_that_had_nothing_to_do_says_so() -> None:
    console = _console(terminal=False)
    with LiveProgress(console) as progress:
        progress.begin("size", current=True)
        progress.end("size", "4 students")
        progress.begin("distill", current=False)
        progress.end("distill", "done")
    first, second = _written(console).splitlines()
    assert first == "✓ size     4 students (unchanged)"
    assert "unchanged" not in second


def test_what_a_board_says_cannot_move_the_cursor_or_mark_up_the_line() -> None:
    console = _console(terminal=False)
    with LiveProgress(console) as progress:
        progress.begin("bench", current=False)
        progress.update("[red]x\x1b[2J")
        progress.end("bench", "[red]evil[/red] \x1b[2J\u202e end")
    text = _written(console)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]evil[/red] \\x1b[2J" in text


def test_a_terminal_shows_the_step_that_goes_on_and_keeps_the_line_of_the_one_that_ended() -> None:
    console = _console(terminal=True)
    with LiveProgress(console) as progress:
        progress.begin("distill", current=False)
        progress.update("epoch 1 [of 3]", 0.25)
        progress._bar.refresh()
        progress.end("distill", "done")
    text = _written(console)
    assert "distill: epoch 1 [of 3]" in text
    assert "✓ distill  done" in text


def test_an_error_inside_ends_the_bar_and_goes_on_outwards() -> None:
    console = _console(terminal=True)
    progress = LiveProgress(console)

    def interrupted() -> None:
        with progress:
            progress.begin("distill", current=False)
            assert progress._bar.live.is_started
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not progress._bar.live.is_started


@pytest.mark.parametrize("terminal", [True, False])
def test_a_warning_is_a_line_of_its_own_before_the_step_ends(terminal: bool) -> None:
    console = _console(terminal=terminal, width=200)
    with LiveProgress(console) as progress:
        progress.begin("teacher", current=False)
        progress.warn("test: [red]12\x1b[2J examples leaked")
        before = _written(console)
        progress.end("teacher", "done")
    assert "! teacher  test: [red]12\\x1b[2J examples leaked" in before
    assert "✓ teacher  done" in _written(console)


def test_boards_in_a_log_get_a_line_each_when_they_end() -> None:
    console = _console(terminal=False)
    with BoardTable(console, ["pi5", "far"]) as table:
        table.update("pi5", "process 1 of 2", 0.5)
        table.end("far", "[red]nothing listens\x1b[2J", well=False)
        table.end("pi5", "word " * 40, well=True)
    first, second = _written(console).splitlines()
    assert first.startswith("✗ far [red]nothing listens\\x1b[2J (")
    assert second.startswith("✓ pi5 word word")
    assert second.count("word") == 40


def test_boards_on_a_terminal_stand_in_one_table_that_goes_away() -> None:
    console = _console(terminal=True, width=80)
    with BoardTable(console, ["pi5", "far"]) as table:
        table.update("pi5", "process 1 of 2", 0.5)
        table.end("far", "off", well=False)
        console.print(table._table())
    shown = _written(console)
    assert "pi5 process 1 of 2 50 %" in " ".join(shown.split())
    assert "far ✗ off" in " ".join(shown.split())
