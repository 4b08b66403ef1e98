"""What is known: by prediction, by measurement, and against the limits."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgekd.cost.count import count, parameters
from edgekd.cost.predict import predict, predict_memory
from edgekd.device import DeviceProfile
from edgekd.sizing.explain.known import Figure, Known, Outlook, finite, placed
from edgekd.sizing.explain.steps import steps_of
from edgekd.sizing.forecast import Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.price import vocabulary_parameters
from edgekd.student import StudentSpec


def test_a_student_is_placed_with_its_capacity(teacher: StudentSpec, vit: StudentSpec) -> None:
    found = placed(teacher, 64)
    assert (found.name, found.sequence, found.parameters) == (teacher.name, 64, parameters(teacher))
    assert found.capacity == found.parameters - vocabulary_parameters(teacher)
    assert placed(vit, 5).sequence == vit.tokens
    assert placed(teacher, 64, "mine").name == "mine"


def test_without_fits_the_roofline_and_the_counts_speak(make_known: Callable[..., Known]) -> None:
    known = make_known(latency=None)
    for student in known.students.values():
        counts = count(student.spec, batch=1, sequence=student.sequence, precision="fp32")
        roofline = predict(counts, known.profile, precision="fp32", threads=1)
        found = known.predicted(student, "fp32")
        assert found.latency is not None
        assert (found.latency.low, found.latency.mid, found.latency.high) == (
            roofline.low_s,
            roofline.mid_s,
            roofline.high_s,
        )
        assert found.memory.mid == predict_memory(counts)
        assert found.size.mid == counts.weight_bytes


def test_a_profile_without_numbers_gives_no_latency(
    make_known: Callable[..., Known], make_profile: Callable[..., DeviceProfile]
) -> None:
    known = make_known(latency=None, profile=make_profile(), limits=[Limit("latency.p50", "latency_s", 1.0)])
    student = next(iter(known.students.values()))
    found = known.predicted(student, "fp32")
    assert found.latency is None
    assert found.to_dict()["latency_s"] is None
    assert known.levels(found) == {"latency.p50": "unknown"}
    assert known.feasible == []


def test_with_fits_the_fits_speak(make_known: Callable[..., Known]) -> None:
    known = make_known()
    student = next(iter(known.students.values()))
    features = known.pass_of(student, "int8").features
    fits, found = known.fits_of("int8"), known.predicted(student, "int8")
    for fit, figure in ((fits.latency, found.latency), (fits.memory, found.memory), (fits.size, found.size)):
        assert fit is not None
        assert figure is not None
        expected = fit.predict(features)
        assert (figure.low, figure.mid, figure.high) == (expected.low, expected.mid, expected.high)
        assert not figure.measured


def test_what_was_measured_goes_before_what_was_predicted(make_known: Callable[..., Known]) -> None:
    known = make_known()
    student = next(iter(known.students.values()))
    found = Measurement(0.002, 0.03, 0.0019, 0.0021, 80_000_000, None)
    known = replace(known, measurements={f"{student.name}-fp32": found})
    outlook = known.best_known(student, "fp32")
    assert outlook.latency == Figure(0.0019, 0.002, 0.0021, measured=True)
    assert outlook.memory == Figure(80_000_000, 80_000_000, 80_000_000, measured=True)
    assert outlook.size == known.predicted(student, "fp32").size
    assert known.best_known(student, "int8") == known.predicted(student, "int8")


@pytest.mark.parametrize(
    ("limit_s", "level"), [(0.0031, "kept"), (0.0025, "likely"), (0.0015, "unlikely"), (0.0009, "missed")]
)
def test_a_limit_is_kept_likely_unlikely_or_missed(
    make_known: Callable[..., Known], limit_s: float, level: str
) -> None:
    known = make_known(limits=[Limit("latency.p50", "latency_s", limit_s)])
    exact = Figure(1, 1, 1)
    assert known.levels(Outlook(Figure(0.001, 0.002, 0.003), exact, exact)) == {"latency.p50": level}


def test_a_high_percentile_stands_above_the_median(make_known: Callable[..., Known]) -> None:
    limits = [Limit("latency.p50", "latency_s", 0.0031), Limit("latency.p95", "latency_s", 0.0031, 0.95)]
    found = make_known(limits=limits).levels(Outlook(Figure(0.003, 0.003, 0.003), Figure(1, 1, 1), Figure(1, 1, 1)))
    assert found == {"latency.p50": "kept", "latency.p95": "missed"}


def test_the_feasible_keep_every_limit_in_some_precision(make_known: Callable[..., Known]) -> None:
    known = make_known()
    sizes = {name: known.predicted(student, "int8").size.high for name, student in known.students.items()}
    middle = sorted(sizes.values())[5]
    known = replace(known, limits=[Limit("size", "size_bytes", middle)])
    assert {student.name for student in known.feasible} == {name for name, high in sizes.items() if high <= middle}
    assert [student.capacity for student in known.feasible] == sorted(student.capacity for student in known.feasible)
    assert known.keeps_all(known.feasible[0])[-1] == "int8"


def test_energy_follows_from_the_latency_the_macs_and_the_bytes(make_known: Callable[..., Known]) -> None:
    known = make_known(limits=[Limit("energy", "energy_j", 1.0)])
    student = next(iter(known.students.values()))
    assert known.predicted(student, "fp32").energy is None
    assert known.levels(known.predicted(student, "fp32")) == {"energy": "unknown"}
    known = make_known(limits=[Limit("energy", "energy_j", 1.0)], rails=True)
    outlook, features = known.predicted(student, "fp32"), known.pass_of(student, "fp32").features
    latency, energy = outlook.latency, outlook.energy
    assert latency is not None
    assert energy is not None
    counted = 3e-11 * features["macs"] + 1e-10 * (features["weight_bytes"] + features["activation_bytes"])
    assert energy.mid == pytest.approx(4 * latency.mid + counted)
    assert energy.high == pytest.approx((4 * latency.high + counted) * math.exp(0.05))
    assert known.levels(outlook) == {"energy": "kept"}
    parts = known.energy_parts(student, "fp32")
    assert sum(parts.values()) == pytest.approx(energy.mid)
    assert parts["latency_s"] == pytest.approx(4 * latency.mid)
    assert make_known().energy_parts(student, "fp32") == {}
    assert outlook.to_dict()["energy_j"] == energy.to_dict()
    found = Measurement(0.002, 0.03, 0.0019, 0.0021, None, None, 0.5, 0.4, 0.6, "VDD_IN")
    known = replace(known, measurements={f"{student.name}-fp32": found})
    assert known.best_known(student, "fp32").energy == Figure(0.4, 0.5, 0.6, measured=True)
    (step, *_) = steps_of(known, student, "fp32")
    after = known.predicted(step.to.student, step.to.precision).energy
    assert after is not None
    assert step.energy_change_j == pytest.approx(after.mid - energy.mid)


def test_a_stored_forecast_is_not_counted_again(make_known: Callable[..., Known]) -> None:
    name = next(iter(make_known().students))
    stored = Outlook(Figure(1, 1, 1), Figure(1, 1, 1), Figure(1, 1, 1))
    known = make_known(forecasts={f"{name}-fp32": stored}, limits=[Limit("size", "size_bytes", 2)])
    assert [student.name for student in known.feasible] == [name]


def test_json_knows_no_infinity() -> None:
    assert finite(float("inf")) is None
    assert Figure(0.0, 0.0, float("inf")).to_dict() == {"low": 0.0, "mid": 0.0, "high": None, "measured": False}
