"""The files of an attempt, kept in attempts/N/ with a ledger of their own, and put back into place from there.

What is kept shares its bytes with what stands in the run folder wherever the file system knows hard links: every
writer of ours replaces files, so neither changes the other. A kill at any point leaves either no attempts/N, or all of
it; files that are being put back are not in the ledger of the run folder before they are all there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgekd.files import make_folder, write_error
from edgekd.pipeline.context import ARTIFACTS, ATTEMPTS, CALIBRATION, RECORDS, STUDENT, WORK, Context
from edgekd.pipeline.ledger import Ledger

AFTER_CHOICE = ("distill", "export", "bench", "gate")
ATTEMPT_STEPS = ("size", *AFTER_CHOICE)
_SHARED = f"{CALIBRATION}/"  # records of untrained students are of the run, not of one attempt
_LINKS_REFUSED = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES)


def folder_of(context: Context, number: int) -> Path:
    """Where the files of attempt `number` are kept."""
    return context.path(ATTEMPTS, str(number))


def numbers(context: Context) -> list[int]:
    """The attempts of which files are kept."""
    return sorted(int(path.name) for path in context.path(ATTEMPTS).glob("*") if path.name.isdecimal())


def ledger_of(context: Context, number: int) -> Ledger:
    """Which step made the kept files of attempt `number`. Errors: RecordError."""
    return Ledger(folder_of(context, number))


def is_kept(context: Context, number: int) -> bool:
    """Whether what stands in the run folder was kept as attempt `number`; the bytes of large files are not compared."""
    kept, own = ledger_of(context, number), context.ledger
    entries = [kept.entry(step) for step in ATTEMPT_STEPS]
    names = [name for entry in entries if entry for name in entry.files if not name.startswith(_SHARED)]
    same = all(
        entry is not None and entry == own.entry(step) for step, entry in zip(ATTEMPT_STEPS, entries, strict=True)
    )
    return same and all((kept.root / name).is_file() for name in names)


def is_whole(context: Context, number: int, step: str) -> bool:
    """Whether what `step` left of attempt `number` is kept, unchanged."""
    kept = ledger_of(context, number)
    return kept.entry(step) is not None and _whole(kept, step)


def keep(context: Context, number: int) -> None:
    """Keep the files of the steps size to gate as attempt `number`, in place of what was kept under it."""
    scratch, target, ledger = context.path(WORK, f"attempt-{number}"), folder_of(context, number), context.ledger
    shutil.rmtree(scratch, ignore_errors=True)
    entries = {step: entry for step in ATTEMPT_STEPS if (entry := ledger.entry(step)) is not None}
    names = [name for entry in entries.values() for name in entry.files if not name.startswith(_SHARED)]
    _link(context.root, scratch, [*names, *_summaries(context.root, entries)])
    Ledger(scratch).adopt(entries)
    make_folder(target.parent)
    shutil.rmtree(target, ignore_errors=True)
    try:
        scratch.rename(target)
    except OSError as error:
        raise write_error(target, error) from None


def put_back(context: Context, number: int, steps: Sequence[str] = ATTEMPT_STEPS) -> None:
    """Put what is kept of `steps` into place; a step of which nothing whole is kept has to run again."""
    source, kept, ledger = folder_of(context, number), ledger_of(context, number), context.ledger
    for step in steps:
        ledger.forget(step)
    clear(context)
    entries = {step: entry for step in steps if (entry := kept.entry(step)) is not None and _whole(kept, step)}
    names = [name for entry in entries.values() for name in entry.files if not name.startswith(_SHARED)]
    _link(source, context.root, [*names, *_summaries(source, entries)])
    ledger.adopt(entries)


def with_training(context: Context, inputs: str) -> int | None:
    """The attempt whose student was trained from these inputs of the step distill."""
    for number in numbers(context):
        entry = ledger_of(context, number).entry("distill")
        if entry is not None and entry.inputs == inputs:
            return number
    return None


def adopt(context: Context, inputs: str) -> None:
    """Put a student back that was trained from these inputs of distill before, unless it stands there already."""
    ledger = context.ledger
    number = None if ledger.is_current("distill", inputs) else with_training(context, inputs)
    if number is not None and is_whole(context, number, "distill"):
        put_back(context, number, AFTER_CHOICE)


def unlearn(context: Context, step: str) -> None:
    """Forget `step` of the attempt that stands in the run folder, because it is to run again."""
    own = context.ledger.entry("size")
    for number in numbers(context):
        kept = ledger_of(context, number)
        if own is not None and kept.entry("size") == own:
            kept.forget(step)


def clear(context: Context) -> None:
    """Remove student, artifacts and their records from the run folder."""
    for folder in (STUDENT, ARTIFACTS):
        shutil.rmtree(context.path(folder), ignore_errors=True)
    for kind in ("accuracy", "latency"):
        for path in context.path(RECORDS).glob(f"{kind}-*.json"):
            path.unlink()


def remove_unfinished(context: Context) -> None:
    """Remove what a kill left of an attempt that was being kept."""
    for path in context.path(WORK).glob("attempt-*"):
        shutil.rmtree(path)


def forget(context: Context, number: int) -> None:
    """Keep attempt `number` no longer."""
    shutil.rmtree(folder_of(context, number), ignore_errors=True)


def _whole(kept: Ledger, step: str) -> bool:
    return all(name.startswith(_SHARED) for name in kept.changed_files(step))


def _summaries(root: Path, steps: Iterable[str]) -> list[str]:
    return [name for step in steps if (root / (name := f"{WORK}/{step}.txt")).is_file()]


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        make_folder((target / name).parent)
        try:
            (target / name).unlink(missing_ok=True)
            _link_or_copy(source / name, target / name)
        except OSError as error:
            raise write_error(target / name, error) from None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _LINKS_REFUSED:
            raise
        shutil.copy2(source, target)
