"""Old run folders go, and nothing goes that is young, lives, or is no run: real runs in a real workspace."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from workbench import MEASURING, Workbench, is_living, kill, until

from edgekd.bench.agent.clearing import KEPT_S, clear_old
from edgekd.bench.agent.processes import boot_id

GOES_ON = "time.sleep(0.005)"
DAY_S = 24 * 3600.0


def aged(bench: Workbench, run: str, days: float, **changed: object) -> str:
    """The run as if it had been written to so many days ago, by another boot unless `changed` says which."""
    state = bench.place(run, "state.json")
    if state.exists():
        state.write_text(json.dumps({**json.loads(state.read_text()), "boot_id": "another", **changed}))
    then = time.time() - days * DAY_S
    for path in (*bench.place(run).iterdir(), bench.place(run)):
        os.utime(path, (then, then), follow_symlinks=False)
    return run


def left(bench: Workbench) -> set[str]:
    return {path.name for path in (bench.folder / "runs").iterdir()}


def test_the_next_launch_removes_runs_that_nobody_fetched_for_a_week(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    old, young, fresh = (bench.order() for _ in range(3))
    for run in (old, young):
        assert bench.ended(run).state == "DONE"
    aged(bench, old, 7.1)
    aged(bench, young, 6.9)
    assert bench.ended(fresh).state == "DONE"
    assert left(bench) == {young, fresh}


def test_a_run_that_lives_stays_however_old_its_files_are(bench: Workbench) -> None:
    """One whose supervisor works, and one of which only the measuring processes are left."""
    bench.scripted(GOES_ON)
    for orphan in (False, True):
        run = bench.order(min_duration_s=60.0)
        bench.begun(run)
        children = until(lambda run=run: len(bench.children(run)) == MEASURING and bench.children(run), "the children")
        if orphan:
            kill(bench.stated(run)["pid"])
        aged(bench, run, 300, boot_id=boot_id())
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(bench.folder)
            patch.setattr(time, "monotonic", lambda: 301 * DAY_S)
            assert run not in clear_old(bench.order())  # the one before was ended: it may go
        assert run in left(bench)
        assert all(is_living(child) for child in children)
        bench.ask("reap", run)


def test_a_run_of_this_boot_is_not_older_than_the_boot(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar that jumps by years after a start takes nothing that was not fetched yet; time that passed does."""
    bench.scripted(GOES_ON)
    done, ordered = bench.order(), bench.order()
    assert bench.ended(done).state == "DONE"
    for run in (done, ordered):
        aged(bench, run, 3650, boot_id=boot_id())
    monkeypatch.chdir(bench.folder)
    fresh = bench.order()
    for up_s, removed in ((KEPT_S - 60, set()), (KEPT_S + 60, {done, ordered})):
        monkeypatch.setattr(time, "monotonic", lambda up_s=up_s: up_s)
        assert set(clear_old(fresh)) == removed
    assert left(bench) == {fresh}


def test_what_is_no_run_stays_and_no_link_is_followed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = bench.folder.parent / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    run, fresh, link = bench.order(), bench.order(), "l" * 26
    bench.place(run, "link").symlink_to(outside)
    aged(bench, run, 300)
    bench.place("notes").mkdir()
    aged(bench, "notes", 300)
    bench.place(link).parent.joinpath(link).symlink_to(outside)
    then = time.time() - 300 * DAY_S
    os.utime(outside / "kept", (then, then))
    os.utime(outside, (then, then))
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(time, "monotonic", lambda: 301 * DAY_S)
    assert clear_old(fresh) == [run]
    assert left(bench) == {fresh, "notes", link}
    assert (outside / "kept").read_text() == "x"


def test_a_launch_without_orders_clears_nothing(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = aged(bench, bench.order(), 300)
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(time, "monotonic", lambda: 301 * DAY_S)
    assert clear_old("n" * 26) == []
    assert left(bench) == {run}
    assert not Path("runs", "n" * 26).exists()
