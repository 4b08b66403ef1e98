"""Quantities: parse what a person writes, format what a person reads. SI inside; the only place that knows 1e3.

Seconds and bytes are plain numbers elsewhere and carry their unit in the name (`latency_s`, `memory_bytes`). Work is
counted in MACs, multiply-accumulates: 1 MAC = 2 FLOP.
"""

from __future__ import annotations

import math
import re

from edgekd.errors import UnitError

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_JOULES = {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ%]*)\s*")

NS_PER_S = 1_000_000_000


def _split(text: str, units: dict[str, float] | dict[str, int], example: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"found {text!r}, expected a positive number with a unit, such as {example!r}")
    number, unit = float(match[1]), match[2]
    if unit not in units:
        found = f"the unit {unit!r}" if unit else "no unit"
        raise UnitError(f"found {found} in {text!r}, expected one of {', '.join(units)}, such as {example!r}")
    if not math.isfinite(number):
        raise UnitError(f"found {text!r}, which is not a finite number; write a value such as {example!r}")
    return number, unit


def duration_s_from_text(text: str) -> float:
    """Seconds from '5 ms', '1.5s', '3 min'. Errors: UnitError without a known unit."""
    number, unit = _split(text, _SECONDS, "5 ms")
    return number * _SECONDS[unit]


def joules_from_text(text: str) -> float:
    """Joules from '20 mJ', '1.5 J'. Errors: UnitError without a known unit."""
    number, unit = _split(text, _JOULES, "20 mJ")
    return number * _JOULES[unit]


def bytes_from_text(text: str) -> int:
    """Whole bytes from '200 MB' (10^6) or '200 MiB' (2^20). Errors: UnitError without a known unit."""
    number, unit = _split(text, _BYTES, "200 MB")
    return round(number * _BYTES[unit])


def share_from_text(text: str) -> float:
    """A share from '2 %' or '0.02'; at most 1. Errors: UnitError."""
    number, unit = _split(text, {"": 1.0, "%": 0.01}, "2 %")
    share = number * (0.01 if unit == "%" else 1.0)
    if share > 1:
        raise UnitError(f"found {text!r}, expected a share between 0 and 1 or 0 % and 100 %")
    return share


def seconds_from_ns(value_ns: float) -> float:
    """Seconds from nanoseconds."""
    return value_ns / NS_PER_S


def text_from_s(value_s: float) -> str:
    """'1.23 ms', '45.0 µs', '2.50 s', '3 min 20 s': three significant digits in the unit a person would choose."""
    if not math.isfinite(value_s):
        return "unknown"
    size = abs(value_s)
    if size >= 100:
        whole = round(value_s)
        return f"{whole // 60} min {whole % 60} s"
    for limit, factor, unit in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (1e-6, 1e6, "µs")):
        if size >= limit:
            return f"{_three_digits(value_s * factor)} {unit}"
    return f"{_three_digits(value_s * 1e9)} ns"


def text_from_j(value_j: float) -> str:
    """'1.23 mJ', '45.0 µJ', '2.50 J'."""
    if not math.isfinite(value_j):
        return "unknown"
    for limit, factor, unit in ((1.0, 1.0, "J"), (1e-3, 1e3, "mJ")):
        if abs(value_j) >= limit:
            return f"{_three_digits(value_j * factor)} {unit}"
    return f"{_three_digits(value_j * 1e6)} µJ"


def text_from_bytes(value: float) -> str:
    """'1.23 MB', '4.00 kB', '12 B' (powers of ten)."""
    if not math.isfinite(value):
        return "unknown"
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(value) >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{round(value)} B"


def text_from_count(value: float) -> str:
    """'22.7 M', '1.20 k', '35': a count of parameters or MACs."""
    for factor, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{round(value)}"


def text_from_share(value: float, digits: int = 1) -> str:
    """'97.3 %'."""
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "unknown"


def _three_digits(value: float) -> str:
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"
