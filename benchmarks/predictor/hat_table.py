"""HAT's tables of measured Transformers: reading them, and what an encoder-decoder computes.

A table has a row for each of 2000 random translation models: ten columns of shape, then the mean latencies of the
encoder and of the decoder in ms. Source: github.com/mit-han-lab/hardware-aware-transformers, folder latency_dataset
(MIT licence); what is timed there is one pass of the encoder, then 30 steps of the decoder with a beam of 5.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from edgekd.cost.calibrate import ONE, Sample
from edgekd.errors import DataError
from edgekd.text import listing, printable

SHAPE = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
LATENCIES = ("latency_mean_encoder", "latency_mean_decoder")

SOURCE = 30  # tokens in
STEPS = 30  # of the decoder
BEAM = 5  # sentences that a step works on at once
ATTENTION = 512  # the width of queries, keys and values, whatever the number of heads
VOCABULARY = 32768  # about that of WMT'14 en-de; the tables do not hold it

# How many MACs one unit of a term takes. Nothing but the direction matters: what a MAC costs where is fitted.
MACS = {
    "encoder.projections": SOURCE * 4 * ATTENTION,
    "encoder.feed_forward": SOURCE * 2,
    "decoder.output": STEPS * BEAM * VOCABULARY,
    "decoder.projections": STEPS * BEAM * 6 * ATTENTION,
    "decoder.feed_forward": STEPS * BEAM * 2,
    "decoder.source_keys": BEAM * SOURCE * 2 * ATTENTION,  # the beam shares nothing, so keys are made for each
    "decoder.source_scores": STEPS * BEAM * SOURCE * 2 * ATTENTION,
}
BACKBONE: tuple[dict[str, float], ...] = (
    {ONE: 1.0},
    {"decoder.layers": 1.0},
    {term: float(macs) for term, macs in MACS.items()},
)


def terms_of(shape: dict[str, float]) -> dict[str, float]:
    """What a model of this `shape` computes, moves and starts, each in a unit of its own."""
    encoder, width, ffn, heads = (shape[name] for name in (SHAPE[1], SHAPE[0], SHAPE[2], SHAPE[3]))
    layers, out, inner = (shape[name] for name in (SHAPE[5], SHAPE[4], SHAPE[6]))
    own, cross, reach = (shape[name] for name in SHAPE[7:])
    return {
        "encoder.projections": encoder * width,
        "encoder.feed_forward": encoder * width * ffn,
        "encoder.inner": encoder * ffn,
        "encoder.heads": encoder * heads,
        "decoder.output": out,
        "decoder.layers": layers,
        "decoder.projections": layers * out,
        "decoder.feed_forward": layers * out * inner,
        "decoder.inner": layers * inner,
        "decoder.heads": layers * own,
        "decoder.source_heads": layers * cross,
        "decoder.source_scores": layers * reach,
        "decoder.source_products": layers * reach * cross,
        "decoder.source_keys": layers * reach * width,
    }


TERMS = (ONE, *terms_of(dict.fromkeys(SHAPE, 0.0)))


def read_table(path: Path) -> tuple[list[Sample], list[list[float]]]:
    """The models of the table, with the latency of encoder and decoder together in ms, and their shapes.

    Errors: DataError where the file is no such table, with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no UTF-8 text, expected a CSV file of HAT") from None
    samples, shapes = list[Sample](), list[list[float]]()
    reader = csv.reader(text.splitlines())
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = set(SHAPE + LATENCIES) - set(header)
        if missing:
            raise DataError(f"{path}: lacks the columns {listing(missing)}, expected a latency table of HAT")
        for row in reader:
            if row:
                shape, latency_ms = _row(header, row, f"{path}:{reader.line_num}")
                samples.append(Sample(f"row {len(samples)}", terms_of(shape), latency_ms))
                shapes.append(list(shape.values()))
    except csv.Error as problem:
        raise DataError(f"{path}:{reader.line_num}: {problem}") from None
    return samples, shapes


def _row(header: list[str], row: list[str], place: str) -> tuple[dict[str, float], float]:
    if len(row) != len(header):
        raise DataError(f"{place}: has {len(row)} values, expected {len(header)}")
    cells = dict(zip(header, row, strict=True))
    numbers = {}
    for name in SHAPE + LATENCIES:
        try:
            numbers[name] = float(cells[name])
        except ValueError:
            numbers[name] = math.nan
        if not (math.isfinite(numbers[name]) and numbers[name] > 0):
            raise DataError(f"{place}: {name} is {printable(cells[name], 40)!r}, expected a positive number")
    latency_ms = sum(numbers.pop(name) for name in LATENCIES)
    return numbers, latency_ms
