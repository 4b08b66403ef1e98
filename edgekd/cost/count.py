"""What a student costs, counted exactly from its spec: parameters, MACs, bytes of weights and of activations.

Everything is a sum over the operators of one forward pass; see operators.py for the models and heads meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from edgekd.cost.operators import operators
from edgekd.cost.trace import Group, Operator
from edgekd.errors import SpecError
from edgekd.networks.spec import Spec
from edgekd.student import PRECISIONS, StudentSpec, numbers_of

FLOAT_BYTES = 4
HALF_BYTES = 2
QUANTISED_BYTES = 1
# Quantisation per channel stores one fp32 scale and one int8 zero point with every output channel of a matrix.
CHANNEL_BYTES = 5
# In 4 bits every BLOCK numbers of an output channel share one fp32 scale; the last block of a channel is a whole one.
BLOCK = 32
BLOCK_BYTES = BLOCK // 2 + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Macs:
    """Multiply-accumulates per class of operators; 1 MAC = 2 FLOP.

    `embeddings` holds the patch projection of a ViT or a mixer (lookups cost none), `projections` the query, key, value
    and output matrices, `attention` scores and context, `head` pooler, classifier or language-model head.
    `convolution` holds the convolutions over all channels, those of squeeze-and-excitation included, `depthwise` those
    of single channels. `token_mixing` holds the layers across the patches of a mixer, `feed_forward` its others.
    """

    embeddings: int = 0
    projections: int = 0
    attention: int = 0
    feed_forward: int = 0
    head: int = 0
    convolution: int = 0
    depthwise: int = 0
    token_mixing: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())


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


def parameters(spec: Spec) -> int:
    """Parameters of the model built from `spec`; tied weights count once. Errors: SpecError."""
    return parameter_sum(operators(spec, batch=1, sequence=spec.tokens or 1))


def macs(spec: Spec, *, batch: int, sequence: int) -> Macs:
    """MACs of one forward pass. Causal attention counts the whole square of scores, as dense kernels compute it.

    Shapes: `sequence` tokens per input; a network of images has its own, spec.tokens (0 stands for it).
    Errors: SpecError.
    """
    return Macs(**mac_sums(operators(spec, batch=batch, sequence=sequence)))


def weight_bytes(spec: Spec, precision: str) -> int:
    """Bytes of the weights in the exported file of `precision`.

    fp32 takes 4 bytes per parameter, fp16 takes 2. int8 is dynamic quantisation of MatMul and Gemm as
    `edgekd.export.quantize` does it: 1 byte per weight of a linear layer plus 5 per output channel for its scale and
    zero point; embeddings, convolutions, norms and biases stay fp32. int4 is that of `edgekd.export.weight_only`: 20
    bytes for every 32 weights of an output channel, the last block of each filled up. A head tied to the embeddings is
    a second copy of the table, because a matrix product reads it transposed and a lookup does not. A batch norm is
    folded into the convolution before it: a bias is what is left of it. An encoder-decoder is two files, encoder and
    decoder, and the table is in both.
    Errors: SpecError.
    """
    return weight_sum(operators(spec, batch=1, sequence=spec.tokens or 1), precision)


def activation_bytes(spec: Spec, *, batch: int, sequence: int, precision: str) -> int:
    """Bytes that one forward pass writes: the traffic of activations, whatever memory is reused.

    Counted are the outputs of every leaf module of the model (dropout, which does nothing at inference, left out, and
    batch norm and padding, which become a part of their convolution; the rotary module gives a cosine and a sine), the
    attention scores of every query head and the context, 4 bytes per element. Not counted: inputs, masks, residual
    sums, copies made by reshaping. In fp16 an element takes 2 bytes. int8 and int4 add the 8-bit copy of every distinct
    tensor that a linear layer reads, 1 byte per element; all outputs stay fp32.
    Errors: SpecError.
    """
    trace = operators(spec, batch=batch, sequence=sequence)
    return activation_sum(trace, precision)


def peak_activation_bytes(spec: Spec, *, batch: int, sequence: int, precision: str) -> int:
    """Bytes of the largest set of activations alive at one time under a simple schedule.

    The schedule: operators run one by one in the order of the model; each writes a new tensor, which is freed after its
    last reader; an element-wise operator (activation function, rotation, residual sum, product with a gate) overwrites
    its first input when nobody reads that again; softmax overwrites the scores; key heads are shared, not repeated.
    With int8 and int4, the 8-bit copy of a linear layer's input lives while that layer runs. Inputs and masks are not
    counted. fp16 counts 2 bytes per element, which holds where the runtime has such kernels.
    Errors: SpecError.
    """
    trace = operators(spec, batch=batch, sequence=sequence)
    peak: int = peak_sum(trace, precision)
    return peak


def count(spec: Spec, *, batch: int, sequence: int, precision: str, past: int = 0, target: int = 1) -> Counts:
    """Everything counted for `spec` at once; a decoder may have `past` tokens in its cache. Errors: SpecError.

    Shapes: `sequence` tokens per input; an encoder-decoder encodes them and decodes `target` (see operators.py).
    """
    return count_each(spec, (precision,), batch=batch, sequence=sequence, past=past, target=target)[precision]


def count_each(
    spec: Spec, precisions: Sequence[str], *, batch: int, sequence: int, past: int = 0, target: int = 1
) -> dict[str, Counts]:
    """What `count` gives for each of `precisions`, from one list of operators. Errors: SpecError."""
    trace = operators(spec, batch=batch, sequence=sequence, past=past, target=target)
    # A step of an encoder-decoder leaves its encoder out; the model still has it.
    is_step = past and spec.family == "encoder-decoder"
    whole = operators(spec, batch=batch, sequence=sequence) if is_step else trace
    breakdown, weights = Macs(**mac_sums(trace)), parameter_sum(whole)
    return {
        precision: Counts(
            parameters=weights,
            macs=breakdown.total,
            breakdown=breakdown,
            weight_bytes=weight_sum(whole, precision),
            activation_bytes=activation_sum(trace, precision),
            peak_activation_bytes=peak_sum(trace, precision),
            batch=batch,
            sequence=spec.tokens or sequence,
            precision=precision,
        )
        for precision in precisions
    }


def cache_bytes(spec: Spec, *, batch: int, tokens: int, source: int = 0) -> int:
    """Bytes of the keys and values that a decoder keeps of `tokens` tokens, fp32; other families keep none.

    The decoder of an encoder-decoder also keeps those of the `source` tokens that were encoded.
    """
    if not isinstance(spec, StudentSpec) or spec.family not in ("decoder", "encoder-decoder"):
        return 0
    layers, kept = (spec.layers, tokens) if spec.family == "decoder" else (spec.decoder_layers, tokens + source)
    return FLOAT_BYTES * 2 * layers * batch * kept * spec.kv_heads * spec.head_dim


def parameter_sum(trace: Iterable[Operator]) -> int:
    """Parameters of the operators in `trace`; shared ones count once."""
    return sum(op.times * (0 if op.shared else op.floats + op.matrix + op.kernel) for op in trace)


def mac_sums(trace: Iterable[Operator]) -> dict[str, int]:
    """MACs by group of operators."""
    sums = dict.fromkeys(get_args(Group), 0)
    for op in trace:
        sums[op.group] = sums[op.group] + op.times * op.macs
    return sums


def weight_sum(trace: Sequence[Operator], precision: str) -> int:
    """Bytes of the weights in `trace`, as weight_bytes counts them. Errors: SpecError for an unknown precision."""
    size = float_bytes(precision)
    total = size * sum(op.times * (op.floats + op.kernel + op.surplus) for op in trace)
    if numbers_of(precision) == "int8":
        return total + sum(op.times * (QUANTISED_BYTES * op.matrix + CHANNEL_BYTES * op.channels) for op in trace)
    if precision == "int4":
        linear = [op for op in trace if op.kind == "linear"]
        return total + BLOCK_BYTES * sum(
            op.times * op.channels * -(-op.matrix // op.channels // BLOCK) for op in linear
        )
    return total + size * sum(op.times * op.matrix for op in trace)


def activation_sum(trace: Sequence[Operator], precision: str) -> int:
    """Bytes that `trace` writes, as activation_bytes counts them. Errors: SpecError for an unknown precision."""
    total = float_bytes(precision) * sum(op.times * op.elements for op in trace if op.counted)
    if reads_quantised(precision):
        linear = (op for op in trace if op.kind == "linear")
        copies = {op.reads[0]: (1 if op.same_input else op.times) * op.input_elements for op in linear}
        total = total + QUANTISED_BYTES * sum(copies.values())
    return total


def peak_sum(trace: Sequence[Operator], precision: str, larger: Callable[[Any, Any], Any] = max) -> Any:
    """The largest set of live bytes of `trace`, as peak_activation_bytes has it; `larger` takes the larger of two.

    Errors: SpecError for an unknown precision.
    """
    size, copied = float_bytes(precision), QUANTISED_BYTES if reads_quantised(precision) else 0
    last_reader = {name: index for index, op in enumerate(trace) for name in op.reads}
    alive: dict[str, Any] = {}
    peak: Any = 0
    total: Any = 0
    for index, op in enumerate(trace):
        if op.overwrites and last_reader[op.reads[0]] == index:
            total = total - alive.pop(op.reads[0])
        alive[op.name] = size * op.elements
        total = total + alive[op.name]
        peak = larger(peak, total + copied * op.input_elements)
        for name in op.reads:
            if last_reader[name] == index:
                total = total - alive.pop(name, 0)
    return peak


def reads_quantised(precision: str) -> bool:
    """Whether a matrix product quantises the numbers that it reads."""
    return numbers_of(precision) in ("int8", "int4")


def float_bytes(precision: str) -> int:
    """Bytes of a number that is not quantised. Errors: SpecError for an unknown precision."""
    if precision not in PRECISIONS:
        raise SpecError(f"found the precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    return HALF_BYTES if precision == "fp16" else FLOAT_BYTES
