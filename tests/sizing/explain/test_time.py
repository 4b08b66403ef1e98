"""The time of a pass: the rows are the whole, by the fit or by the roofline."""

from collections.abc import Callable

import pytest

from edgekd.cost.count import mac_sums
from edgekd.cost.terms import TERMS
from edgekd.device import DeviceProfile
from edgekd.errors import RecordError
from edgekd.sizing.explain.known import Known
from edgekd.sizing.explain.time import time_of
from edgekd.student import StudentSpec

SHORT = {"one": 1e-4, "layers": 4e-5, "macs": 1e-11, "weight_bytes": 3e-12, "activation_bytes": 2e-10}
WHOLE = {"one": 5e-5, **{name: 1e-10 * (1 + index) for index, name in enumerate(TERMS)}}
CLASSES = {"embeddings", "projections", "attention", "feed_forward", "head"}


@pytest.mark.parametrize("prices", [SHORT, WHOLE, {"one": 1e-3, "macs": 1e-11}], ids=["short", "whole", "two"])
def test_the_rows_add_up_to_the_prediction_of_the_fit(
    make_known: Callable[..., Known], vit: StudentSpec, llama: StudentSpec, prices: dict[str, float]
) -> None:
    for known in (make_known(latency=prices), make_known(vit, latency=prices), make_known(llama, latency=prices)):
        for student in [*known.students.values(), known.teacher]:
            for precision in known.precisions:
                split = time_of(known, student, precision)
                assert split.source == "fit"
                assert split.total == known.predicted(student, precision).latency
                assert split.total is not None
                assert sum(row.seconds for row in split.rows) == pytest.approx(split.total.mid, rel=1e-12)
                assert sum(row.share for row in split.rows) == pytest.approx(1)
                for row in split.rows:
                    assert row.seconds == pytest.approx(row.compute_s + row.bandwidth_s + row.overhead_s, rel=1e-12)


@pytest.mark.parametrize("peak", ["20 GMAC/s", "2000 GMAC/s"], ids=["compute binds", "memory binds"])
def test_the_rows_add_up_to_the_roofline_where_there_is_no_fit(
    make_known: Callable[..., Known], make_profile: Callable[..., DeviceProfile], peak: str
) -> None:
    known = make_known(latency=None, profile=make_profile(peak=peak))
    for student in known.students.values():
        split = time_of(known, student, "fp32")
        assert split.total is not None
        assert sum(row.seconds for row in split.rows) == pytest.approx(split.total.mid, rel=1e-9)
        binding = max(sum(row.compute_s for row in split.rows), sum(row.bandwidth_s for row in split.rows))
        assert binding == pytest.approx(split.total.mid, rel=1e-9)
        assert {row.name for row in split.rows} == CLASSES
        assert "uncalibrated" in split.note
        for row in split.rows:
            assert row.bound == ("compute" if row.compute_s >= row.bandwidth_s else "bandwidth")


def test_what_no_class_causes_is_a_row_of_its_own(make_known: Callable[..., Known]) -> None:
    known = make_known(latency=SHORT)
    rows = {row.name: row for row in time_of(known, known.by_capacity[-1], "fp32").rows}
    assert set(rows) == CLASSES | {"every layer", "every inference"}
    assert (rows["every inference"].seconds, rows["every inference"].bound) == (SHORT["one"], "overhead")
    assert rows["every layer"].seconds == pytest.approx(SHORT["layers"] * known.by_capacity[-1].spec.layers)


def test_the_largest_share_bounds_a_class(make_known: Callable[..., Known]) -> None:
    def bounds(**prices: float) -> dict[str, str]:
        known = make_known(latency={"one": 1e-9, **prices})
        return {row.name: row.bound for row in time_of(known, known.by_capacity[0], "fp32").rows}

    assert bounds(starts=1.0, macs=1e-15)["feed_forward"] == "overhead"
    assert bounds(starts=1e-15, macs=1.0)["feed_forward"] == "compute"
    assert bounds(weights=1.0, macs=1e-15)["feed_forward"] == "bandwidth"


def test_the_macs_of_the_rows_are_those_of_the_pass(make_known: Callable[..., Known]) -> None:
    known = make_known()
    student = known.by_capacity[0]
    rows = time_of(known, student, "fp32").rows
    assert {row.name: row.macs for row in rows if row.macs} == {
        name: macs for name, macs in mac_sums(known.pass_of(student, "fp32").trace).items() if macs
    }


def test_without_any_number_the_note_says_what_is_missing(
    make_known: Callable[..., Known], make_profile: Callable[..., DeviceProfile]
) -> None:
    known = make_known(latency=None, profile=make_profile())
    split = time_of(known, known.by_capacity[0], "fp32")
    assert (split.total, split.rows) == (None, ())
    assert "lacks peak_macs_per_s for fp32" in split.note
    assert split.to_dict()["total_s"] is None


def test_a_foreign_term_is_an_error(make_known: Callable[..., Known]) -> None:
    known = make_known(latency={"one": 1.0, "dreams": 1.0})
    with pytest.raises(RecordError, match="dreams"):
        time_of(known, known.by_capacity[0], "fp32")
