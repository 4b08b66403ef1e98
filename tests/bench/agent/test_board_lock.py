"""The lock of a workspace: freed by the kernel, signed by its holder, and never believed by the file alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgekd.bench.agent.board_lock import Lock, holder, is_free, user
from edgekd.bench.agent.processes import boot_id, start_time


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_has_it_and_says_so_until_it_is_free_again() -> None:
    assert is_free()
    first, second = Lock(), Lock()
    assert first.take()
    assert not second.take()
    assert not is_free()
    first.sign("a-run")
    said = holder()
    assert said is not None
    age_s = said.pop("age_s")
    assert 0 <= age_s < 5
    expected = {"user": user(), "run": "a-run", "pid": os.getpid(), "starttime": start_time(os.getpid())}
    assert {name: said[name] for name in expected} == expected
    assert said["boot_id"] == boot_id()
    first.free()
    assert is_free()
    assert holder() is None
    assert second.take()
    second.free()


def test_giving_it_back_frees_it_also_from_an_heir() -> None:
    lock = Lock()
    assert lock.take()
    hear, say = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(say)
        os.read(hear, 1)
        os._exit(0)
    lock.free()
    assert is_free()
    os.close(say)
    os.close(hear)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("text", ["", "{", "[]", "stale", '{"since_ns": "x"}', '{"since_ns": 5, "boot_id": "another"}'])
def test_a_holder_that_says_nonsense_has_no_age_and_keeps_nobody_out(text: str) -> None:
    Path("lock").write_text(text)
    said = holder()
    assert said is None or said["age_s"] is None
    assert is_free()
    lock = Lock()
    assert lock.take()
    lock.sign("next")
    assert json.loads(Path("lock").read_text())["run"] == "next"
    lock.free()
