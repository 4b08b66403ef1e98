"""What a person reads of an explanation: complete, within 100 columns, and safe."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from run_folder import make_run

from edgekd.pipeline.explain import compare_students, explain_student
from edgekd.report.explain import (
    WIDTH,
    explanation_parts,
    figure_text,
    levels_text,
    parts_of,
    side_by_side_parts,
    span_text,
)
from edgekd.sizing.explain.beside import SideBySide
from edgekd.sizing.explain.known import Figure
from edgekd.sizing.explain.student import Explanation
from edgekd.units import text_from_bytes, text_from_s

BOARD = ("device=raspberry-pi-5", "host.url=ssh://pi@kitchen:22")
HOSTILE = "a\x1b[31m[red]\nPASS: forged\u202e"


def printed(parts: Iterable[RenderableType]) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, highlight=False, color_system=None)
    for part in parts:
        console.print(part)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.fixture(scope="session")
def sized_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("explained") / "run", until="size")


@pytest.fixture(scope="session")
def found(sized_root: Path) -> Explanation:
    return explain_student("quickstart", BOARD, sized_root)


@pytest.fixture(scope="session")
def beside(sized_root: Path) -> SideBySide:
    return compare_students("quickstart", BOARD, sized_root, "small,medium,large,chosen,teacher")


def test_energy_is_shown_where_it_is_known(found: Explanation, beside: SideBySide) -> None:
    assert not any(
        "energy" in line for line in [*printed(explanation_parts(found)), *printed(side_by_side_parts(beside))]
    )
    (view, *_), energy = found.views, Figure(1e-3, 2e-3, 3e-3)
    steps = tuple(
        replace(step, before=replace(step.before, energy=energy), after=replace(step.after, energy=Figure(1, 3e-3, 3)))
        for step in view.steps
    )
    parts = {"latency_s": 1.5e-3, "macs": 0.0, "traffic_bytes": 0.5e-3}
    view = replace(view, outlook=replace(view.outlook, energy=energy), steps=steps, energy=parts)
    lines = printed(explanation_parts(replace(found, views=(view,))))
    assert any(line.endswith("energy 2.00 mJ (1.00 - 3.00 mJ, predicted)") for line in lines)
    assert any("+1.00 mJ" in line for line in lines)
    split = "Where the energy goes: 2.00 mJ (predicted): static power while it runs 75.0 %, bytes moved 25.0 %"
    assert split in lines
    assert max(map(len, lines)) <= WIDTH
    columns = tuple(
        replace(
            column, cells={n: replace(c, outlook=replace(c.outlook, energy=energy)) for n, c in column.cells.items()}
        )
        for column in beside.columns
    )
    shown = printed(side_by_side_parts(replace(beside, columns=columns)))
    assert sum(" energy " in line and "2.00 mJ" in line for line in shown) >= len(beside.precisions)


def test_every_class_has_its_time_and_what_bounds_it(found: Explanation) -> None:
    for view in found.views:
        lines = printed(explanation_parts(replace(found, views=(view,))))
        for row in view.time.rows:
            line = next(line for line in lines if line.startswith(f" {row.name.replace('_', ' ')} "))
            assert line.split()[-1] == row.bound
            assert text_from_s(row.seconds) in line


def test_the_sums_are_the_prediction(found: Explanation) -> None:
    for view in found.views:
        assert view.time.total is not None
        lines = printed(explanation_parts(replace(found, views=(view,))))
        assert text_from_s(view.time.total.mid) in next(line for line in lines if line.startswith(" all "))
        assert f"Where the time goes: {figure_text(view.time.total, text_from_s)}" in lines
        assert f"Where the memory goes: {figure_text(view.memory.total, text_from_bytes)}" in lines


def test_the_headline_tells_the_student_and_its_standing(found: Explanation) -> None:
    lines = printed(explanation_parts(found))
    assert lines[0].startswith(f"{found.student.name}, the chosen student, on raspberry-pi-5: batch 1, 17 tokens")
    teacher = printed(explanation_parts(replace(found, standing="teacher")))
    assert ", the teacher, on" in teacher[0]
    assert "comes nearest" in printed(explanation_parts(replace(found, standing="nearest")))[0]
    assert printed(explanation_parts(replace(found, standing="")))[0].startswith(f"{found.student.name} on")


def test_the_peak_names_its_operator_and_what_is_alive(found: Explanation) -> None:
    text = " ".join(printed(explanation_parts(found)))
    for view in found.views:
        peak = view.memory.peak
        assert f"The activations peak at {text_from_bytes(peak.total_bytes)} in {peak.operator}" in text
        assert f"{next(iter(peak.alive))} {text_from_bytes(next(iter(peak.alive.values())))}" in text


def test_every_step_is_a_row_with_signed_numbers_and_its_marks(found: Explanation) -> None:
    view = found.views[0]
    lines = printed(explanation_parts(replace(found, views=(view,))))
    for step in view.steps:
        row = next(index for index, line in enumerate(lines) if line.startswith(f"   {step.to.text} "))
        assert lines[row - 1].split()[0] == step.to.dimension
        assert ("*" in lines[row - 1].split()[1]) is not step.to.in_space
        assert step.latency_change_s is not None
        sign = "+" if step.latency_change_s > 0 else ""
        assert f" {sign}{text_from_s(step.latency_change_s)}" in lines[row - 1]
        crossed = [f"! {name.removeprefix('latency.')}" for name in step.crossed]
        assert all(mark in " ".join(lines[row + 1 : row + 1 + len(crossed)]) for mark in crossed)


def test_a_decoders_cache_is_told(found: Explanation) -> None:
    view = found.views[0]
    with_cache = replace(view, memory=replace(view.memory, cache_bytes=5_000_000))
    assert "keys and values take 5.00 MB besides" in " ".join(
        printed(explanation_parts(replace(found, views=(with_cache,))))
    )


def test_an_unknown_time_says_what_is_missing(found: Explanation) -> None:
    view = found.views[0]
    unknown = replace(view, time=replace(view.time, total=None, rows=(), note="the device profile lacks everything"))
    lines = printed(explanation_parts(replace(found, views=(unknown,))))
    assert "Where the time goes is not known: the device profile lacks everything" in lines


def test_students_stand_side_by_side_with_measured_and_predicted_values(beside: SideBySide) -> None:
    lines = printed(side_by_side_parts(beside))
    words = " ".join(lines)
    for column in beside.columns:
        assert column.student.name in words
    assert sum(line.startswith(" capacity ") for line in lines) == 2  # five columns are two tables
    assert " measured" in next(line for line in lines if line.startswith(" fp32 latency "))
    shares = [line.split()[2:] for line in lines if line.startswith("   of teacher's ") and "%" in line]
    assert shares[-1] == ["100.0", "%"]
    assert "small, medium and large have the least, the median and the most" in words


def test_no_line_is_longer_than_the_terminal(found: Explanation, beside: SideBySide) -> None:
    for parts in (parts_of(found), parts_of(beside)):
        assert max(map(len, printed(parts))) <= WIDTH


def test_no_text_of_a_file_makes_a_line_or_a_colour_of_its_own(found: Explanation, beside: SideBySide) -> None:
    student = replace(found.student, name=HOSTILE)
    hostile = replace(found, student=student, notes=(HOSTILE,), device=HOSTILE)
    columns = tuple(replace(column, student=student, word=HOSTILE) for column in beside.columns[:2])
    for parts in (parts_of(hostile), parts_of(replace(beside, columns=columns, notes=(HOSTILE,)))):
        text = "\n".join(printed(parts))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text  # shown as it is, and not taken for markup
        assert not any(line.startswith("PASS") for line in text.splitlines())


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.001, 0.002, 0.003), "2.00 ms (1.00 - 3.00 ms, predicted)"),
        (Figure(0.0005, 0.002, 0.003, measured=True), "2.00 ms (500 µs - 3.00 ms, measured)"),
        (Figure(0.002, 0.002, 0.002), "2.00 ms (predicted)"),
    ],
)
def test_a_value_is_told_with_its_interval(figure: Figure, text: str) -> None:
    assert figure_text(figure, text_from_s) == text


def test_an_end_without_bound_is_unknown() -> None:
    assert span_text(Figure(0.0, 0.0, float("inf")), text_from_s) == "0.00 ns - unknown"


def test_limits_are_told_the_best_first() -> None:
    assert levels_text({"latency.p95": "unlikely", "latency.p50": "kept", "size": "kept"}) == (
        "p50, size kept; p95 unlikely"
    )
    assert levels_text({}) == "no limit"
