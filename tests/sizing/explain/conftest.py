"""What is known of a small space, with fits whose prices are given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from edgekd.cost.calibrate import Fit
from edgekd.cost.terms import TERMS
from edgekd.device import DeviceProfile
from edgekd.sizing.explain.known import Known, placed
from edgekd.sizing.forecast import Fits
from edgekd.student import StudentSpec

SEQUENCE = 64
SHORT = {"one": 1e-4, "layers": 4e-5, "macs": 1e-11, "weight_bytes": 3e-12, "activation_bytes": 2e-10}
WHOLE = {"one": 5e-5} | {name: 1e-10 / (1 + index) for index, name in enumerate(TERMS)} | {"starts": 2e-6}


def fit_of(prices: Mapping[str, float], half_width: float = 0.1) -> Fit:
    return Fit(prices, half_width, 0.86, 6)


def fits_of(latency: Mapping[str, float], energy: Fit | None = None) -> Fits:
    memory = {"one": 7e7, "weight_bytes": 1.1, "peak_activation_bytes": 2.0}
    size = {"one": 2e4, "layers": 1.6e4, "weight_bytes": 1.0}
    return Fits(fit_of(latency), fit_of(memory, 0.02), fit_of(size, 0.02), energy)


ENERGY = Fit({"latency_s": 4.0, "macs": 3e-11, "traffic_bytes": 1e-10}, 0.05, 0.9, 12)


def space_of(teacher: StudentSpec) -> list[StudentSpec]:
    """Layers 1 to 3, half and whole width, ffn twice and four times as wide."""
    found = []
    for layers, part, ratio in itertools.product((1, 2, 3), (2, 1), (2, 4)):
        sizes = {"hidden": teacher.hidden // part, "heads": teacher.heads // part, "kv_heads": teacher.kv_heads // part}
        ffn = min(ratio * teacher.hidden // part, teacher.ffn)
        found.append(replace(teacher, layers=layers, ffn=ffn, **sizes))
    return list(dict.fromkeys(found))


@pytest.fixture
def families(teacher: StudentSpec, vit: StudentSpec, llama: StudentSpec) -> list[StudentSpec]:
    gpt2 = StudentSpec(
        architecture="gpt2", layers=4, hidden=64, heads=4, ffn=256, vocabulary=500, positions=128, labels=3
    )
    return [teacher, replace(teacher, layers=1), vit, llama, gpt2]


@pytest.fixture
def make_known(make_profile: Callable[..., DeviceProfile], teacher: StudentSpec) -> Callable[..., Known]:
    def make(
        of: StudentSpec = teacher,
        *,
        latency: Mapping[str, float] | None = WHOLE,
        rails: bool = False,
        **changes: Any,
    ) -> Known:
        energy = ENERGY if rails else None
        students = {spec.name: placed(spec, of.tokens or SEQUENCE) for spec in space_of(of)}
        known = Known(
            teacher=placed(of, SEQUENCE),
            profile=make_profile(peak="20 GMAC/s"),
            precisions=("fp32", "int8"),
            batch=1,
            threads=1,
            students=students,
            limits=[],
            fits={} if latency is None else {name: fits_of(latency, energy) for name in ("fp32", "int8")},
            forecasts={},
            measurements={},
            chosen=None,
            fitting=[],
            nearest=None,
            ffn_follows=True,
        )
        return replace(known, **changes)

    return make
