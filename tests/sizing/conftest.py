from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from edgekd.cost.count import Counts, count
from edgekd.device import DeviceProfile
from edgekd.sizing.forecast import Measurement
from edgekd.student import Candidate, StudentSpec

SEQUENCE = 64


class SyntheticBoard:
    """A host whose true latencies are known: overhead, layers, arithmetic and traffic, with seeded noise on top.

    With `watts` it has a rail, whose static power that is; each MAC takes some more.
    """

    def __init__(
        self,
        *,
        noise: float = 0.01,
        seed: int = 0,
        wild: Mapping[str, float] | None = None,
        watts: float | None = None,
    ) -> None:
        self.noise = noise
        self.watts = watts
        self.rng = random.Random(seed)
        self.wild = dict(wild or {})
        self.calls: list[list[str]] = []

    def true_s(self, candidate: Candidate) -> float:
        counts = self.counts(candidate)
        rate = 2e10 if candidate.precision == "fp32" else 5e10
        return 1e-4 + 4e-5 * candidate.spec.layers + counts.macs / rate + counts.activation_bytes / 8e9

    def true_j(self, candidate: Candidate) -> float:
        return (self.watts or 0.0) * self.true_s(candidate) + 4e-11 * self.counts(candidate).macs

    def true_memory_bytes(self, candidate: Candidate) -> int:
        return round(70e6 + 1.4 * self.counts(candidate).weight_bytes)

    def counts(self, candidate: Candidate) -> Counts:
        sequence = candidate.spec.tokens or candidate.sequence or SEQUENCE
        return count(candidate.spec, batch=1, sequence=sequence, precision=candidate.precision)

    def __call__(self, candidates: Sequence[Candidate]) -> dict[str, Measurement]:
        self.calls.append([candidate.name for candidate in candidates])
        return {candidate.name: self.measure(candidate) for candidate in candidates}

    def measure(self, candidate: Candidate) -> Measurement:
        latency_s = self.true_s(candidate) * math.exp(self.rng.gauss(0, self.noise))
        # A wild candidate is disturbed the first time it is measured, and the first time only.
        latency_s *= self.wild.pop(candidate.name, 1.0)
        size = self.counts(candidate).weight_bytes + 30_000 * candidate.spec.layers
        memory = self.true_memory_bytes(candidate)
        found = Measurement(latency_s, 0.03, latency_s * 0.99, latency_s * 1.01, memory, size)
        if self.watts is None:
            return found
        energy_j = self.true_j(candidate) * math.exp(self.rng.gauss(0, self.noise))
        ends = {"energy_low_j": 0.99 * energy_j, "energy_high_j": 1.01 * energy_j, "rail": "VDD_IN"}
        return replace(found, energy_j=energy_j, **ends)

    @property
    def measured(self) -> list[str]:
        return [name for call in self.calls for name in call]


@pytest.fixture
def make_board() -> Callable[..., SyntheticBoard]:
    return SyntheticBoard


@pytest.fixture
def teacher() -> StudentSpec:
    return StudentSpec(
        architecture="bert",
        layers=6,
        hidden=384,
        heads=12,
        ffn=1536,
        vocabulary=8000,
        positions=128,
        token_types=2,
        labels=2,
    )


@pytest.fixture
def vit() -> StudentSpec:
    return StudentSpec(
        architecture="vit",
        layers=6,
        hidden=192,
        heads=6,
        ffn=768,
        labels=10,
        image_size=32,
        patch_size=4,
        channels=3,
    )


@pytest.fixture
def llama() -> StudentSpec:
    return StudentSpec(
        architecture="llama",
        layers=8,
        hidden=512,
        heads=8,
        kv_heads=4,
        ffn=1024,
        vocabulary=4000,
        positions=256,
    )


@pytest.fixture
def make_profile() -> Callable[..., DeviceProfile]:
    def make(*, peak: str | None = None, memory: str | None = None, budget: str | None = None) -> DeviceProfile:
        def sourced(value: object) -> dict[str, object]:
            return {"value": value, "source": "measured 2026-01-01: a test"}

        cluster: dict[str, object] = {"core": "test", "count": sourced(2)}
        memories: dict[str, object] = {}
        if peak is not None:
            cluster["macs_per_s"] = {"fp32": sourced(peak), "int8": sourced(peak)}
            memories["bandwidth"] = sourced("10 GB/s")
        if memory is not None:
            memories["sizes"] = [sourced(memory)]
        return DeviceProfile.model_validate(
            {
                "name": "test",
                "title": "test",
                "kind": "generic",
                "isa": "x86_64",
                "clusters": [cluster],
                "memory": memories,
                "power_modes": [] if budget is None else [{"name": "most", "budget": sourced(budget)}],
            }
        )

    return make
