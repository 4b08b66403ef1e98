"""The operators that a forward pass of a student consists of: the one list from which everything is counted.

It is the pass that transformers runs: BERT and RoBERTa with a classification head for inputs or tokens or without a
head (and then without a pooler), GPT2 and Llama with a language-model head or such a classification head,
ViTForImageClassification. A decoder runs the prefill of a whole
sequence, logits of every position included, or with `past` some tokens more after those that are in its cache.
Encoder-decoders, and networks that are no transformers, have modules of their own beside this one.

Sizes are whole numbers, or NumPy arrays of them that stand for many students at once (see columns.py): nothing here
may branch on a dimension that differs between the students of one teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.cost import operators_convolutional, operators_encoder_decoder, operators_mixer
from edgekd.cost.trace import Group, Operator, active, in_place, linear, patches
from edgekd.errors import SpecError
from edgekd.networks.convolutional import ConvSpec
from edgekd.networks.mixer import MixerSpec
from edgekd.networks.spec import Spec
from edgekd.student import StudentSpec


def operators(spec: Spec, *, batch: int, sequence: int, past: int = 0, target: int = 1) -> list[Operator]:
    """The operators of one forward pass in order; of more than two equal layers the second stands for the rest.

    A decoder with `past` > 0 has keys and values of that many tokens in its cache and runs `sequence` more. An
    encoder-decoder encodes `sequence` tokens and runs its decoder on the first `target` ones, or with `past` > 0 the
    decoder alone on `target` more, with the keys and values of all `sequence` encoded and `past` decoded ones cached.
    Errors: SpecError for a spec that transformers cannot build, or an input that the model cannot take.
    """
    _check(spec, batch, sequence, past, target)
    if isinstance(spec, ConvSpec):
        return operators_convolutional.operators(spec, batch=batch)
    if isinstance(spec, MixerSpec):
        return operators_mixer.operators(spec, batch=batch)
    if spec.family == "encoder-decoder":
        return operators_encoder_decoder.operators(spec, batch=batch, sequence=sequence, target=target, past=past)
    return trace_of(spec, min(spec.layers, 2), batch=batch, sequence=sequence, past=past)


def trace_of(spec: StudentSpec, blocks: int, *, batch: int, sequence: int, past: int = 0) -> list[Operator]:
    """The operators of `spec`, unchecked, with one or two `blocks` that stand for all its layers.

    Errors: SpecError for an encoder-decoder, which has layers of two kinds.
    """
    if spec.family == "encoder-decoder":
        raise SpecError(f"students of a {spec.architecture} are counted one by one, expected an encoder or a decoder")
    shape = _Shape(spec, batch, spec.tokens or sequence, past)
    trace = _embeddings(shape)
    source = trace[-1].name
    if spec.architecture == "llama":
        trace.append(Operator("rotary", "embeddings", "elementwise", (), 2 * shape.tokens * spec.head_dim))
    layer = _post_norm_layer if spec.family == "encoder" else _pre_norm_layer
    for index in range(blocks):
        trace += layer(shape, f"layer{index}.", source, 1 if index == 0 else spec.layers - 1)
        source = trace[-1].name
    return trace + _head(shape, source)


@dataclass(frozen=True, slots=True)
class _Shape:
    spec: StudentSpec
    batch: int
    tokens: int
    past: int = 0

    @property
    def rows(self) -> int:
        return self.batch * self.tokens

    @property
    def stream(self) -> int:
        return self.rows * self.spec.hidden


def _norm(shape: _Shape, name: str, group: Group, source: str, times: int = 1) -> Operator:
    vectors = 1 if shape.spec.architecture == "llama" else 2
    return Operator(name, group, "norm", (source,), shape.stream, floats=vectors * shape.spec.hidden, times=times)


def _embeddings(shape: _Shape) -> list[Operator]:
    spec, stream = shape.spec, shape.stream
    if spec.family == "vit":
        inputs = spec.channels * spec.patch_size**2
        return [
            patches(shape.batch * (shape.tokens - 1), inputs, spec.hidden),
            Operator(
                "with_class", "embeddings", "elementwise", ("patches",), stream, floats=spec.hidden, counted=False
            ),
            Operator(
                "embedded",
                "embeddings",
                "elementwise",
                ("with_class",),
                stream,
                floats=shape.tokens * spec.hidden,
                counted=False,
                overwrites=True,
            ),
        ]
    words = Operator("words", "embeddings", "lookup", (), stream, floats=spec.vocabulary * spec.hidden)
    if spec.architecture == "llama":
        return [words]
    # RoBERTa derives positions from each row of the input; the others share them within a batch.
    per_position = stream if spec.architecture == "roberta" else shape.tokens * spec.hidden
    positions = Operator("positions", "embeddings", "lookup", (), per_position, floats=spec.positions * spec.hidden)
    if spec.architecture == "gpt2":
        return [words, positions, in_place("embedded", "embeddings", ("words", "positions"), stream)]
    return [
        words,
        Operator("types", "embeddings", "lookup", (), stream, floats=spec.token_types * spec.hidden),
        in_place("words_and_types", "embeddings", ("words", "types"), stream),
        positions,
        in_place("summed", "embeddings", ("words_and_types", "positions"), stream),
        _norm(shape, "embedded", "embeddings", "summed"),
    ]


def _attention(shape: _Shape, at: str, source: str, times: int) -> list[Operator]:
    spec, rows = shape.spec, shape.rows
    width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    bias = spec.architecture != "llama"
    query, key, value = f"{at}query", f"{at}key", f"{at}value"
    if spec.architecture == "gpt2":
        query = key = value = f"{at}fused"
        made = [linear(query, "projections", source, (rows, spec.hidden, 3 * width), times=times)]
    else:
        made = [
            linear(name, "projections", source, (rows, spec.hidden, size), bias=bias, times=times)
            for name, size in ((query, width), (key, kv_width), (value, kv_width))
        ]
    if spec.architecture == "llama":
        for name, size in ((query, width), (key, kv_width)):
            made.append(in_place(f"{name}_turned", "attention", (name, "rotary"), rows * size, times=times))
        query, key = f"{query}_turned", f"{key}_turned"
    seen = shape.past + shape.tokens
    if shape.past:
        kept = 2 * shape.batch * seen * kv_width
        parts = tuple(dict.fromkeys((key, value)))
        made.append(Operator(f"{at}cache", "attention", "cache", parts, kept, counted=False, times=times))
        key = value = f"{at}cache"
    calls = shape.batch * spec.heads
    scores = calls * shape.tokens * seen
    per_product = scores * spec.head_dim
    scored = Operator(
        f"{at}scores", "attention", "product", (query, key), scores, per_product, times=times, calls=calls
    )
    return [
        *made,
        scored,
        Operator(
            f"{at}context",
            "attention",
            "product",
            (scored.name, value),
            rows * width,
            per_product,
            times=times,
            calls=calls,
        ),
        linear(f"{at}mixed", "projections", f"{at}context", (rows, width, spec.hidden), bias=bias, times=times),
    ]


def _feed_forward(shape: _Shape, at: str, source: str, times: int) -> list[Operator]:
    hidden, inner, rows = shape.spec.hidden, shape.spec.ffn, shape.rows
    if shape.spec.architecture == "llama":
        size = (rows, hidden, inner)
        return [
            linear(f"{at}gate", "feed_forward", source, size, bias=False, times=times),
            active(f"{at}active", "feed_forward", f"{at}gate", rows * inner, times=times),
            linear(f"{at}up", "feed_forward", source, size, bias=False, times=times),
            in_place(f"{at}gated", "feed_forward", (f"{at}active", f"{at}up"), rows * inner, times=times),
            linear(f"{at}down", "feed_forward", f"{at}gated", (rows, inner, hidden), bias=False, times=times),
        ]
    return [
        linear(f"{at}up", "feed_forward", source, (rows, hidden, inner), times=times),
        active(f"{at}active", "feed_forward", f"{at}up", rows * inner, times=times),
        linear(f"{at}down", "feed_forward", f"{at}active", (rows, inner, hidden), times=times),
    ]


def _post_norm_layer(shape: _Shape, at: str, source: str, times: int) -> list[Operator]:
    return [
        *_attention(shape, at, source, times),
        in_place(f"{at}attended", "attention", (f"{at}mixed", source), shape.stream, times=times),
        _norm(shape, f"{at}middle", "attention", f"{at}attended", times),
        *_feed_forward(shape, at, f"{at}middle", times),
        in_place(f"{at}sum", "feed_forward", (f"{at}down", f"{at}middle"), shape.stream, times=times),
        _norm(shape, f"{at}out", "feed_forward", f"{at}sum", times),
    ]


def _pre_norm_layer(shape: _Shape, at: str, source: str, times: int) -> list[Operator]:
    return [
        _norm(shape, f"{at}before", "attention", source, times),
        *_attention(shape, at, f"{at}before", times),
        in_place(f"{at}middle", "attention", (f"{at}mixed", source), shape.stream, times=times),
        _norm(shape, f"{at}between", "feed_forward", f"{at}middle", times),
        *_feed_forward(shape, at, f"{at}between", times),
        in_place(f"{at}out", "feed_forward", (f"{at}down", f"{at}middle"), shape.stream, times=times),
    ]


def _head(shape: _Shape, source: str) -> list[Operator]:
    spec, batch, hidden = shape.spec, shape.batch, shape.spec.hidden
    if spec.head == "none":
        return []
    if spec.family == "encoder" and spec.head == "tokens":
        return [linear("logits", "head", source, (shape.rows, hidden, spec.labels))]
    if spec.family == "encoder":
        # BERT's tanh is a module of its own, RoBERTa's a function call.
        is_module = spec.architecture == "bert"
        return [
            linear("pooled", "head", source, (batch, hidden, hidden)),
            active("pooled_active", "head", "pooled", batch * hidden, counted=is_module),
            linear("logits", "head", "pooled_active", (batch, hidden, spec.labels)),
        ]
    last = _norm(shape, "last", "head", source)
    if spec.family == "vit":
        return [last, linear("logits", "head", "last", (batch, hidden, spec.labels))]
    outputs = spec.labels or spec.vocabulary
    tied, bias = spec.tied and not spec.labels, spec.head == "tokens"
    return [last, linear("logits", "head", "last", (shape.rows, hidden, outputs), bias=bias, shared=tied)]


def _check(spec: Spec, batch: int, sequence: int, past: int, target: int) -> None:
    if isinstance(spec, StudentSpec):
        check_buildable(spec)
    caches = spec.family in ("decoder", "encoder-decoder")
    if past < 0 or (past and not caches):
        raise SpecError(f"past is {past}, expected 0: only a decoder keeps a cache, and never of less than no token")
    if target != 1 and spec.family != "encoder-decoder":
        raise SpecError(f"target is {target}, expected 1: only an encoder-decoder reads one text and writes another")
    if batch < 1:
        raise SpecError(f"the batch is {batch}, expected at least 1")
    if not isinstance(spec, StudentSpec) or spec.family == "vit":
        if sequence not in (0, spec.tokens):
            this = "this ViT" if spec.family == "vit" else f"this {spec.architecture}"
            raise SpecError(f"the sequence is {sequence}, expected {spec.tokens} or 0: {this} sees no other")
        return
    if spec.family == "encoder-decoder":
        _check_length(spec, "sequence", sequence, 0)
        _check_length(spec, "target", target, past)
    else:
        _check_length(spec, "sequence", sequence, past)


def most_tokens(spec: StudentSpec) -> int | None:
    """How many tokens a model of texts has positions for; None for T5, which has one for any distance."""
    if spec.architecture == "t5":
        return None
    # RoBERTa never uses the positions up to its padding token, which is token 1.
    return spec.positions - 2 if spec.architecture == "roberta" else spec.positions


def _check_length(spec: StudentSpec, name: str, tokens: int, past: int) -> None:
    longest = most_tokens(spec)
    if longest is None:
        if tokens < 1:
            raise SpecError(f"the {name} is {tokens}, expected at least 1")
        return
    if not 1 <= tokens <= longest - past:
        after = f" with {past} in its cache" if past else ""
        raise SpecError(f"the {name} is {tokens}{after}, expected 1 to {longest - past}, the positions it has")


def check_buildable(spec: StudentSpec) -> None:
    """Refuse a spec that none of the counted classes of transformers can be built from. Errors: SpecError."""
    if spec.family == "encoder" and spec.head == "language":
        raise SpecError(f"a {spec.architecture} is counted as a classifier, found no labels; give at least 1")
    if spec.family == "encoder" and spec.token_types < 1:
        raise SpecError(f"a {spec.architecture} has token types, found {spec.token_types}; give at least 1")
    if spec.architecture == "llama" and spec.hidden % spec.heads:
        raise SpecError(f"llama needs hidden as a multiple of heads, found {spec.hidden} for {spec.heads} heads")
    if spec.family == "encoder-decoder":
        if spec.labels:
            raise SpecError(f"a {spec.architecture} is counted as a language model, found {spec.labels} labels")
        if not spec.tied:
            raise SpecError(f"transformers 5 ties the head of every {spec.architecture}, found one that is not tied")
