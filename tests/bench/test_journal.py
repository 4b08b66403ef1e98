"""The journal: what was begun is found again, what came home is used, and nothing foreign is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.bench.journal import Journal, Kept, key_of
from edgekd.errors import RecordError

KEY = key_of("pi", 1)


def test_a_run_keeps_its_name_until_it_is_forgotten(tmp_path: Path) -> None:
    run = Journal(tmp_path / "j").run_of(KEY)
    assert Journal(tmp_path / "j").run_of(KEY) == run
    assert Journal(tmp_path / "j").run_of(key_of("pi", 2)) != run
    Journal(tmp_path / "j").forget(KEY)
    assert Journal(tmp_path / "j").run_of(KEY) != run


def test_a_result_that_came_home_is_kept_byte_by_byte(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    run = journal.run_of(KEY)
    assert journal.kept(KEY) is None
    journal.keep(KEY, run, Kept(b"\0result", 7))
    assert Journal(tmp_path).kept(KEY) == Kept(b"\0result", 7)
    assert Journal(tmp_path).run_of(KEY) == run


def test_without_a_folder_nothing_is_remembered() -> None:
    journal = Journal()
    assert journal.run_of(KEY) != journal.run_of(KEY)
    journal.keep(KEY, "a", Kept(b"", 0))
    assert journal.kept(KEY) is None
    journal.forget(KEY)
    journal.clear()


def test_clearing_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.keep(KEY, journal.run_of(KEY), Kept(b"x", 1))
    journal.clear()
    journal.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2, "run": "x"}', '{"format": 1, "run": "../../x"}', "{"])
def test_an_entry_that_is_none_of_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{KEY[:32]}.json").write_text(text)
    with pytest.raises(RecordError, match=KEY[:32]):
        Journal(tmp_path).run_of(KEY)


def test_a_result_that_was_changed_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.keep(KEY, journal.run_of(KEY), Kept(b"x", 1))
    (tmp_path / f"{KEY[:32]}.result").write_bytes(b"y")
    with pytest.raises(RecordError, match="damaged"):
        journal.kept(KEY)


def test_a_result_that_was_stored_without_its_entry_is_not_used(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.run_of(KEY)
    (tmp_path / f"{KEY[:32]}.result").write_bytes(b"half")
    assert journal.kept(KEY) is None


def test_everything_that_a_run_depends_on_changes_its_key() -> None:
    assert len({key_of("a", 1), key_of("a", 2), key_of("b", 1), key_of("a", [1])}) == 4


def test_a_folder_without_runs_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs")
    for key in ("one", "two"):
        journal.run_of(key)
    journal.forget("one")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["two.json"]
    journal.forget("two")
    assert not (tmp_path / "runs").exists()
