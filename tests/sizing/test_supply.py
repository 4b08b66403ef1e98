from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from every import everyone
from numpy.typing import NDArray
from searched import both, known_of, pricing_of

from edgekd.cost.calibrate import Fit, Intervals
from edgekd.device import DeviceProfile
from edgekd.errors import SpecError
from edgekd.recipe import Search
from edgekd.sizing import boxes, frontier, supply
from edgekd.sizing.choice import Compare, Standing, next_finalists
from edgekd.sizing.forecast import Fits
from edgekd.sizing.grid import Grid
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import Known
from edgekd.sizing.obstacle import obstacle_of
from edgekd.sizing.price import Setting
from edgekd.sizing.search import size
from edgekd.sizing.supply import Searched, supply_of
from edgekd.sizing.table import Pricing
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import StudentSpec

EASY = [Limit("latency.p95", "latency_s", 8e-3, 0.95), Limit("memory", "memory_bytes", 90e6)]
HARD = [Limit("latency.p95", "latency_s", 1e-4, 0.95), Limit("memory", "memory_bytes", 30e6)]
FRUGAL = [Limit("latency.p95", "latency_s", 8e-3, 0.95), Limit("energy", "energy_j", 9e-3)]
STARVING = [Limit("energy", "energy_j", 1e-5)]
SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "wide steps": ("teacher", {"layers": [1, 2, 4, 6], "hidden": {"from": 32, "to": 384, "step": 8}, "ffn": {"from": 32, "to": 1536, "step": 32}}),
    "lengths and head_dim": ("teacher", {"layers": {"from": 1, "to": 6}, "hidden": {"from": 32, "to": 384, "step": 8}, "head_dim": [8, 16, 32], "ffn_ratio": [0.5, 1.0, 2.0, 2.67, 4.0], "sequence": [16, 32, 64]}),
    "shares": ("teacher", {"layers": {"from": 1, "to": 6}, "hidden": {"from": 32, "to": 384, "step": 32}, "ffn": {"from": 32, "to": 1536, "step": 48}, "min_share": 0.2, "max_share": 0.5}),
    "key heads": ("llama", {"layers": {"from": 1, "to": 8}, "hidden": {"from": 64, "to": 512, "step": 64}, "heads": {"from": 1, "to": 8}, "kv_heads": [1, 2, 3, 4], "ffn": {"from": 64, "to": 1024, "step": 128}}),
    "ties": ("teacher", {"layers": {"from": 1, "to": 6}, "ties": {"hidden": "64 * layers"}, "ffn": {"from": 8, "to": 1536}}),
    "images": ("vit", {"layers": {"from": 1, "to": 6}, "hidden": {"from": 32, "to": 192, "step": 16}, "ffn": {"from": 8, "to": 768, "step": 20}}),
}  # fmt: skip


