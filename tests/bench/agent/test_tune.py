"""Tuning on a staged board: what may be set is set, and everything is put back, also after a cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.bench.agent import tune

PACKAGE = str(Path(__file__).parents[3])
CPU = "sys/devices/system/cpu/cpufreq"
KNOWN = "performance powersave ondemand"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    for policy, word in ((0, "ondemand"), (4, "performance")):
        folder = tmp_path / "root" / CPU / f"policy{policy}"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{word}\n")
        (folder / "scaling_available_governors").write_text(f"{KNOWN}\n")
    boot = tmp_path / "root/proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("first\n")
    return f"{tmp_path}/root/"


def _governors(root: str) -> list[str]:
    return [Path(f"{root}{CPU}/policy{policy}/scaling_governor").read_text().strip() for policy in (0, 4)]


def test_governors_are_set_for_the_block_and_put_back_after_it(root: str) -> None:
    with tune.tuned(root, wanted=True) as done:
        assert done == [f"{CPU}/policy0/scaling_governor: performance instead of ondemand"]
        assert _governors(root) == ["performance", "performance"]
        assert json.loads(Path(tune.JOURNAL).read_text())["governors"] == {
            f"{CPU}/policy0/scaling_governor": "ondemand"
        }
    assert _governors(root) == ["ondemand", "performance"]
    assert not Path(tune.JOURNAL).exists()


def test_a_failure_in_the_block_puts_back_as_well(root: str) -> None:
    with pytest.raises(ZeroDivisionError), tune.tuned(root, wanted=True):
        raise ZeroDivisionError
    assert _governors(root) == ["ondemand", "performance"]


def test_nothing_is_touched_when_nobody_asks(root: str) -> None:
    with tune.tuned(root, wanted=False) as done:
        assert done is None
        assert _governors(root) == ["ondemand", "performance"]
    assert list(Path.cwd().iterdir()) == []


def test_a_board_without_what_can_be_set_says_so(root: str, tmp_path: Path) -> None:
    Path(f"{root}{CPU}/policy0/scaling_available_governors").write_text("ondemand\n")
    with tune.tuned(root, wanted=True) as done:
        assert done == []
    with tune.tuned(f"{tmp_path}/nothing/", wanted=True) as done:
        assert done == []


def test_a_kernel_that_does_not_take_it_is_not_believed(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    governor = Path(f"{root}{CPU}/policy0/scaling_governor")
    governor.unlink()
    governor.symlink_to("/dev/null")
    assert not tune.written(str(governor), "performance")


def _killed_while_tuned(root: str) -> None:
    code = f"import sys; sys.path.insert(0, {PACKAGE!r})\nfrom edgekd.bench.agent import tune\n"
    code += f"with tune.tuned({root!r}, wanted=True):\n print('tuned', flush=True)\n import time\n time.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"tuned\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_after_a_kill_the_next_to_work_there_puts_back(root: str, wanted: bool) -> None:
    _killed_while_tuned(root)
    assert _governors(root) == ["performance", "performance"]
    with tune.tuned(root, wanted=wanted):
        assert _governors(root)[0] == ("performance" if wanted else "ondemand")
    assert _governors(root) == ["ondemand", "performance"]
    assert not Path(tune.JOURNAL).exists()


def test_after_a_restart_of_the_board_there_is_nothing_to_put_back(root: str) -> None:
    _killed_while_tuned(root)
    Path(f"{root}proc/sys/kernel/random/boot_id").write_text("second\n")
    assert tune.restore(root) == []
    assert _governors(root) == ["performance", "performance"]
    assert not Path(tune.JOURNAL).exists()


def test_what_cannot_be_put_back_stays_in_the_journal_and_is_named(root: str) -> None:
    _killed_while_tuned(root)
    governor = Path(f"{root}{CPU}/policy0/scaling_governor")
    governor.unlink()
    governor.mkdir()
    assert tune.restore(root) == [f"{CPU}/policy0/scaling_governor"]
    governor.rmdir()
    governor.write_text("performance\n")
    assert tune.restore(root) == []
    assert _governors(root)[0] == "ondemand"


def test_clocks_of_a_jetson_are_stored_set_and_restored_by_root_alone(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "jetson_clocks"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nif [ "$1" = --store ]; then echo before > "$2"; fi\n')
    tool.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with tune.tuned(root, wanted=True) as done:
        assert done is not None
        assert "jetson_clocks" not in done
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with tune.tuned(root, wanted=True) as done:
        assert done is not None
        assert done[-1] == "jetson_clocks"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["--store tune.clocks", "", "--restore tune.clocks"]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "sys/devices/system/cpu/cpu0/online", "/sys/x", ""])
def test_a_journal_names_governors_and_no_other_file(root: str, name: str) -> None:
    table = {"boot_id": "first", "governors": {name: "ondemand"}, "clocks": False}
    Path(tune.JOURNAL).write_text(json.dumps(table))
    (Path(root) / "sys/devices/system/cpu/cpu0").mkdir()
    online = Path(root) / "sys/devices/system/cpu/cpu0/online"
    online.write_text("1")
    assert tune.restore(root) == []
    assert online.read_text() == "1"
    assert not Path(tune.JOURNAL).exists()


@given(st.text(max_size=60) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9),
       lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["boot_id", "governors", "clocks", "x"]), inner, max_size=3),
       max_leaves=6).map(json.dumps))  # fmt: skip
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_journal_ends(text: str) -> None:
    Path(tune.JOURNAL).write_text(text, encoding="utf-8", errors="backslashreplace")
    assert tune.restore("/nonexistent/") == []
    assert not Path(tune.JOURNAL).exists()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
