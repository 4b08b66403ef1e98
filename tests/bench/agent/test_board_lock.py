"""The lock of the board: freed by the kernel, signed by its holder, and never believed by the file alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.bench.agent import work
from edgekd.bench.agent.board_lock import BoardLock, Lock, common_file, common_path, holder, is_free, user
from edgekd.bench.agent.processes import boot_id, start_time


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_has_it_and_says_so_until_it_is_free_again() -> None:
    assert is_free()
    assert list(Path().iterdir()) == []
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


@pytest.mark.parametrize("word", ["x" * 6000, {"a": [1]}, None, True, 1.5, -1, 2**70, "\ud800"])
def test_what_a_stranger_wrote_is_told_in_the_form_of_ours_alone(word: object) -> None:
    named = ("user", "host", "run", "boot_id", "pid", "starttime", "since_ns", "more")
    Path("lock").write_text(json.dumps(dict.fromkeys(named, word)))
    said = holder()
    assert said is not None
    assert set(said) <= {*named, "age_s"} - {"more"}
    assert all(value is None or len(str(value)) <= 200 for value in said.values())
    assert {type(said[name]) for name in said} <= {str, int, float, type(None)}


OTHERS = (65534, 1) if os.geteuid() == 0 else (None, None)  # two accounts that every system has, where one may be them


@pytest.fixture
def homes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The workspaces of two accounts, and a place for locks as /tmp is: pytest's own folders are of its user alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        monkeypatch.setenv("EDGEKD_LOCKS", str(folder / "tmp"))
        found = [folder / "one", folder / "two"]
        for home, uid in zip(found, OTHERS, strict=True):
            home.mkdir(mode=0o700)
            if uid is not None:
                os.chown(home, uid, uid)
        yield found


def _as(number: int, homes: list[Path], say: int, work: Callable[[], Any]) -> int:
    """A process of account `number` that tells what `work` gives there, and then waits to be killed."""
    pid = os.fork()
    if not pid:
        try:
            os.umask(0o077)
            os.chdir(homes[number])
            uid = OTHERS[number]
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            os.write(say, json.dumps([os.getuid(), work()]).encode())
            signal.pause()
        finally:
            os._exit(1)
    return pid


@contextlib.contextmanager
def _account(number: int, homes: list[Path], work: Callable[[], Any]) -> Iterator[Any]:
    """What `work` gives in the account `number`, whose process lives on while the block runs and is killed then."""
    hear, say = os.pipe()
    pid = _as(number, homes, say, work)
    os.close(say)
    try:
        uid, said = json.loads(os.read(hear, 1 << 20))
        assert uid == (os.getuid() if OTHERS[number] is None else OTHERS[number])
        yield said
    finally:
        os.close(hear)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


KEPT = []  # locks of a forked process, which are to live as long as it does


def _measure() -> bool:
    KEPT.append(BoardLock())
    taken = bool(KEPT[0].take())
    if taken:
        KEPT[0].sign("of-" + str(os.getuid()))
    return taken


def _try() -> dict[str, Any]:
    lock = BoardLock()
    free = is_free()
    return {"free": free, "taken": lock.take(), "holder": lock.holder()}


def _order() -> dict[str, Any]:
    Path("spec.json").write_text(json.dumps({"format": 1, "lock_wait_s": 0.1, "models": []}))
    assert work.main(["agent.pyz", "spec.json", "result.json"]) == work.EXIT_ERROR
    return dict(json.loads(Path("result.json").read_text())["error"])


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_two_accounts_of_a_board_see_each_other_and_a_dead_one_is_no_obstacle(
    homes: list[Path], first: int, second: int
) -> None:
    with _account(first, homes, _measure) as taken:
        assert taken
        assert Path(common_path()).stat().st_mode & 0o777 == 0o666
        with _account(second, homes, _try) as said:
            assert (said["free"], said["taken"]) == (False, False)
            uid = os.getuid() if OTHERS[first] is None else OTHERS[first]
            assert said["holder"]["run"] == f"of-{uid}"
        with _account(second, homes, _order) as error:
            assert (error["kind"], error["message"][:29]) == ("busy", "another measurement runs ther")
    # Its holder was killed and could not take its name off; the other account makes that good.
    with _account(second, homes, _measure) as taken:
        assert taken
        uid = os.getuid() if OTHERS[second] is None else OTHERS[second]
        assert json.loads(Path(common_path()).read_text())["run"] == f"of-{uid}"


def test_a_file_that_exists_is_opened_without_o_creat(homes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With fs.protected_regular even root may not open another account's file in a sticky folder with it."""
    with _account(0, homes, _measure) as taken:
        assert taken
        flags, real = [], os.open

        def watched(path: str, flag: int, *mode: int) -> int:
            flags.append(flag)
            return real(path, flag, *mode)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", watched)
            stream = common_file()
        assert stream is not None
        stream.close()
    assert [flag & os.O_CREAT for flag in flags] == [0]


def _lay(kind: str, place: Path, victim: Path) -> None:
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "dangling link":
        place.symlink_to(victim.with_name("made"))
    elif kind == "second name":
        os.link(victim, place)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "closed file":
        place.touch(mode=0o000)
    else:
        shutil.rmtree(place.parent)


@pytest.mark.parametrize(
    "kind", ["link", "dangling link", "second name", "pipe", "folder", "closed file", "no such place"]
)
def test_whatever_lies_in_the_place_of_the_common_file_only_the_workspace_counts_then(
    homes: list[Path], kind: str
) -> None:
    victim = homes[0].parent / "victim"
    victim.write_text("kept")
    victim.chmod(0o666)
    _lay(kind, Path(common_path()), victim)
    with _account(0, homes, _measure) as taken, _account(1, homes, _try) as said:
        assert taken
        assert said == {"free": True, "taken": True, "holder": None}
    assert json.loads((homes[0] / "lock").read_text())["run"].startswith("of-")
    assert victim.read_text() == "kept"
    assert not victim.with_name("made").exists()
