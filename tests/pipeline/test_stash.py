"""The files of an attempt: kept whole, put back whole, and never half of one and half of another."""

import shutil
from pathlib import Path

import pytest
from tiny_recipe import snapshot

from edgekd.pipeline import stash
from edgekd.pipeline.context import Context
from edgekd.pipeline.ledger import Ledger

STANDING = ("students.json", "sizing.json", "student", "student.json", "artifacts", "records", "verdict.json")


def standing(root: Path) -> dict[str, tuple[int, str]]:
    return {name: facts for name, facts in snapshot(root).items() if name.startswith(STANDING)}


def test_a_run_keeps_its_attempt(context: Context) -> None:
    assert stash.numbers(context) == [1]
    assert stash.is_kept(context, 1)
    kept = snapshot(stash.folder_of(context, 1))
    assert set(standing(context.root)) <= set(kept)
    assert not [name for name in kept if name.startswith(("calibration", "teacher", "cache"))]


def test_what_is_put_back_is_what_was_kept(context: Context) -> None:
    before = standing(context.root)
    for name in ("student", "artifacts", "records"):
        shutil.rmtree(context.root / name)
    (context.root / "students.json").write_text("{}")
    stash.put_back(context, 1)
    assert standing(context.root) == before
    assert stash.is_kept(context, 1)
    assert not Ledger(context.root).changed_files("distill")


def test_a_step_whose_kept_files_are_damaged_has_to_run_again(context: Context) -> None:
    path = stash.folder_of(context, 1) / "artifacts" / "student-int8.onnx"
    path.unlink()
    stash.put_back(context, 1)
    assert Ledger(context.root).entry("export") is None
    assert Ledger(context.root).entry("distill") is not None
    assert not (context.root / "artifacts").exists()


def test_a_kill_while_files_are_put_back_leaves_no_step_that_looks_ended(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stash, "_link_or_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        stash.put_back(context, 1)
    ledger = Ledger(context.root)
    assert [ledger.entry(step) for step in stash.ATTEMPT_STEPS] == [None] * 5
    monkeypatch.undo()
    stash.put_back(context, 1)
    assert stash.is_kept(context, 1)


def test_without_hard_links_files_are_copied(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refused)
    stash.keep(context, 1)
    kept = stash.folder_of(context, 1) / "verdict.json"
    assert kept.stat().st_nlink == 1
    assert kept.read_bytes() == (context.root / "verdict.json").read_bytes()
    assert stash.is_kept(context, 1)


def test_a_training_is_found_by_what_it_was_trained_from(context: Context) -> None:
    entry = context.ledger.entry("distill")
    assert entry is not None
    assert stash.with_training(context, entry.inputs) == 1
    assert stash.with_training(context, "0" * 64) is None
    stash.unlearn(context, "distill")
    assert stash.with_training(context, entry.inputs) is None
    stash.forget(context, 1)
    assert stash.numbers(context) == []
