"""Energy: two bounds that hold the truth between them, and unknown wherever one process could not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.gate.energy import energy_criterion
from edgekd.gate.judge import judge
from edgekd.gate.verdict import Criterion, Verdict
from edgekd.sla import Sla

Make = Callable[..., Any]
MS = 1_000_000
RUN = [100 * MS] * 49


def _vitals(*watts: float | None, rail: str = "VDD_IN", **changed: Any) -> dict[str, Any]:
    ticks = [
        {"at_s": float(at), "rails_w": None if w is None else {rail: w, "VDD_SOC": 0.5}} for at, w in enumerate(watts)
    ]
    return {"cores": [0], "ticks": ticks, "suspended_s": 0.0, **changed}


def _found(limit_j: float, latency_record: Make, *vitals: dict[str, Any], mode: str | None = None) -> Criterion:
    return energy_criterion([latency_record([RUN] * 2, host={"vitals": list(vitals)})], limit_j, mode)


IDLE_AND_BUSY = _vitals(4, 4, 6, 6, 6, 4)


def test_the_bounds_are_all_energy_by_inferences_and_least_power_by_latency(latency_record: Make) -> None:
    """26 J in each process; 51 inferences, with the first and one of warm-up; 100 ms at 4 W are 0.4 J."""
    found = _found(1.0, latency_record, IDLE_AND_BUSY, IDLE_AND_BUSY)
    assert (found.low, found.high, found.n) == (pytest.approx(0.4), pytest.approx(26 / 51), 12)


@pytest.mark.parametrize(
    ("limit_j", "outcome", "reason"),
    [
        (0.51, "pass", "KEPT"),
        (0.509, "inconclusive", "TOO_CLOSE"),
        (0.4001, "inconclusive", "TOO_CLOSE"),
        (0.3999, "fail", "MISSED"),
    ],
)
def test_each_answer_needs_its_own_bound(limit_j: float, outcome: str, reason: str, latency_record: Make) -> None:
    found = _found(limit_j, latency_record, IDLE_AND_BUSY, IDLE_AND_BUSY)
    assert (found.outcome.value, found.reason.value) == (outcome, reason)
    assert found.excess is not None
    assert (found.excess > 0) is (outcome != "pass")


@pytest.mark.parametrize(
    ("vitals", "reason"),
    [
        ([], "ENERGY_UNKNOWN"),
        ([IDLE_AND_BUSY], "ENERGY_UNKNOWN"),
        ([IDLE_AND_BUSY, _vitals(4, None, 4)], "ENERGY_UNKNOWN"),
        ([_vitals(*[4] * 9, rail="VDD_CPU")] * 2, "ENERGY_UNKNOWN"),
        ([_vitals(4, 4, 4, 4)] * 2, "TOO_FEW_SAMPLES"),
        ([_vitals(*[0] * 9)] * 2, "ENERGY_UNKNOWN"),
        ([_vitals(4, 4, 4, -1, 4, 4)] * 2, "ENERGY_UNKNOWN"),
        ([_vitals(*[4] * 9, suspended_s=2.0)] * 2, "SUSPENDED"),
        ([_vitals(*[4] * 9, power_mode_before="15W", power_mode_after="25W")] * 2, "POWER_MODE"),
        ([{**IDLE_AND_BUSY, "ticks": [{"at_s": 0.0, "throttled": "0x4"}]}] * 2, "THROTTLED"),
    ],
)
def test_what_is_unknown_or_spoiled_is_never_kept(vitals: list[Any], reason: str, latency_record: Make) -> None:
    for limit_j in (1e-6, 1e6):
        found = _found(limit_j, latency_record, *vitals)
        assert (found.outcome.value, found.reason.value) == ("inconclusive", reason)


def test_the_power_mode_that_is_asked_for_counts_for_energy_too(latency_record: Make) -> None:
    right = _vitals(*[4] * 9, power_mode_before="15W", power_mode_after="15W")
    assert _found(9.0, latency_record, right, right, mode="15W").outcome.value == "pass"
    assert _found(9.0, latency_record, right, right, mode="25W").reason.value == "POWER_MODE"


def test_records_of_two_boards_are_not_one(latency_record: Make) -> None:
    one, other = (latency_record([RUN] * 2, host={"vitals": [IDLE_AND_BUSY] * 2, "cores": cores}) for cores in (4, 6))
    assert energy_criterion([one, other], 9.0).reason.value == "MIXED_CONDITIONS"


def test_no_record_is_inconclusive() -> None:
    assert energy_criterion([], 1.0).reason.value == "NO_LATENCY_RECORD"


def test_a_verdict_with_energy_is_written_and_read(latency_record: Make) -> None:
    record = latency_record([RUN] * 2, host={"vitals": [IDLE_AND_BUSY] * 2})
    verdict = judge([record], Sla(energy="600 mJ"))  # type: ignore[arg-type]
    assert verdict.outcome.value == "pass"
    assert verdict.criteria[0].text.endswith("from the rail VDD_IN, within the limit of 600 mJ")
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    assert Verdict.from_dict({**verdict.to_dict(), "schema_version": "1.0"}).schema_version == "1.0"
