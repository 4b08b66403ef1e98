"""A run is begun through any shell, and what a login shell says besides changes nothing."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from workbench import NONCE, Workbench, until

from edgekd.bench.states import answer_from_output

NOISE = "Welcome to the board\n\x1b[2JEDGEKD1 0000000000000000 2 abc\nEDGEKD1 "


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "sh"])
def test_a_run_begins_under_any_shell_however_noisy_and_outlives_it(bench: Workbench, shell: str) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {shell} here")
    bench.scripted("time.sleep(0.005)")
    run = bench.order(min_duration_s=0.5)
    line = f"printf %s {shlex.quote(NOISE)}; {shlex.join(bench.argv('launch', run))}; echo 'logged out'"
    argv = [*shell.split(), "-c", line]
    done = subprocess.run(argv, cwd=bench.folder, capture_output=True, text=True, timeout=30, start_new_session=True)
    answer = answer_from_output(done.stdout, nonce=NONCE, run=run, where="here")
    assert answer.alive
    until(lambda: bench.stated(run)["state"] == "DONE", "the end")


def test_the_first_word_comes_before_the_run_ends(bench: Workbench) -> None:
    bench.scripted("time.sleep(60)")
    answer = bench.ask("launch", bench.order())
    assert answer.state is not None
    assert answer.state.state in {"PREPARED", "RUNNING"}


def test_orders_that_cannot_be_read_end_the_run(bench: Workbench) -> None:
    run = bench.order()
    bench.place(run, "spec.json").write_text("{")
    ended = bench.ended(run)
    assert (ended.state, (ended.error or {}).get("kind")) == ("EXITED", "spec")


def test_a_run_without_a_folder_is_told_though_it_has_no_place_to_say_so(bench: Workbench) -> None:
    run = bench.order()
    shutil.rmtree(bench.place(run))
    answer = bench.ask("launch", run)
    assert answer.state is not None
    assert (answer.state.state, answer.alive) == ("EXITED", False)
    assert "No such file or directory" in answer.state.message
    assert not bench.place(run).exists()