@pytest.fixture
def pricing(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Pricing:
    return Pricing(teacher, make_profile(peak="10 GMAC/s"), Setting(("fp32",), 1, 64, 1))


def named(standing: Standing, rows: list[int]) -> list[str]:
    return [standing.table.name(row) for row in rows]


def test_a_small_space_supplies_all_its_students(teacher: StudentSpec, pricing: Pricing) -> None:
    found = supply_of(Grid(Space(layers=[1, 2, 9]), teacher, 64), pricing)
    assert [student.spec.layers for student in everyone(found.sample)] == [1, 2]
    assert (found.possible, found.within) == (2, 0.0)
    assert found.refused == {"layers above the teacher's 6": 1}


def test_an_empty_space_is_refused(teacher: StudentSpec, pricing: Pricing, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="all 1 combinations were refused"):
        supply_of(Grid(Space(layers=[9]), teacher, 64), pricing)
    monkeypatch.setattr(supply, "MOST_COMBINATIONS", 0)
    with pytest.raises(SpecError, match=r"combinations were refused \(.*layers above"):
        supply_of(Grid(Space(layers=[9], ffn=list(range(8, 800, 8))), teacher, 64), pricing)


def test_an_absurdly_large_space_is_refused_at_once(teacher: StudentSpec, pricing: Pricing) -> None:
    many = list(range(1, 100_001))
    with pytest.raises(SpecError, match="larger step"):
        supply_of(Grid(Space(layers=many, hidden=many, ffn=many), teacher, 64), pricing)


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("limits", [EASY, HARD], ids=["easy", "hard"])
@pytest.mark.parametrize("name", SPACES)
def test_a_search_finds_the_front_and_the_choice_of_looking_at_every_student(
    name: str,
    limits: list[Limit],
    seed: int | None,
    request: pytest.FixtureRequest,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
) -> None:
    family, choices = SPACES[name]
    board = None if seed is None else make_board(noise=0.03, seed=seed)
    compare = "middle" if seed == 2 else "upper"
    space, teacher = Space.model_validate(choices), request.getfixturevalue(family)
    agree(*both(space, teacher, make_profile(peak="10 GMAC/s"), limits, board, compare))


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("limits", [FRUGAL, STARVING], ids=["frugal", "starving"])
@pytest.mark.parametrize("name", ["wide steps", "key heads"])
def test_a_search_under_a_limit_on_energy_finds_what_looking_at_every_student_does(
    name: str,
    limits: list[Limit],
    seed: int | None,
    request: pytest.FixtureRequest,
    make_profile: Callable[..., DeviceProfile],
    make_board: Callable[..., Any],
) -> None:
    """By a power budget without measuring, else by the fit of what a rail told."""
    family, choices = SPACES[name]
    board = None if seed is None else make_board(noise=0.03, seed=seed, watts=4.0)
    profile = make_profile(peak="10 GMAC/s", budget="3 W")
    compare: Compare = "middle" if seed == 2 else "upper"
    agree(*both(Space.model_validate(choices), request.getfixturevalue(family), profile, limits, board, compare))


def agree(whole: Standing, found: Standing, searched: Searched) -> None:
    """The search says what looking at every student says."""
    assert searched.within == 0.0
    assert set(found.pareto) == set(whole.pareto)
    assert len(found.table) < len(whole.table)
    leading = named(whole, whole.table.leading(whole.feasible, 3))
    assert named(found, found.table.leading(found.feasible, 3)) == leading
    assert named(found, next_finalists(found, 3)) == named(whole, next_finalists(whole, 3))
    assert (found.best is None) == (whole.best is None)
    if whole.best is not None and found.best is not None:
        assert named(found, [found.best]) == named(whole, [whole.best])
    if not leading:
        told, expected = (obstacle_of(standing, {}) for standing in (found, whole))
        assert (told.student, told.precision, told.ratio) == (expected.student, expected.precision, expected.ratio)
        assert told.impossible == expected.impossible


def test_a_front_that_is_too_large_is_that_of_a_part_and_says_how_far_off_it_may_be(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(layers=[1, 2, 4, 6], hidden=list(range(32, 385, 32)), ffn=list(range(8, 1537, 4)), min_share=0.0)
    grid = Grid(space, teacher, 64)
    pricing = pricing_of(grid, make_profile(peak="10 GMAC/s"))
    known = known_of(grid, pricing, EASY, None, "upper")
    everyone_known = known.standing(supply_of(grid, pricing).table(known))
    monkeypatch.setattr(supply, "MOST_COMBINATIONS", 6000)
    monkeypatch.setattr(frontier, "MOST_BOXES", 100)
    searched = supply_of(grid, pricing)
    part = known.standing(searched.table(known))
    assert searched.within is not None
    assert 0 < searched.within < 0.2
    kept = front_points(part)
    for latency_s, memory_bytes, capacity in front_points(everyone_known):
        enough = kept[:, 2] * (1 + searched.within) >= capacity
        assert (enough & (kept[:, 0] <= latency_s) & (kept[:, 1] <= memory_bytes)).any()
    # The choice does not depend on it.
    leading = [named(standing, standing.table.leading(standing.feasible, 3)) for standing in (part, everyone_known)]
    assert leading[0] == leading[1]


def front_points(standing: Standing) -> NDArray[np.float64]:
    """Latency, memory and capacity of each candidate on the front."""
    middles = dict(zip(standing.table.precisions, standing.middles, strict=True))
    return np.array(
        [
            (middles[precision][0][row], middles[precision][1][row], standing.table.capacity[row])
            for row, precision in standing.front
        ]
    )


def test_a_search_holds_what_was_measured(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], make_board: Callable[..., Any]
) -> None:
    space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=list(range(32, 385, 32)), ffn=list(range(32, 1537, 32)))
    _, found, _ = both(space, teacher, make_profile(), EASY, make_board())
    assert len(found.rows) == len(found.measured) > 6
    assert found.best is not None


