"""The step gate, and the verbs gate and compare: from record files to verdict files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import InputError
from edgekd.files import sha256_of_file, write_text
from edgekd.gate.compare import Comparison, compare
from edgekd.gate.files import write_junit, write_verdict
from edgekd.gate.github import annotation_lines, summary_text
from edgekd.gate.judge import exit_code, judge
from edgekd.gate.verdict import Verdict
from edgekd.pipeline.context import JUNIT_XML, RECORDS, SUMMARY_MD, VERDICT_JSON, Context, Done
from edgekd.record import LatencyRecord, read_record, read_records
from edgekd.sla import load_sla


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with its exit code, what its records warn of, and the annotation lines that were asked for."""

    verdict: Verdict
    exit_code: int
    warnings: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


def gate_files(
    records: Sequence[Path], sla: Path, *, out: Path | None = None, junit: Path | None = None, github: bool = False
) -> Judged:
    """Judge the records in files or folders against the SLA file, and write what was asked for.

    With `github`, the summary is appended to the file that $GITHUB_STEP_SUMMARY names.
    Errors: InputError, SlaError, RecordError.
    """
    found = [record for _, record in read_records(records)]
    verdict = judge(found, load_sla(sla))
    if out is not None:
        write_verdict(verdict, out)
    if junit is not None:
        write_junit(verdict, junit)
    if github:
        _append_summary(summary_text(verdict))
    evidence = (record for record in found if record.artifact.sha256 == verdict.sha256)
    warnings = dict.fromkeys(warning for record in evidence for warning in record.warnings)
    return Judged(verdict, exit_code(verdict), tuple(warnings), tuple(annotation_lines(verdict)) if github else ())


def _append_summary(text: str) -> None:
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        raise InputError("--github: $GITHUB_STEP_SUMMARY is not set, which GitHub Actions does. Remove --github here")
    path = Path(name)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + text)


def compare_files(baseline: Path, candidate: Path) -> Comparison:
    """The comparison of two latency records. Errors: InputError, RecordError."""
    return compare(_latency(baseline), _latency(candidate))


def _latency(path: Path) -> LatencyRecord:
    record = read_record(path)
    if not isinstance(record, LatencyRecord):
        raise InputError(f"{path}: is a record of kind {record.kind}, expected latency. Make one: edgekd bench")
    return record


def inputs(context: Context) -> Any:
    """The SLA and every record."""
    files = sorted(context.path(RECORDS).glob("*.json"))
    return [context.recipe.sla.model_dump(mode="json"), [[file.name, sha256_of_file(file)] for file in files]]


def work(context: Context, scratch: Path) -> Done:  # noqa: ARG001  every step has the same form
    """Judge the records of the run: verdict.json, junit.xml, summary.md."""
    verdict = judge([record for _, record in read_records([context.path(RECORDS)])], context.recipe.sla)
    paths = [context.path(name) for name in (VERDICT_JSON, JUNIT_XML, SUMMARY_MD)]
    write_verdict(verdict, paths[0])
    write_junit(verdict, paths[1])
    write_text(paths[2], summary_text(verdict))
    return Done(tuple(paths), verdict.text)
