"""What a student should cost before anything was measured: a latency interval and a memory estimate.

The latency model is the roofline: work divided by peak arithmetic, bytes divided by memory bandwidth, the slower of
the two binds. Real runtimes stay below both roofs by an amount nobody knows beforehand, so the answer is a wide
interval and not a number. A profile without a peak or a bandwidth gives no interval at all: nothing is guessed.
Source: Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgekd.cost.count import Counts
from edgekd.device import DeviceProfile
from edgekd.student import numbers_of

# Our choice, to be replaced by a latency calibration as soon as there is one. A graph of small matrix products at
# batch 1 reaches between a tenth of the peak (short rows, per-operator overhead) and most of it (wide layers).
MID_ARITHMETIC = 0.4
LEAST_ARITHMETIC = 0.1
# Our choice: streaming reaches 60 % of the rated bandwidth, scattered access of a busy board a quarter of it.
MID_BANDWIDTH = 0.6
LEAST_BANDWIDTH = 0.25

# Resident memory of CPython 3.11 with NumPy 2.4 and onnxruntime 1.31 (x86-64, Linux, one thread) beside its model:
# VmHWM was 68.4 MB after running a model of 2.2 MB. Other boards differ; measured peaks replace it.
RUNTIME_BYTES = 66_000_000

# Weights of 4 bits are multiplied with numbers of 8 bits, so the arithmetic is that of int8.
ARITHMETIC = {"int4": "int8"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """An interval for the latency of one inference, and which roof binds.

    `low_s` is the time at the peak itself, which no runtime beats, `mid_s` the one at usual efficiency and `high_s` the
    one at poor efficiency with no overlap of arithmetic and memory traffic. All three are None when `bound` is
    'unknown'; `note` then names what the profile lacks.
    """

    low_s: float | None
    mid_s: float | None
    high_s: float | None
    bound: Literal["compute", "memory", "unknown"]
    note: str


def predict(counts: Counts, profile: DeviceProfile, *, precision: str, threads: int) -> Prediction:
    """The roofline interval of one inference on the kind of board that `profile` describes.

    Weights that stay in a cache between inferences do not travel, so the memory roof is no lower bound of a small
    student: `low_s` counts arithmetic alone.
    """
    rates = rates_of(profile, precision=precision, threads=threads)
    if isinstance(rates, str):
        return Prediction(None, None, None, "unknown", rates)
    low_s, compute_s, memory_s, high_s = roofs(counts.macs, counts.weight_bytes + counts.activation_bytes, rates)
    return Prediction(
        low_s=low_s,
        mid_s=max(compute_s, memory_s),
        high_s=high_s,
        bound="compute" if compute_s >= memory_s else "memory",
        note=f"roofline at {MID_ARITHMETIC:.0%} of peak arithmetic and {MID_BANDWIDTH:.0%} of bandwidth, uncalibrated",
    )


def rates_of(profile: DeviceProfile, *, precision: str, threads: int) -> tuple[float, float] | str:
    """Peak arithmetic (MAC/s) and memory bandwidth (bytes/s) of that kind of board, or what its profile lacks."""
    arithmetic = ARITHMETIC.get(numbers_of(precision), numbers_of(precision))
    peak = profile.peak_macs_per_s(arithmetic, threads)
    bandwidth = _bandwidth(profile, threads)
    if peak is None or bandwidth is None:
        missing = [f"peak_macs_per_s for {arithmetic}"] if peak is None else []
        missing += ["memory_bandwidth_bytes_per_s"] if bandwidth is None else []
        return f"the device profile lacks {' and '.join(missing)}"
    return peak, bandwidth


def roofs(macs: Any, traffic_bytes: Any, rates: tuple[float, float]) -> tuple[Any, Any, Any, Any]:
    """Seconds at the peak, under either roof at usual efficiency, and at poor efficiency; of numbers or of arrays."""
    arithmetic_s, traffic_s = macs / rates[0], traffic_bytes / rates[1]
    high_s = arithmetic_s / LEAST_ARITHMETIC + traffic_s / LEAST_BANDWIDTH
    return arithmetic_s, arithmetic_s / MID_ARITHMETIC, traffic_s / MID_BANDWIDTH, high_s


def _bandwidth(profile: DeviceProfile, threads: int) -> float | None:
    total, one_core = profile.memory_bandwidth_bytes_per_s, profile.core_bandwidth_bytes_per_s
    if total is None or one_core is None:
        return total
    return min(total, threads * one_core)


def predict_memory(counts: Counts, *, runtime_bytes: int = RUNTIME_BYTES) -> int:
    """Peak resident bytes of a process that runs one student: weights, live activations and the runtime itself.

    `runtime_bytes` is what the interpreter and the runtime take without a model; the default says where it is from.
    """
    return counts.weight_bytes + counts.peak_activation_bytes + runtime_bytes
