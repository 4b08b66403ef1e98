"""The plot of candidates: what is on it, and that it stays small."""

from dataclasses import replace
from itertools import pairwise

import pytest
from drawn import check

from edgekd.report import pareto
from edgekd.report.pareto import front_of, hover_of, pareto_figure, points_of, shown_of
from edgekd.report.run import RunFolder
from edgekd.sizing.files import IntervalRow, SizingFile, StudentsFile


@pytest.fixture(scope="module")
def sizing(whole: RunFolder) -> SizingFile:
    assert whole.sizing is not None
    return whole.sizing


@pytest.fixture(scope="module")
def students(whole: RunFolder) -> StudentsFile:
    assert whole.students is not None
    return whole.students


def test_every_candidate_and_every_measurement_is_drawn(students: StudentsFile, sizing: SizingFile) -> None:
    figure = pareto_figure(students, sizing)
    check(figure)
    drawn = {trace["name"]: len(trace["x"]) for trace in figure["data"] if "name" in trace}
    for precision in students.precisions:
        assert drawn[f"{precision} predicted"] == len(students.students)
        assert drawn[f"{precision} measured"] == sum(name.endswith(precision) for name in sizing.measurements)
    assert drawn["chosen"] == len(sizing.fitting)


def test_the_limits_are_lines(students: StudentsFile, sizing: SizingFile) -> None:
    layout = pareto_figure(students, sizing)["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [0.001, 0.002]
    assert [text["text"] for text in layout["annotations"]] == ["p50 at most 1.00 ms", "p95 at most 2.00 ms"]


def test_error_bars_reach_the_ends_of_the_interval(students: StudentsFile, sizing: SizingFile) -> None:
    trace = next(t for t in pareto_figure(students, sizing)["data"] if t.get("name") == "int8 predicted")
    row = sizing.forecasts[f"{students.students[0].id}-int8"].latency_s
    assert row is not None
    assert trace["x"][0] == row.mid
    assert trace["x"][0] + trace["error_x"]["array"][0] == pytest.approx(row.high)
    assert trace["x"][0] - trace["error_x"]["arrayminus"][0] == pytest.approx(row.low)


def test_the_front_goes_up_and_holds_the_chosen(students: StudentsFile, sizing: SizingFile) -> None:
    front = front_of(points_of(students, sizing), sizing)
    assert all(a.best_known_s < b.best_known_s and a.row.capacity < b.row.capacity for a, b in pairwise(front))
    assert sizing.chosen in {point.row.id for point in front}


def test_the_hover_box_says_dimensions_work_memory_and_latency(students: StudentsFile, sizing: SizingFile) -> None:
    chosen = next(point for point in points_of(students, sizing) if point.row.id == students.chosen)
    said = hover_of(chosen)
    spec = chosen.row.student
    dims = f"{spec.layers} layers, hidden {spec.hidden}, {spec.heads} heads, ffn {spec.ffn}"
    for word in (dims, "MACs", "memory", "predicted", "measured", "parameters"):
        assert word in said


def test_the_hover_box_says_the_energy_where_it_is_known(students: StudentsFile, sizing: SizingFile) -> None:
    chosen = next(point for point in points_of(students, sizing) if point.row.id == students.chosen)
    assert "energy" not in hover_of(chosen)
    assert chosen.forecast is not None
    assert chosen.measurement is not None
    forecast = chosen.forecast.model_copy(update={"energy_j": IntervalRow(low=1e-3, mid=2e-3, high=3e-3)})
    measurement = chosen.measurement.model_copy(update={"energy_j": 2.5e-3})
    said = hover_of(replace(chosen, forecast=forecast, measurement=measurement))
    assert "energy 2.00 mJ predicted, 2.50 mJ measured" in said


def test_too_many_candidates_are_thinned_out(
    students: StudentsFile, sizing: SizingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pareto, "MOST_CANDIDATES", 10)
    points = points_of(students, sizing)
    shown = {point.name for point in shown_of(points, sizing)}
    assert len(shown) < len(points)
    assert set(sizing.measurements) <= shown
    assert set(sizing.pareto) <= shown


def test_a_sizing_without_measurements_is_drawn(students: StudentsFile, sizing: SizingFile) -> None:
    alone = sizing.model_copy(update={"measurements": {}, "limits": []})
    check(pareto_figure(students, alone))
    unknown = alone.model_copy(
        update={"forecasts": {k: v.model_copy(update={"latency_s": None}) for k, v in sizing.forecasts.items()}}
    )
    assert points_of(students, unknown) == []
