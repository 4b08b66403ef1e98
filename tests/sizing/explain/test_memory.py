"""The memory of a process: the rows are the whole, and the counted ones are the exact counts."""

from collections.abc import Callable

import pytest

from edgekd.cost.count import cache_bytes, peak_activation_bytes, weight_bytes
from edgekd.cost.predict import RUNTIME_BYTES
from edgekd.sizing.explain.known import Known
from edgekd.sizing.explain.memory import RUNTIME, memory_of
from edgekd.student import StudentSpec


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_rows_add_up_to_the_predicted_memory(make_known: Callable[..., Known], precision: str) -> None:
    for known in (make_known(), make_known(latency=None)):
        for student in known.students.values():
            split = memory_of(known, student, precision)
            assert split.total == known.predicted(student, precision).memory
            assert sum(row.predicted_bytes for row in split.rows) == pytest.approx(split.total.mid, rel=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_counted_rows_are_the_exact_counts(make_known: Callable[..., Known], precision: str) -> None:
    for known in (make_known(), make_known(latency=None)):
        student = known.by_capacity[-1]
        split = memory_of(known, student, precision)
        counted = {row.name: row.counted_bytes or 0 for row in split.rows if row.name != RUNTIME}
        peak = peak_activation_bytes(student.spec, batch=1, sequence=student.sequence, precision=precision)
        assert counted.pop("peak activations") == peak == split.peak.total_bytes
        assert sum(counted.values()) == weight_bytes(student.spec, precision)


def test_the_runtime_is_our_trial_without_a_fit_and_the_constant_of_the_fit_with_one(
    make_known: Callable[..., Known],
) -> None:
    def runtime(known: Known) -> tuple[int | None, float]:
        row = next(row for row in memory_of(known, known.by_capacity[0], "fp32").rows if row.name == RUNTIME)
        return row.counted_bytes, row.predicted_bytes

    assert runtime(make_known(latency=None)) == (RUNTIME_BYTES, RUNTIME_BYTES)
    assert runtime(make_known()) == (None, 7e7)


def test_a_decoder_has_a_cache_and_an_encoder_has_none(make_known: Callable[..., Known], llama: StudentSpec) -> None:
    known = make_known(llama)
    student = known.by_capacity[0]
    expected = cache_bytes(student.spec, batch=1, tokens=student.sequence)
    assert memory_of(known, student, "fp32").cache_bytes == expected > 0
    encoder = make_known()
    assert memory_of(encoder, encoder.by_capacity[0], "fp32").cache_bytes == 0


def test_the_table_for_programs_holds_the_peak(make_known: Callable[..., Known]) -> None:
    known = make_known()
    split = memory_of(known, known.by_capacity[0], "int8")
    table = split.to_dict()
    assert table["peak"]["total_bytes"] == sum(table["peak"]["alive"].values()) == split.peak.total_bytes
    assert table["source"] == "fit"
