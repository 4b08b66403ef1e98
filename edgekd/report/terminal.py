"""What a person reads in the terminal: plain lines, safe to print whatever a file or a board said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekd.device import load_profile, profile_names
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json
from edgekd.gate.compare import Comparison
from edgekd.gate.files import read_verdict
from edgekd.gate.verdict import Criterion, Verdict
from edgekd.record import LatencyRecord, read_records
from edgekd.report.measured import Measured, measured, share_text, speed_text
from edgekd.report.quality import Measure, measures_of
from edgekd.stats import quantile
from edgekd.task import words_of
from edgekd.text import printable
from edgekd.units import seconds_from_ns, text_from_bytes, text_from_count, text_from_s

Rows = Sequence[Sequence[str]]
_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def table(rows: Rows, *, indent: str = "  ") -> list[str]:
    """`rows` as aligned columns, the first row as heading; columns of numbers (or '-' for none) to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    to_right = [all(_is_number(cell) for cell in column[1:]) and len(column) > 1 for column in columns]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        ]
        lines.append(indent + "  ".join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell in ("-", "") or cell.lstrip("+-")[:1].isdigit()


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict, a line per limit, and what was not selected."""
    lines = [verdict.text, *(_criterion_line(criterion) for criterion in verdict.criteria)]
    lines += [f"  note: {_line(note, 300)}" for note in verdict.notes]
    lines += [f"  not selected: {other.text}" for other in verdict.alternatives]
    return lines


def _line(text: str, limit: int) -> str:
    """`text` on one line: a newline in a file's text must not look like a line of ours."""
    return " ".join(printable(text, limit).split())


def _criterion_line(criterion: Criterion) -> str:
    return f"  {criterion.outcome.upper():<12} {_line(criterion.text, 400)} [{criterion.reason}]"


def record_lines(record: LatencyRecord) -> list[str]:
    """One latency record: where it was taken, its quantiles, its memory, its warnings."""
    host, runtime, samples = record.host, record.runtime, record.samples_ns
    place = f"{_line(host.name, 80)} ({_line(host.cpu or host.machine, 80)})"
    program = f"{_line(runtime.name, 40)} {_line(runtime.version, 40)}, {_counted(runtime.threads, 'thread')}"
    found = [f"{name} {text_from_s(seconds_from_ns(quantile(samples, p)))}" for name, p in _QUANTILES]
    peak = _known(record.peak_memory_bytes, text_from_bytes, "unknown")
    runs = _counted(len(record.runs), "process", "processes")
    return [
        f"{_line(record.artifact.name, 80)} on {place}, {program}",
        f"  {_counted(len(samples), 'sample')} in {runs}: {', '.join(found)}",
        f"  peak memory {peak}, file {text_from_bytes(record.artifact.size_bytes)}",
        *(f"  warning: {_line(warning, 300)}" for warning in record.warnings),
    ]


def _counted(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def comparison_lines(comparison: Comparison) -> list[str]:
    """A comparison and its notes."""
    return [_line(comparison.text, 600), *(f"  note: {_line(note, 300)}" for note in comparison.notes)]


def device_table() -> list[str]:
    """Every profile: name, cores, peak and memory bandwidth where they are known."""
    rows = [("device", "isa", "cores", "fp32 MAC/s", "int8 MAC/s", "bandwidth", "memory")]
    for name in profile_names():
        profile = load_profile(name)
        fp32, int8 = (profile.peak_macs_per_s(precision, profile.cores) for precision in ("fp32", "int8"))
        bandwidth = profile.memory_bandwidth_bytes_per_s
        rows.append((
            name, profile.isa, str(profile.cores), _known(fp32, text_from_count), _known(int8, text_from_count),
            _known(bandwidth, lambda rate: f"{text_from_bytes(rate)}/s"), _known(profile.memory_bytes, text_from_bytes),
        ))  # fmt: skip
    return table(rows, indent="")


def _known(value: float | None, show: Callable[[float], str], otherwise: str = "-") -> str:
    return otherwise if value is None else show(value)


def device_lines(name: str) -> list[str]:
    """One profile: every fact with its source."""
    profile = load_profile(name)
    lines = [f"{profile.name}: {_line(profile.title, 120)} ({profile.isa}, {profile.cores} cores)"]
    for path, value, source in profile.sources():
        lines.append(f"  {path} = {_line(str(value), 160)}")
        lines.append(f"      source: {_line(source, 400)}")
    lines += [f"  note: {_line(note, 400)}" for note in profile.notes]
    return lines


def summary_lines(root: Path) -> list[str]:
    """The end of a run: the verdict, the student beside its teacher, and where the report is.

    Errors: InputError when the run has not come that far, RecordError for a damaged file.
    """
    if _decided(root / "students.json").get("chosen") is None:
        lines = ["FAIL: no student of this space is known to keep the SLA", *_obstacle_lines(root)]
    else:
        lines = [*verdict_lines(read_verdict(root / "verdict.json")), "", *table(comparison_rows(root))]
    known = data_lines(root)
    return [*lines, *_attempt_lines(root), *([""] if known else []), *known, "", f"report {root / 'report.html'}"]


def files_lines(root: Path) -> list[str]:
    """The end of a single step: what to know of the data, and where the files are. Errors: RecordError."""
    return [*data_lines(root), f"files in {root}"]


def data_lines(root: Path) -> list[str]:
    """What to know of the data of a run; nothing where there is nothing to say. Errors: RecordError."""
    path = root / "data.json"
    told = _decided(path).get("warnings", []) if path.exists() else []
    if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
        raise RecordError(f"{path}: warnings is no list of texts. Make it again: edgekd run RECIPE --again teacher")
    return warning_lines(told)


def warning_lines(warnings: Sequence[str]) -> list[str]:
    """A line for each warning."""
    return [f"  warning: {_line(text, 500)}" for text in warnings]


def _attempt_lines(root: Path) -> list[str]:
    """How the loop after training went; nothing where no attempt has ended."""
    # Imported here: they load what no light command can afford.
    from edgekd.report.attempts import HEADING, ending_text, lines_of
    from edgekd.sizing.attempts import read_attempts

    path = root / "attempts.json"
    file = read_attempts(path) if path.exists() else None
    if file is None or not file.attempts:
        return []
    recipe = root / "recipe.json"
    words = words_of(_decided(recipe).get("task") if recipe.exists() else None)
    rows = [HEADING, *(line.cells for line in lines_of(file, words))] if len(file.attempts) > 1 else []
    return ["", _line(ending_text(file), 500), *(table(rows) if rows else [])]


def _obstacle_lines(root: Path) -> list[str]:
    obstacle = _decided(root / "sizing.json").get("obstacle")
    if not isinstance(obstacle, dict) or not isinstance(obstacle.get("text"), str):
        raise InputError(f"{root / 'sizing.json'}: says neither which student was chosen nor what stands in the way")
    return [f"  {_line(line, 500)}" for line in obstacle["text"].splitlines()]


def _decided(path: Path) -> dict[str, Any]:
    # Not edgekd.sizing.files, which a light command cannot afford to load.
    table = read_json(path)
    if not isinstance(table, dict):
        raise RecordError(f"{path}: holds no JSON object, expected one. Make it again: edgekd run RECIPE")
    return table


def comparison_rows(root: Path) -> list[tuple[str, ...]]:
    """Every measured artifact of a run as a row, the teacher first, and how each compares with the teacher.

    Errors: InputError when nothing was measured, RecordError for a damaged record.
    """
    found = measured([record for _, record in read_records([root / "records"])])
    teacher = next((each for each in found if each.artifact.role == "teacher"), None)
    measures = measures_of(found)
    titles = [measure.title for measure in measures]
    rows: list[tuple[str, ...]] = [("artifact", "precision", "size", *titles, "p50", "p95", "peak memory", "")]
    return rows + [_comparison_row(each, teacher, measures) for each in found if each.latency]


def _comparison_row(found: Measured, teacher: Measured | None, measures: Sequence[Measure]) -> tuple[str, ...]:
    artifact = found.artifact
    return (
        _line(artifact.name, 60),
        _line(artifact.precision, 20),
        text_from_bytes(artifact.size_bytes),
        *(_known(measure.value(found), measure.text) for measure in measures),
        *(_known(found.quantile_s(p), text_from_s) for p in (0.5, 0.95)),
        _known(found.peak_memory_bytes, text_from_bytes),
        _beside(found, teacher, measures),
    )


def _beside(found: Measured, teacher: Measured | None, measures: Sequence[Measure]) -> str:
    """'3.4x faster, 28 % of the size, accuracy -0.56 points'."""
    if teacher is None or teacher is found:
        return ""
    own, its = found.quantile_s(0.5), teacher.quantile_s(0.5)
    said = [speed_text(own, its)] if own and its else []
    said.append(f"{share_text(found.artifact.size_bytes, teacher.artifact.size_bytes)} of the size")
    for measure in measures:
        value, reference = measure.value(found), measure.value(teacher)
        if value is not None and reference:
            said.append(f"{measure.title} {measure.ratio(value, reference)}")
    return ", ".join(said)
