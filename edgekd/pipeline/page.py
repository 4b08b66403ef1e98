"""The step report: one page about the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.export.manifest import FILE_NAME as MANIFEST
from edgekd.files import sha256_of_file
from edgekd.pipeline.context import (
    ARTIFACTS,
    ATTEMPTS_JSON,
    DATA_JSON,
    RECIPE_JSON,
    RECORDS,
    REPORT_HTML,
    SIZING_JSON,
    STUDENT_JSON,
    STUDENTS_JSON,
    TEACHER_JSON,
    VERDICT_JSON,
    Context,
    Done,
)
from edgekd.report.page import write_report

SHOWN = (f"{ARTIFACTS}/{MANIFEST}", RECIPE_JSON, STUDENTS_JSON, SIZING_JSON, TEACHER_JSON, STUDENT_JSON, VERDICT_JSON,
         ATTEMPTS_JSON, DATA_JSON)  # fmt: skip


def inputs(context: Context) -> Any:
    """Every file that the page shows."""
    files = [context.path(name) for name in SHOWN]
    files += sorted(context.path(RECORDS).glob("*.json"))
    return [[file.name, sha256_of_file(file)] for file in files if file.exists()]


def work(context: Context, scratch: Path) -> Done:  # noqa: ARG001  every step has the same form
    """Write report.html."""
    path = write_report(context.root, context.path(REPORT_HTML))
    return Done((path,), str(path))
