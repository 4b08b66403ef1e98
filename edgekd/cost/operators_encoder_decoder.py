"""The operators of a forward pass of an encoder-decoder: T5ForConditionalGeneration, BartForConditionalGeneration.

A T5 adds a bias by distance to the scores of its first attention and keeps it for all layers of the stack; the bias of
zeros that transformers adds in cross attention is left out. Scalings by a constant are left out as elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.cost.trace import Group, Operator, active, in_place, linear
from edgekd.student import StudentSpec


def operators(spec: StudentSpec, *, batch: int, sequence: int, target: int, past: int) -> list[Operator]:
    """The operators of one forward pass in order; of more than two equal layers the second stands for the rest.

    With `past` 0 the encoder reads `sequence` tokens, the decoder `target` ones, and the keys and values of the encoded
    tokens are made for all decoder layers. With `past` > 0 the decoder alone runs: it has the keys and values of `past`
    tokens of its own and of the `sequence` encoded ones in its cache.
    """
    trace: list[Operator] = []
    if not past:
        trace = _encoder(_Stack(spec, "encoder.", batch, sequence))
    return trace + _decoder(_Stack(spec, "decoder.", batch, target, past=past, encoded=sequence))


@dataclass(frozen=True, slots=True)
class _Stack:
    """One of the two stacks: its tokens per input, those in its cache, and those that the encoder has read."""

    spec: StudentSpec
    at: str
    batch: int
    tokens: int
    past: int = 0
    encoded: int = 0

    @property
    def rows(self) -> int:
        return self.batch * self.tokens

    @property
    def stream(self) -> int:
        return self.rows * self.spec.hidden

    @property
    def width(self) -> int:
        return self.spec.heads * self.spec.head_dim

    @property
    def seen(self) -> int:
        return self.past + self.tokens

    @property
    def is_t5(self) -> bool:
        return self.spec.architecture == "t5"

    def norm(self, name: str, group: Group, source: str, times: int = 1) -> Operator:
        floats = self.spec.hidden * (1 if self.is_t5 else 2)
        return Operator(name, group, "norm", (source,), self.stream, floats=floats, times=times)


def _encoder(stack: _Stack) -> list[Operator]:
    trace = _embeddings(stack)
    for index in range(min(stack.spec.layers, 2)):
        times = 1 if index == 0 else stack.spec.layers - 1
        at, source = f"{stack.at}layer{index}.", trace[-1].name
        trace += _wrapped(stack, f"{at}self.", source, "attention", times, is_first=index == 0)
        trace += _wrapped(stack, f"{at}ffn.", trace[-1].name, "feed_forward", times)
    return [*trace, stack.norm("encoded", "head", trace[-1].name)] if stack.is_t5 else trace


def _decoder(stack: _Stack) -> list[Operator]:
    spec = stack.spec
    encoded = "encoded" if stack.is_t5 else f"encoder.layer{min(spec.layers, 2) - 1}.ffn.out"
    trace = _embeddings(stack)
    for index in range(min(spec.decoder_layers, 2)):
        times = 1 if index == 0 else spec.decoder_layers - 1
        at, source = f"{stack.at}layer{index}.", trace[-1].name
        trace += _wrapped(stack, f"{at}self.", source, "attention", times, is_first=index == 0)
        trace += _wrapped(stack, f"{at}cross.", trace[-1].name, "attention", times, encoded=encoded)
        trace += _wrapped(stack, f"{at}ffn.", trace[-1].name, "feed_forward", times)
    if stack.is_t5:
        trace.append(stack.norm("last", "head", trace[-1].name))
    sizes = (stack.rows, spec.hidden, spec.vocabulary)
    trace.append(linear("logits", "head", trace[-1].name, sizes, bias=False, shared=spec.tied))
    if stack.is_t5:
        return trace
    # A buffer of zeros, no parameter, that a BART adds to its logits.
    biased = in_place("logits_biased", "head", ("logits",), stack.rows * spec.vocabulary)
    return [*trace, biased._replace(surplus=spec.vocabulary)]


def _embeddings(stack: _Stack) -> list[Operator]:
    spec, at = stack.spec, stack.at
    is_again = at == "decoder."  # the table is that of the encoder once more
    table = spec.vocabulary * spec.hidden
    words = Operator(f"{at}words", "embeddings", "lookup", (), stack.stream, floats=table, shared=is_again)
    if stack.is_t5:
        return [words]
    # transformers gives the encoder its positions once for each input of a batch, the decoder once for all.
    made = spec.hidden * (stack.tokens if is_again else stack.rows)
    rows = spec.positions + 2  # the table of a BART begins with two rows that are never used
    positions = Operator(f"{at}positions", "embeddings", "lookup", (), made, floats=rows * spec.hidden)
    summed = in_place(f"{at}summed", "embeddings", (words.name, positions.name), stack.stream)
    return [words, positions, summed, stack.norm(f"{at}embedded", "embeddings", summed.name)]


def _wrapped(
    stack: _Stack, at: str, source: str, group: Group, times: int, *, is_first: bool = False, encoded: str = ""
) -> list[Operator]:
    """A block with its norm and its residual sum: the norm comes first in a T5 and last in a BART."""
    before = [stack.norm(f"{at}before", group, source, times)] if stack.is_t5 else []
    inner = before[0].name if before else source
    if group == "feed_forward":
        block = _feed_forward(stack, at, inner, times)
    elif encoded:
        block = _cross_attention(stack, at, inner, encoded, times)
    else:
        block = _self_attention(stack, at, inner, times, is_first=is_first)
    name = f"{at}out" if stack.is_t5 else f"{at}sum"
    added = in_place(name, group, (block[-1].name, source), stack.stream, times=times)
    after = [] if stack.is_t5 else [stack.norm(f"{at}out", group, added.name, times)]
    return [*before, *block, added, *after]


def _self_attention(stack: _Stack, at: str, source: str, times: int, *, is_first: bool) -> list[Operator]:
    made = [_projection(stack, f"{at}{name}", source, stack.rows, times) for name in ("query", "key", "value")]
    key, value = f"{at}key", f"{at}value"
    if stack.past:
        kept = 2 * stack.batch * stack.seen * stack.width
        made.append(Operator(f"{at}cache", "attention", "cache", (key, value), kept, counted=False, times=times))
        key = value = f"{at}cache"
    if stack.is_t5 and is_first:
        heads = stack.spec.heads
        elements, table = stack.tokens * stack.seen * heads, stack.spec.positions * heads
        made.append(Operator(f"{stack.at}bias", "embeddings", "lookup", (), elements, floats=table))
    bias = f"{stack.at}bias" if stack.is_t5 else ""
    return [*made, *_attended(stack, at, (key, value), stack.seen, times, bias=bias)]


def _cross_attention(stack: _Stack, at: str, source: str, encoded: str, times: int) -> list[Operator]:
    made = [_projection(stack, f"{at}query", source, stack.rows, times)]
    if stack.past:
        return [*made, *_attended(stack, at, (), stack.encoded, times)]
    rows = stack.batch * stack.encoded
    made += [
        _projection(stack, f"{at}{name}", encoded, rows, times)._replace(same_input=True) for name in ("key", "value")
    ]
    return [*made, *_attended(stack, at, (f"{at}key", f"{at}value"), stack.encoded, times)]


def _projection(stack: _Stack, name: str, source: str, rows: int, times: int) -> Operator:
    sizes = (rows, stack.spec.hidden, stack.width)
    return linear(name, "projections", source, sizes, bias=not stack.is_t5, times=times)


def _attended(
    stack: _Stack, at: str, key_and_value: tuple[str, ...], seen: int, times: int, *, bias: str = ""
) -> list[Operator]:
    """Scores, context and output projection. Keys and values that come in from a cache are tensors that nobody made."""
    calls = stack.batch * stack.spec.heads
    elements = calls * stack.tokens * seen
    work = elements * stack.spec.head_dim
    scores = f"{at}scores"
    reads = (f"{at}query", *key_and_value[:1])
    made = [Operator(scores, "attention", "product", reads, elements, work, times=times, calls=calls)]
    if bias:
        made.append(in_place(f"{at}biased", "attention", (scores, bias), elements, times=times))
        scores = f"{at}biased"
    reads = (scores, *key_and_value[1:])
    wide = stack.rows * stack.width
    made.append(Operator(f"{at}context", "attention", "product", reads, wide, work, times=times, calls=calls))
    sizes = (stack.rows, stack.width, stack.spec.hidden)
    return [*made, linear(f"{at}mixed", "projections", f"{at}context", sizes, bias=not stack.is_t5, times=times)]


def _feed_forward(stack: _Stack, at: str, source: str, times: int) -> list[Operator]:
    hidden, inner, rows = stack.spec.hidden, stack.spec.ffn, stack.rows
    group: Group = "feed_forward"
    bias = not stack.is_t5
    up = linear(f"{at}up", group, source, (rows, hidden, inner), bias=bias, times=times)
    if stack.spec.gated:
        gate = linear(f"{at}gate", group, source, (rows, hidden, inner), bias=bias, times=times)
        opened = active(f"{at}active", group, gate.name, rows * inner, times=times)
        wide = in_place(f"{at}gated", group, (opened.name, up.name), rows * inner, times=times)
        made = [gate, opened, up, wide]
    else:
        wide = active(f"{at}active", group, up.name, rows * inner, times=times)
        made = [up, wide]
    return [*made, linear(f"{at}down", group, wide.name, (rows, inner, hidden), bias=bias, times=times)]
