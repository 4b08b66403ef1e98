"""What a student costs, counted exactly from its spec: parameters, MACs, bytes of weights and of activations.

Everything is a sum over the operators of one forward pass; see operators.py for the models and heads meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from edgekd.cost.operators import Group, Operator, operators
from edgekd.errors import SpecError
from edgekd.student import PRECISIONS, StudentSpec

FLOAT_BYTES = 4
QUANTISED_BYTES = 1
# Quantisation per channel stores one fp32 scale and one int8 zero point with every output channel of a matrix.
CHANNEL_BYTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Macs:
    """Multiply-accumulates per class of operators; 1 MAC = 2 FLOP.

    `embeddings` holds the patch projection of a ViT (lookups cost none), `projections` the query, key, value and output
    matrices, `attention` scores and context, `head` pooler, classifier or language-model head.
    """

    embeddings: int
    projections: int
    attention: int
    feed_forward: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embeddings + self.projections + self.attention + self.feed_forward + self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Everything counted for one student, input shape and precision. `macs` is the total of `breakdown`."""

    parameters: int
    macs: int
    breakdown: Macs
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    batch: int
    sequence: int
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def parameters(spec: StudentSpec) -> int:
    """Parameters of the transformers model built from `spec`; tied weights count once. Errors: SpecError."""
    return _parameters(operators(spec, batch=1, sequence=spec.tokens or 1))


def macs(spec: StudentSpec, *, batch: int, sequence: int) -> Macs:
    """MACs of one forward pass. Causal attention counts the whole square of scores, as dense kernels compute it.

    Shapes: `sequence` tokens per input; a ViT has its own, spec.tokens (0 stands for it).
    Errors: SpecError.
    """
    return _macs(operators(spec, batch=batch, sequence=sequence))


def weight_bytes(spec: StudentSpec, precision: str) -> int:
    """Bytes of the weights in the exported file of `precision`.

    fp32 takes 4 bytes per parameter. int8 is dynamic quantisation of MatMul and Gemm as `edgekd.export.quantize` does
    it: 1 byte per weight of a linear layer plus 5 per output channel for its scale and zero point; embeddings, patch
    projection, norms and biases stay fp32. A head tied to the embeddings is a second copy of the table, because a
    matrix product reads it transposed and a lookup does not.
    Errors: SpecError.
    """
    return _weight_bytes(operators(spec, batch=1, sequence=spec.tokens or 1), _checked_precision(precision))


def activation_bytes(spec: StudentSpec, *, batch: int, sequence: int, precision: str) -> int:
    """Bytes that one forward pass writes: the traffic of activations, whatever memory is reused.

    Counted are the outputs of every leaf module of the transformers model (dropout, which does nothing at inference,
    left out; the rotary module gives a cosine and a sine), the attention scores of every query head and the context, 4
    bytes per element. Not counted: inputs, masks, residual sums, copies made by reshaping. int8 adds the uint8 copy of
    every distinct tensor that a linear layer reads, 1 byte per element; all outputs stay fp32.
    Errors: SpecError.
    """
    trace = operators(spec, batch=batch, sequence=sequence)
    return _activation_bytes(trace, _checked_precision(precision))


def peak_activation_bytes(spec: StudentSpec, *, batch: int, sequence: int, precision: str) -> int:
    """Bytes of the largest set of activations alive at one time under a simple schedule.

    The schedule: operators run one by one in the order of the model; each writes a new tensor, which is freed after its
    last reader; an element-wise operator (activation function, rotation, residual sum, product with a gate) overwrites
    its first input when nobody reads that again; softmax overwrites the scores; key heads are shared, not repeated.
    With int8, the uint8 copy of a linear layer's input lives while that layer runs. Inputs and masks are not counted.
    Errors: SpecError.
    """
    trace = operators(spec, batch=batch, sequence=sequence)
    return _peak_bytes(trace, _checked_precision(precision))


def count(spec: StudentSpec, *, batch: int, sequence: int, precision: str) -> Counts:
    """Everything counted for `spec` at once. Errors: SpecError."""
    return count_each(spec, (precision,), batch=batch, sequence=sequence)[precision]


def count_each(spec: StudentSpec, precisions: Sequence[str], *, batch: int, sequence: int) -> dict[str, Counts]:
    """What `count` gives for each of `precisions`, from one list of operators. Errors: SpecError."""
    trace = operators(spec, batch=batch, sequence=sequence)
    breakdown, weights = _macs(trace), _parameters(trace)
    return {
        precision: Counts(
            parameters=weights,
            macs=breakdown.total,
            breakdown=breakdown,
            weight_bytes=_weight_bytes(trace, _checked_precision(precision)),
            activation_bytes=_activation_bytes(trace, precision),
            peak_activation_bytes=_peak_bytes(trace, precision),
            batch=batch,
            sequence=spec.tokens or sequence,
            precision=precision,
        )
        for precision in precisions
    }


def _parameters(trace: Iterable[Operator]) -> int:
    return sum(op.times * (op.floats + (0 if op.shared else op.matrix)) for op in trace)


def _macs(trace: Iterable[Operator]) -> Macs:
    sums = dict.fromkeys(get_args(Group), 0)
    for op in trace:
        sums[op.group] += op.times * op.macs
    return Macs(**sums)


def _weight_bytes(trace: list[Operator], precision: str) -> int:
    if precision == "fp32":
        return FLOAT_BYTES * sum(op.times * (op.matrix + op.floats) for op in trace)
    matrices = sum(op.times * (QUANTISED_BYTES * op.matrix + CHANNEL_BYTES * op.channels) for op in trace)
    return matrices + FLOAT_BYTES * sum(op.times * op.floats for op in trace)


def _activation_bytes(trace: list[Operator], precision: str) -> int:
    total = FLOAT_BYTES * sum(op.times * op.elements for op in trace if op.counted)
    if precision == "int8":
        copies = {op.reads[0]: op.times * op.input_elements for op in trace if op.matrix}
        total += QUANTISED_BYTES * sum(copies.values())
    return total


def _peak_bytes(trace: list[Operator], precision: str) -> int:
    last_reader = {name: index for index, op in enumerate(trace) for name in op.reads}
    alive: dict[str, int] = {}
    peak = total = 0
    for index, op in enumerate(trace):
        if op.overwrites and last_reader[op.reads[0]] == index:
            total -= alive.pop(op.reads[0])
        alive[op.name] = FLOAT_BYTES * op.elements
        total += alive[op.name]
        copy = QUANTISED_BYTES * op.input_elements if precision == "int8" else 0
        peak = max(peak, total + copy)
        for name in op.reads:
            if last_reader[name] == index:
                total -= alive.pop(name, 0)
    return peak


def _checked_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise SpecError(f"found the precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    return precision
