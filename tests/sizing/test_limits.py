from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekd.device import DeviceProfile
from edgekd.sizing.limits import Costs, Limit, limits_from_sla, ratios_by_limit, tail_factor
from edgekd.sla import Sla

P95 = Limit("latency.p95", "latency_s", 0.010, 0.95)
MEMORY = Limit("memory", "memory_bytes", 100.0)
ENERGY = Limit("energy", "energy_j", 0.02)


def test_median_has_no_tail_and_higher_percentiles_have_longer_ones() -> None:
    factors = [tail_factor(percentile, 0.0) for percentile in (0.5, 0.9, 0.95, 0.99)]
    assert factors[0] == 1.0
    assert factors == sorted(factors)
    assert factors[2] == pytest.approx(1.082, abs=1e-3)


def test_measured_spread_replaces_the_assumed_one_when_it_is_larger() -> None:
    assert tail_factor(0.95, 0.01) == tail_factor(0.95, 0.0)
    assert tail_factor(0.95, 0.2) == pytest.approx(1 + 0.2 * 1.645, abs=1e-3)


def test_every_limit_of_the_sla_that_depends_on_size_is_listed(make_profile: Callable[..., DeviceProfile]) -> None:
    sla = Sla.model_validate(
        {"latency": {"p50": "5 ms", "p95": "8 ms"}, "memory": "90 MB", "size": "9 MB", "accuracy": 0.9}
    )
    found = limits_from_sla(sla, make_profile(memory="1 GB"))
    assert [limit.name for limit in found] == ["latency.p50", "latency.p95", "memory", "memory of test", "size"]
    assert [limit.percentile for limit in found[:2]] == [0.5, 0.95]
    assert limits_from_sla(Sla.model_validate({"accuracy": 0.9}), make_profile()) == []
    (energy,) = limits_from_sla(Sla.model_validate({"energy": "20 mJ"}), make_profile())
    assert (energy.name, energy.metric, energy.quantity, energy.value) == ("energy", "energy", "energy_j", 0.02)


def test_ratios_say_how_much_of_each_limit_is_taken_and_nothing_of_what_is_unknown() -> None:
    assert ratios_by_limit(Costs(0.005, 150.0, None), [P95, MEMORY]) == {
        "latency.p95": pytest.approx(0.541, abs=1e-3),
        "memory": 1.5,
    }
    assert ratios_by_limit(Costs(None, 50.0, None), [P95, MEMORY]) == {"latency.p95": None, "memory": 0.5}


def test_limits_speak_the_unit_of_a_person() -> None:
    assert P95.text == "10.0 ms"
    assert MEMORY.text_of(2_000_000) == "2.00 MB"
    assert ENERGY.text == "20.0 mJ"


def test_an_energy_has_no_tail_and_is_unknown_where_no_rail_told() -> None:
    assert ratios_by_limit(Costs(0.005, 1.0, None, 0.5, energy_j=0.01), [ENERGY]) == {"energy": 0.5}
    assert ratios_by_limit(Costs(0.005, 1.0, None), [ENERGY]) == {"energy": None}
    learned = Costs(0.005, 1.0, None, factors={"energy": 1.5}, energy_j=0.01)
    assert learned.at(ENERGY) == pytest.approx(0.015)
