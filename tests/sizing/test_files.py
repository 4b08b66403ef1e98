from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from every import everyone

from edgekd.cost.calibrate import Fit
from edgekd.device import DeviceProfile
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, sha256_of_file, write_json
from edgekd.recipe import Search
from edgekd.sizing.files import read_sizing, read_students
from edgekd.sizing.search import Sizing, size
from edgekd.sizing.table import Ends
from edgekd.sizing.writing import write_sizing, write_students
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import StudentSpec

SPACE = Space(layers=[1, 3, 6], hidden=[64, 192, 384], ffn_ratio=[2.0])


def sized(teacher: StudentSpec, profile: DeviceProfile, measure: Any, limit: str = "6 ms") -> Sizing:
    sla = Sla.model_validate({"latency": {"p95": limit}})
    return size(
        teacher, SPACE, sla, profile, Search(), precisions=["fp32"], batch=1, sequence=64, threads=1, measure=measure
    )


@pytest.fixture
def written(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> Path:
    found = sized(teacher, make_profile(), make_board())
    write_students(found, tmp_path / "students.json")
    write_sizing(found, tmp_path / "sizing.json")
    return tmp_path


def test_decisions_are_the_same_bytes_whatever_the_noise_when_margins_are_wide(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    hashes, evidence = set(), set()
    for seed in range(4):
        found = sized(teacher, make_profile(peak="10 GMAC/s"), make_board(noise=0.02, seed=seed))
        write_students(found, tmp_path / "students.json")
        write_sizing(found, tmp_path / "sizing.json")
        hashes.add(sha256_of_file(tmp_path / "students.json"))
        evidence.add(sha256_of_file(tmp_path / "sizing.json"))
    assert len(hashes) == 1
    assert len(evidence) == 4


def test_decisions_come_back_as_they_were_written(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    found = sized(teacher, make_profile(), make_board())
    write_students(found, tmp_path / "students.json")
    back = read_students(tmp_path / "students.json")
    assert found.chosen is not None
    assert back.chosen == found.chosen.name
    assert back.chosen_student == found.chosen.spec
    assert [row.student for row in back.students] == [student.spec for student in everyone(found.students)]
    assert back.teacher.student == teacher
    assert back.students[0].prices["fp32"].roofline.bound == "unknown"
    assert back.considered == 9


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
@pytest.mark.parametrize("precisions", [("fp32",), ("int8", "fp32")])
@pytest.mark.parametrize("peak", [None, "10 GMAC/s"])
def test_every_number_of_every_student_and_forecast_comes_back(
    family: str,
    precisions: tuple[str, ...],
    peak: str | None,
    request: pytest.FixtureRequest,
    make_profile: Callable[..., DeviceProfile],
    tmp_path: Path,
) -> None:
    spec = request.getfixturevalue(family)
    space = Space(layers=[1, 2, 5], hidden=[2 * spec.head_dim, spec.hidden], ffn=[40, spec.ffn], min_share=0.001)
    sla = Sla.model_validate({"latency": {"p95": "6 ms"}})
    found = size(
        spec, space, sla, make_profile(peak=peak), Search(), precisions=precisions, batch=2, sequence=32, threads=1,
        measure=None,
    )  # fmt: skip
    write_students(found, tmp_path / "students.json")
    write_sizing(found, tmp_path / "sizing.json")
    back, evidence = read_students(tmp_path / "students.json"), read_sizing(tmp_path / "sizing.json")
    assert back.precisions == list(precisions)
    assert any(row.warnings for row in back.students)
    for row, student in zip([back.teacher, *back.students], [found.teacher, *everyone(found.students)], strict=True):
        assert row.model_dump(exclude={"prices"}) == {
            "id": student.name,
            "spec": student.spec.to_dict(),
            "sequence": student.prices[precisions[0]].counts.sequence,
            "parameters": student.parameters,
            "capacity": student.capacity,
            "share": student.share,
            "macs": student.macs,
            "warnings": list(student.warnings),
        }
        for precision, price in student.prices.items():
            assert row.prices[precision].model_dump() == {
                "weight_bytes": price.counts.weight_bytes,
                "activation_bytes": price.counts.activation_bytes,
                "peak_activation_bytes": price.counts.peak_activation_bytes,
                "memory_bytes": price.memory_bytes,
                "roofline": asdict(price.roofline),
            }
    assert {name: row.model_dump() for name, row in evidence.forecasts.items()} == {
        f"{found.students.name(row)}-{precision}": {
            "latency_s": ends_at(forecast.latency, row) if peak else None,
            "memory_bytes": ends_at(forecast.memory, row),
            "size_bytes": ends_at(forecast.size, row),
            "energy_j": ends_at(forecast.energy, row) if forecast.energy else None,
        }
        for precision, forecast in found.standing.forecasts.items()
        for row in range(len(found.students))
    }


def ends_at(ends: Ends, row: int) -> dict[str, float]:
    return {end: float(getattr(ends, end)[row]) for end in ("low", "mid", "high")}


def test_ten_thousand_students_are_stored_small(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], tmp_path: Path
) -> None:
    widths, inner = list(range(64, 385, 32)), list(range(64, 1281, 8))
    space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=widths, ffn=inner, min_share=0.0)
    sla = Sla.model_validate({"latency": {"p95": "6 ms"}})
    found = size(
        teacher, space, sla, make_profile(peak="10 GMAC/s"), Search(), precisions=["fp32", "int8"], batch=1,
        sequence=64, threads=1, measure=None,
    )  # fmt: skip
    write_students(found, tmp_path / "students.json")
    assert len(found.students) > 10_000
    assert (tmp_path / "students.json").stat().st_size < 330 * len(found.students)


def test_evidence_comes_back_as_it_was_written(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    found = sized(teacher, make_profile(), make_board())
    write_sizing(found, tmp_path / "sizing.json")
    back = read_sizing(tmp_path / "sizing.json")
    table = back.fits["fp32"].latency
    assert table is not None
    assert Fit.from_dict(table) == found.fits["fp32"].latency
    assert {name: row.latency_s for name, row in back.measurements.items()} == {
        name: row.latency_s for name, row in found.measurements.items()
    }
    assert back.pareto == found.standing.pareto
    assert back.fitting == found.fitting == ["fp32"]
    assert back.obstacle is None


def test_energy_comes_back_and_evidence_from_before_knows_none(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "sizing.json"
    found = sized(teacher, make_profile(), make_board(watts=4.0))
    write_sizing(found, path)
    back = read_sizing(path)
    fit = found.fits["fp32"].energy
    assert fit is not None
    assert back.fits["fp32"].energy == fit.to_dict()
    name, one = next(iter(found.measurements.items()))
    assert (back.measurements[name].energy_high_j, back.measurements[name].rail) == (one.energy_high_j, "VDD_IN")
    assert all(row.energy_j is not None for row in back.forecasts.values())
    table = read_json(path)
    table |= {"schema_version": "3.1", "columns": table["columns"][:9]}
    table["forecasts"] = {name: row[:9] for name, row in table["forecasts"].items()}
    table["fits"] = {
        name: {key: fit[key] for key in ("latency", "memory", "size")} for name, fit in table["fits"].items()
    }
    keys = ("latency_s", "spread", "low_s", "high_s", "peak_memory_bytes", "size_bytes")
    table["measurements"] = {name: {key: row[key] for key in keys} for name, row in table["measurements"].items()}
    write_json(path, table)
    old = read_sizing(path)
    assert all(row.energy_j is None for row in (*old.forecasts.values(), *old.measurements.values()))
    assert old.fits["fp32"].energy is None


def test_obstacle_is_stored_with_its_numbers_and_no_student_chosen(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    found = sized(teacher, make_profile(), make_board(), limit="50 us")
    write_students(found, tmp_path / "students.json")
    write_sizing(found, tmp_path / "sizing.json")
    assert read_students(tmp_path / "students.json").chosen is None
    assert read_students(tmp_path / "students.json").chosen_student is None
    back = read_sizing(tmp_path / "sizing.json").obstacle
    assert back is not None
    assert found.obstacle is not None
    assert back.model_dump() == found.obstacle.to_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": "9.0"}, "schema_version '9.0'"),
        ({"kind": "sizing"}, "no students.json"),
        ({"chosen": "L9"}, "not among the students"),
        ({"surprise": 1}, "surprise"),
        ({"considered": "many"}, "considered"),
        ({"columns": ["id"]}, "columns are not those of schema_version 3.2"),
        ({"precisions": ["int8"]}, "precisions are not those that the teacher has"),
        ({"precisions": [1]}, "precisions are not those that the teacher has"),
        ({"students": [["L1"]]}, "students: entry 0 is no list of 19 values"),
        ({"students": {}}, "students is no list"),
        ({"teacher": {"id": "L6"}}, r"teacher\.spec"),
    ],
)
def test_damaged_decisions_are_refused(written: Path, change: dict[str, object], words: str) -> None:
    path = written / "students.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(RecordError, match=words):
        read_students(path)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("layers", 0, r"students\.0\.spec.*layers is 0"),
        ("parameters", 0, r"students\.0\.parameters"),
        ("parameters", 10**400, r"students\.0\.parameters"),
        ("parameters", "many", r"students\.0\.parameters"),
        ("fp32.bound", "luck", r"students\.0\.prices\.fp32\.roofline\.bound"),
    ],
)
def test_impossible_student_in_the_decisions_is_refused(written: Path, column: str, value: object, words: str) -> None:
    path = written / "students.json"
    table = read_json(path)
    table["students"][0][table["columns"].index(column)] = value
    write_json(path, table)
    with pytest.raises(RecordError, match=words):
        read_students(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": []}, "columns are not those"),
        ({"forecasts": []}, "columns are not those"),
        ({"forecasts": {"L1": [1.0]}}, "entry 0 is no list of 12 values"),
        ({"forecasts": {"L1": [None, 1.0, *[2.0] * 10]}}, r"forecasts\.L1\.latency_s\.low"),
    ],
)
def test_damaged_evidence_is_refused(written: Path, change: dict[str, object], words: str) -> None:
    path = written / "sizing.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(RecordError, match=words):
        read_sizing(path)


def test_damaged_fit_is_refused(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "sizing.json"
    write_sizing(sized(teacher, make_profile(), make_board()), path)
    table = read_json(path)
    table["fits"]["fp32"]["latency"]["prices"] = {"macs": -1}
    write_json(path, table)
    with pytest.raises(RecordError, match="negative"):
        read_sizing(path)


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_sizing(tmp_path / "sizing.json")