class WideFit(Fit):
    """A fit whose intervals are wider the smaller a student is, so that their upper ends go up and down."""

    def predict_many(self, columns: Mapping[str, NDArray[Any]]) -> Intervals:
        mid = super().predict_many(columns).mid
        factor = np.exp(self.half_width * np.sqrt(1 + (3e-4 / mid) ** 2))
        return Intervals(mid / factor, mid, mid * factor)


def test_upper_ends_that_do_not_grow_with_a_student_do_not_mislead_a_search(
    teacher: StudentSpec, pricing: Pricing, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=list(range(32, 385, 32)), ffn=list(range(8, 1537, 16)))
    grid = Grid(space, teacher, 64)
    fits = {"fp32": Fits(latency=WideFit({"one": 1e-4, "macs": 1e-11}, 0.4, 0.9, 6))}
    known = Known([Limit("latency.p50", "latency_s", 7e-4)], "upper", 3, fits, [], {})
    whole = known.standing(supply_of(grid, pricing).table(known))
    highs = whole.forecasts["fp32"].latency.high
    assert highs[np.argmin(whole.forecasts["fp32"].latency.mid)] > highs.min()
    monkeypatch.setattr(supply, "MOST_COMBINATIONS", 0)
    monkeypatch.setattr(supply, "SAMPLED", 20)
    found = known.standing(supply_of(grid, pricing).table(known))
    leading = named(whole, whole.table.leading(whole.feasible, 3))
    assert len(leading) == 3
    assert named(found, found.table.leading(found.feasible, 3)) == leading


def test_a_space_of_a_billion_is_searched(make_profile: Callable[..., DeviceProfile]) -> None:
    large = StudentSpec(
        architecture="bert", layers=24, hidden=1024, heads=64, ffn=4096, vocabulary=30522, positions=512, token_types=2,
        labels=2,
    )  # fmt: skip
    space = Space.model_validate({
        "layers": {"from": 1, "to": 24}, "hidden": {"from": 1, "to": 1024}, "head_dim": [2, 4, 8, 16],
        "ffn": {"from": 1, "to": 4096}, "sequence": [32, 64, 128],
    })  # fmt: skip
    found = size(
        large, space, Sla.model_validate({"latency": {"p95": "50 ms"}}), make_profile(peak="10 GMAC/s"), Search(),
        precisions=["fp32", "int8"], batch=1, sequence=128, threads=1, measure=None,
    )  # fmt: skip
    assert found.considered > 10**9
    assert found.possible is None
    assert found.chosen is not None
    assert found.chosen.sequence == 128
    assert "was searched" in found.warnings[0]


def test_a_search_that_is_cut_short_says_so_and_chooses_from_a_part(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(layers=[1, 2, 4, 6], hidden=list(range(32, 385, 32)), ffn=list(range(8, 1537, 4)), min_share=0.0)
    grid = Grid(space, teacher, 64)
    pricing = pricing_of(grid, make_profile(peak="10 GMAC/s"))
    known = known_of(grid, pricing, EASY, None, "upper")
    whole = known.standing(supply_of(grid, pricing).table(known))
    monkeypatch.setattr(supply, "MOST_COMBINATIONS", 6000)
    monkeypatch.setattr(boxes, "MOST_BOXES", 10)
    searched = supply_of(grid, pricing)
    part = known.standing(searched.table(known))
    assert "cut short" in searched.warnings[1]
    promised = float(searched.warnings[1].rpartition("by up to ")[2].removesuffix(" %")) / 100
    assert 0 < promised < 0.2
    best, found = (int(each.table.capacity[each.table.leading(each.feasible, 1)[0]]) for each in (whole, part))
    assert best / (1 + promised) <= found <= best
