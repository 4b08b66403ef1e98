"""What the ends of rows take beyond their multiplications, where matrices have 4 bits.

onnxruntime multiplies such a matrix (MatMulNBits) in blocks of 32 inputs. With AVX-512 it takes four blocks at a time,
and the one to three left over one by one, the later ones slower: 320 inputs take longer than 384. So what is left over
is a term of its own; where a runtime does without strides, its price is 0. benchmarks/predictor/strides.py measures it.
It is the one term that may shrink while a dimension grows: whoever needs bounds asks for `least_tails`.
Source: mlas/lib/sqnbitgemm_kernel_avx512_int8_blklen32.h of onnxruntime 1.20 and later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekd.cost.count import BLOCK
from edgekd.cost.trace import Operator

TAILS = "macs.tails"
STRIDE = 4  # blocks that are multiplied at a time


def has_tails(precision: str) -> bool:
    """Whether latencies in `precision` have the term TAILS."""
    return precision == "int4"


def tails(trace: Iterable[Operator]) -> Any:
    """What linear layers multiply outside whole strides; of two or three blocks the second and third count as many.

    A number, or an array where the operators stand for many students at once.
    """
    return sum(op.times * op.elements * left_over(_inputs(op)) for op in _linear(trace))


def least_tails(first: Iterable[Operator], last: Iterable[Operator]) -> Any:
    """What the tails of no student are below whose every dimension lies between those of `first` and of `last`.

    Within a stride tails grow with the inputs; a layer whose inputs may reach a further stride may have none.
    Shapes: those of `tails`. Errors: ValueError when the two do not have as many linear layers.
    """
    found: Any = 0
    for low, high in zip(_linear(first), _linear(last), strict=True):
        certain = _stride(_inputs(low)) == _stride(_inputs(high))
        found = found + low.times * low.elements * left_over(_inputs(low)) * certain
    return found


def left_over(inputs: Any) -> Any:
    """How many inputs the blocks outside whole strides count as: 32, 96 or 192 for one, two or three of them.

    Our choice: 1 to 3 to 6 lies between what they take beyond their share of a stride for one row and for many, as
    measured in benchmarks/results/predictor_strides.
    """
    blocks = -(-inputs // BLOCK) % STRIDE
    return blocks * (blocks + 1) // 2 * BLOCK


def _linear(trace: Iterable[Operator]) -> list[Operator]:
    return [op for op in trace if op.kind == "linear"]


def _stride(inputs: Any) -> Any:
    return -(-inputs // BLOCK) // STRIDE


def _inputs(op: Operator) -> Any:
    return op.matrix // op.channels
