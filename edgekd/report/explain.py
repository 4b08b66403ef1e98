"""A student explained, and students side by side, as tables for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgekd.sizing.explain.beside import Column, SideBySide
from edgekd.sizing.explain.known import Figure, Level
from edgekd.sizing.explain.memory import MemorySplit
from edgekd.sizing.explain.steps import Step
from edgekd.sizing.explain.student import Explanation, View
from edgekd.sizing.explain.time import TimeSplit
from edgekd.text import printable
from edgekd.units import text_from_bytes, text_from_count, text_from_j, text_from_s, text_from_share

WIDTH = 100
MOST_COLUMNS = 4
MOST_ALIVE = 5
SMALLEST_SHARE = 0.005  # what would be shown as 0 %

_LEVELS = (
    "Kept: the whole interval keeps the limit; likely: its middle does; unlikely: its middle does not; "
    "missed: none of it does."
)


def parts_of(found: Explanation | SideBySide) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    return explanation_parts(found) if isinstance(found, Explanation) else side_by_side_parts(found)


def explanation_parts(found: Explanation) -> Iterator[RenderableType]:
    """What to print about one student, from top to bottom."""
    yield _line(_headline(found), "bold")
    share = text_from_share(found.capacity_share)
    yield _line(
        f"{text_from_count(found.student.capacity)} parameters outside the embeddings ({share} of the teacher's), "
        f"{text_from_count(found.student.parameters)} in all, {text_from_count(found.macs)} MACs"
    )
    yield from (_line(f"warning: {found.student.name} has {warning}") for warning in found.warnings)
    yield from (_line(f"note: {note}") for note in found.notes)
    for view in found.views:
        yield from _view_parts(view)
    yield _line(_LEVELS, "dim")


def _headline(found: Explanation) -> str:
    standing = {"chosen": ", the chosen student,", "nearest": ", which comes nearest to the limits,"}
    said = standing.get(found.standing, ", the teacher," if found.standing == "teacher" else "")
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    return (
        f"{found.student.name}{said} on {found.device}: batch {found.batch}, {found.student.sequence} tokens, {threads}"
    )


def _view_parts(view: View) -> Iterator[RenderableType]:
    outlook = view.outlook
    yield Text("")
    yield _line(f"{view.precision}: {levels_text(view.levels)}", "bold")
    latency = "unknown" if outlook.latency is None else figure_text(outlook.latency, text_from_s)
    memory, size = (figure_text(figure, text_from_bytes) for figure in (outlook.memory, outlook.size))
    energy = "" if outlook.energy is None else f"; energy {figure_text(outlook.energy, text_from_j)}"
    yield _line(f"latency {latency}; peak memory {memory}; file {size}{energy}")
    yield from _time_parts(view.time)
    yield from _memory_parts(view.memory)
    yield from _energy_parts(view.energy)
    if view.steps:
        yield from _steps_parts(view.steps)


def figure_text(figure: Figure, text: Callable[[float], str]) -> str:
    """'3.12 ms (3.05 - 3.20 ms, measured)'; an exact value alone."""
    how = "measured" if figure.measured else "predicted"
    if figure.low == figure.high:
        return f"{text(figure.mid)} ({how})"
    return f"{text(figure.mid)} ({span_text(figure, text)}, {how})"


def span_text(figure: Figure, text: Callable[[float], str]) -> str:
    """'3.05 - 3.20 ms': the unit once where both ends have the same."""
    low, high = text(figure.low), text(figure.high)
    number, _, unit = low.rpartition(" ")
    return f"{number} - {high}" if number and high.endswith(f" {unit}") else f"{low} - {high}"


def levels_text(levels: dict[str, Level]) -> str:
    """'p50 and memory kept, p95 likely kept', the best first."""
    if not levels:
        return "no limit"
    names: dict[str, list[str]] = {}
    for name, level in levels.items():
        names.setdefault(level, []).append(_short(name))
    order = ("kept", "likely", "unlikely", "missed", "unknown")
    return "; ".join(f"{', '.join(names[level])} {level}" for level in order if level in names)


def _levels_cell(levels: dict[str, Level]) -> str:
    return "all kept" if levels and set(levels.values()) == {"kept"} else levels_text(levels).replace("; ", "\n")


def _short(limit: str) -> str:
    return _one_line(limit.removeprefix("latency."), 40)


def _time_parts(split: TimeSplit) -> Iterator[RenderableType]:
    if split.total is None:
        yield _line(f"Where the time goes is not known: {split.note}")
        return
    yield _line(f"Where the time goes: {figure_text(split.total, text_from_s)}", "bold")
    table = _table(("part", "MACs", "compute", "bandwidth", "overhead", "time", "share", "bound by"), words=(7,))
    for row in split.rows:
        parts = [text_from_s(value) if value else "-" for value in (row.compute_s, row.bandwidth_s, row.overhead_s)]
        macs = text_from_count(row.macs) if row.macs else "-"
        share = _share_text(row.share)
        table.add_row(*map(_cell, (_part(row.name), macs, *parts, text_from_s(row.seconds), share, row.bound)))
    table.add_section()
    sums = (sum(row.compute_s for row in split.rows), sum(row.bandwidth_s for row in split.rows))
    overhead_s = sum(row.overhead_s for row in split.rows)
    texts = [text_from_s(value) if value else "-" for value in (*sums, overhead_s)]
    total = text_from_s(sum(row.seconds for row in split.rows))
    macs = text_from_count(sum(row.macs for row in split.rows))
    table.add_row(*map(_cell, ("all", macs, *texts, total, "", "")))
    yield table
    roof = f"by the {split.note}: time counts the roof that binds the whole pass, overhead is not in it"
    yield _line(f"by {split.note}" if split.source == "fit" else roof, "dim")


def _memory_parts(split: MemorySplit) -> Iterator[RenderableType]:
    yield _line(f"Where the memory goes: {figure_text(split.total, text_from_bytes)}", "bold")
    table = _table(("part", "counted", "predicted", "share"))
    total = sum(row.predicted_bytes for row in split.rows)
    for row in split.rows:
        counted = "-" if row.counted_bytes is None else text_from_bytes(row.counted_bytes)
        predicted = text_from_bytes(row.predicted_bytes) if row.predicted_bytes else "-"
        share = _share_text(row.predicted_bytes / total) if row.predicted_bytes else "-"
        table.add_row(*map(_cell, (_memory_part(row.name), counted, predicted, share)))
    yield table
    yield _line(f"by {split.note}", "dim")
    peak, alive = split.peak, list(split.peak.alive.items())
    shown = [f"{name} {text_from_bytes(size)}" for name, size in alive[:MOST_ALIVE]]
    rest = [f"{len(alive) - MOST_ALIVE} more"] if len(alive) > MOST_ALIVE else []
    yield _line(
        f"The activations peak at {text_from_bytes(peak.total_bytes)} in {peak.operator} ({_part(peak.group)}), "
        f"with {', '.join([*shown, *rest])}."
    )
    if split.cache_bytes:
        yield _line(f"While it generates, keys and values take {text_from_bytes(split.cache_bytes)} besides.")


_CAUSES = {"latency_s": "static power while it runs", "macs": "MACs", "traffic_bytes": "bytes moved"}


def _energy_parts(parts: Mapping[str, float]) -> Iterator[RenderableType]:
    total_j = sum(parts.values())
    if total_j > 0:
        shares = [
            f"{_CAUSES.get(term, term)} {_share_text(joules / total_j)}" for term, joules in parts.items() if joules
        ]
        yield _line(f"Where the energy goes: {text_from_j(total_j)} (predicted): {', '.join(shares)}")


def _share_text(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else text_from_share(share)


def _part(name: str) -> str:
    return name.replace("_", " ")


def _memory_part(name: str) -> str:
    return _part(name) if name in {"peak activations", "runtime", "every layer"} else f"weights: {_part(name)}"


def _steps_parts(steps: Sequence[Step]) -> Iterator[RenderableType]:
    yield _line("What one step would buy, by prediction", "bold")
    energy = any(step.energy_change_j is not None for step in steps)
    heads = ("one step", "latency", "change", "memory", *(["energy"] if energy else []), "parameters", "capacity")
    table = _table(heads)
    for step in steps:
        table.add_row(*map(_cell, _step_cells(step, energy=energy)))
    yield table
    said = "! a limit that would stand otherwise" if any(step.crossed for step in steps) else ""
    outside = "" if all(step.to.in_space for step in steps) else "* not in the space of the recipe"
    if said or outside:
        yield _line("; ".join(filter(None, (outside, said))), "dim")


def _step_cells(step: Step, *, energy: bool) -> tuple[str, ...]:
    latency, before, student = step.after.latency, step.before.latency, step.to.student
    joules = step.before.energy
    crossed = [f"! {_short(name)} {now} → {then}" for name, (now, then) in step.crossed.items()]
    mark = "" if step.to.in_space else " *"
    return (
        "\n".join([f"{step.to.dimension}{mark}", f"  {step.to.text}", *(f"  {line}" for line in crossed)]),
        "unknown" if latency is None else f"{text_from_s(latency.mid)}\n({span_text(latency, text_from_s)})",
        _change(step.latency_change_s, before.mid if before else None, text_from_s),
        _change(step.memory_change_bytes, step.before.memory.mid, text_from_bytes),
        *([_change(step.energy_change_j, joules.mid if joules else None, text_from_j)] if energy else []),
        _change(step.parameters_change, student.parameters - step.parameters_change, text_from_count),
        _change(step.capacity_change, student.capacity - step.capacity_change, text_from_count),
    )


def _change(change: float | None, before: float | None, text: Callable[[float], str]) -> str:
    """'-1.18 ms' over '-31 %'."""
    if change is None or not before:
        return "-"
    if not change:
        return "same"
    share = change / before
    said = "under 1 %" if abs(share) < SMALLEST_SHARE else f"{share:+.0%}".replace("%", " %")
    return f"{'+' if change > 0 else ''}{text(change)}\n{said}"


def side_by_side_parts(found: SideBySide) -> Iterator[RenderableType]:
    """What to print about students side by side."""
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    yield _line(f"Students on {found.device}: batch {found.batch}, {threads}", "bold")
    for start in range(0, len(found.columns), MOST_COLUMNS):
        yield _columns_table(found, found.columns[start : start + MOST_COLUMNS])
    for column in found.columns:
        yield from (_line(f"warning: {column.student.name} has {warning}") for warning in column.warnings)
    yield from (_line(f"note: {note}") for note in found.notes)
    yield _line(
        f"Capacity: parameters outside the embeddings. Speed: against the teacher in {found.reference}. "
        f"Predicted where it does not say measured. {_LEVELS}",
        "dim",
    )


def _columns_table(found: SideBySide, columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for column in columns:
        named = column.word != column.student.name
        head = "\n".join(_one_line(text, 40) for text in ([column.word] if named else []) + [column.student.name])
        # Narrower than its name, a column would cut it.
        table.add_column(Text(head, justify="right"), justify="right", min_width=max(map(len, head.splitlines())))
    for title, show in _dimension_rows(columns):
        table.add_row(_cell(title), *(_cell(show(column)) for column in columns))
    for precision in found.precisions:
        table.add_section()
        for title, show in _precision_rows(precision, columns):
            table.add_row(_cell(title), *(_cell(show(column)) for column in columns))
    return table


Row = tuple[str, Callable[[Column], str]]


def _dimension_rows(columns: Sequence[Column]) -> list[Row]:
    rows: list[Row] = [
        ("layers", lambda column: str(column.student.spec.layers)),
        ("hidden", lambda column: str(column.student.spec.hidden)),
        ("heads", lambda column: str(column.student.spec.heads)),
        ("ffn", lambda column: str(column.student.spec.ffn)),
        ("tokens", lambda column: str(column.student.sequence)),
        ("parameters", lambda column: text_from_count(column.student.parameters)),
        ("capacity", lambda column: text_from_count(column.student.capacity)),
        ("  of teacher's", lambda column: text_from_share(column.capacity_share)),
        ("MACs", lambda column: text_from_count(column.macs)),
    ]
    if any(column.student.spec.kv_heads != column.student.spec.heads for column in columns):
        rows.insert(3, ("key heads", lambda column: str(column.student.spec.kv_heads)))
    return rows


def _precision_rows(precision: str, columns: Sequence[Column]) -> list[Row]:
    def latency(column: Column) -> str:
        figure = column.cells[precision].outlook.latency
        return "unknown" if figure is None else _stacked(figure, text_from_s)

    def speed_up(column: Column) -> str:
        ratio = column.cells[precision].speed_up
        return "-" if ratio is None else f"{ratio:.3g}x"

    def energy(column: Column) -> str:
        figure = column.cells[precision].outlook.energy
        return "unknown" if figure is None else _stacked(figure, text_from_j)

    told = any(column.cells[precision].outlook.energy is not None for column in columns)
    return [
        (f"{precision} latency", latency),
        ("  of teacher's speed", speed_up),
        (f"{precision} memory", lambda column: _stacked(column.cells[precision].outlook.memory, text_from_bytes)),
        (f"{precision} file", lambda column: _stacked(column.cells[precision].outlook.size, text_from_bytes)),
        *([(f"{precision} energy", energy)] if told else []),
        (f"{precision} limits", lambda column: _levels_cell(column.cells[precision].levels)),
    ]


def _stacked(figure: Figure, text: Callable[[float], str]) -> str:
    """'3.12 ms measured' over its interval."""
    value = text(figure.mid) + (" measured" if figure.measured else "")
    return value if figure.low == figure.high else f"{value}\n{span_text(figure, text)}"


def _table(heads: Sequence[str], words: Sequence[int] = ()) -> Table:
    """A table with the first column and those in `words` to the left, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index == 0 or index in words else "right")
    return table


def _cell(text: str) -> Text:
    # A Text and no str: nothing from a file is read as markup.
    return Text(printable(text))


def _line(text: str, style: str = "") -> Text:
    return Text(_one_line(text), style=style)


def _one_line(text: str, limit: int = 2000) -> str:
    """`text` on one line: a newline in a file's text must not look like a line of ours."""
    return " ".join(printable(text, limit).split())
