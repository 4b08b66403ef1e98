"""HAT's tables of measured Transformers: reading them, and what an encoder-decoder computes.

A table has a row for each of 2000 random translation models: ten columns of shape, then the mean latencies of the
encoder and of the decoder in ms. Source: github.com/mit-han-lab/hardware-aware-transformers, folder latency_dataset
(MIT licence); what is timed there is one pass of the encoder, then 30 steps of the decoder with a beam of 5.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
ENCODER, DECODER = frozenset(SHAPE[:4]), frozenset(SHAPE[4:])
LATENCIES = {"encoder": "latency_mean_encoder", "decoder": "latency_mean_decoder"}

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


def terms_of(shape: Mapping[str, float]) -> dict[str, float]:
    """What a model of this `shape` computes, moves and starts, each in a unit of its own; of the parts it names.

    HAT's attention is as wide in every model, so its work grows with the width of the model; where it is as wide as
    the model, the work grows with the square of it.
    """
    found: dict[str, float] = {}
    if set(shape) >= ENCODER:
        width, layers, ffn, heads = (shape[name] for name in SHAPE[:4])
        found |= {
            "encoder.layers": layers,
            "encoder.projections": layers * width,
            "encoder.squares": layers * width * width,
            "encoder.feed_forward": layers * width * ffn,
            "encoder.inner": layers * ffn,
            "encoder.heads": layers * heads,
        }
    if set(shape) >= DECODER:
        out, layers, inner, own, cross, reach = (shape[name] for name in SHAPE[4:])
        found |= {
            "decoder.output": out,
            "decoder.layers": layers,
            "decoder.projections": layers * out,
            "decoder.squares": layers * out * out,
            "decoder.feed_forward": layers * out * inner,
            "decoder.inner": layers * inner,
            "decoder.heads": layers * own,
            "decoder.source_heads": layers * cross,
            "decoder.source_scores": layers * reach,
            "decoder.source_products": layers * reach * cross,
        }
        if set(shape) >= ENCODER:
            found["decoder.source_keys"] = layers * reach * shape["encoder_embed_dim"]
    return found


TERMS = (ONE, *terms_of(dict.fromkeys(SHAPE, 0.0)))


@dataclass(frozen=True)
class Measured:
    """The models of a table: `samples` with the latency of the `timed` parts together, and the `shapes` of the models.

    Latencies are in the unit of the file, ms in HAT's own. Shapes: `shapes` (models, columns of shape in the file).
    """

    samples: list[Sample]
    shapes: list[list[float]]
    timed: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that its columns tell."""
        return (ONE, *self.samples[0].features)

    @property
    def backbone(self) -> tuple[dict[str, float], ...]:
        """What of BACKBONE its columns tell; of an encoder alone the layers are the encoder's."""
        layers = {"decoder.layers": 1.0} if "decoder.layers" in self.terms else {"encoder.layers": 1.0}
        macs = {term: weight for term, weight in BACKBONE[2].items() if term in self.terms}
        return (BACKBONE[0], layers, macs)


def read_table(path: Path) -> Measured:
    """The models of the table. It may lack the columns of the encoder or of the decoder, or the latency of one.

    Errors: DataError where the file is no such table, with the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no UTF-8 text, expected a CSV file of HAT") from None
    samples, shapes = list[Sample](), list[list[float]]()
    reader = csv.reader(lines, delimiter=max(",;\t", key="".join(lines[:1]).count))
    try:
        header = [name.strip() for name in next(reader, [])]
        timed = _timed(header, path)
        for row in reader:
            if row:
                shape, latency = _row(header, row, f"{path}:{reader.line_num}")
                samples.append(Sample(f"row {len(samples)}", terms_of(shape), latency))
                shapes.append(list(shape.values()))
    except csv.Error as problem:
        raise DataError(f"{path}:{reader.line_num}: {problem}") from None
    return Measured(samples, shapes, timed)


def _timed(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """The parts whose latency the table holds. Errors: DataError where columns are missing or there twice."""
    there = set(header)
    missing = set[str]() if there & set(LATENCIES.values()) else set(LATENCIES.values())
    for part, columns in (("encoder", ENCODER), ("decoder", DECODER)):
        if missing or LATENCIES[part] in there or there & columns:
            missing |= columns - there
    if missing:
        raise DataError(f"{path}: lacks the columns {listing(missing)}, expected a latency table of HAT")
    twice = [name for name in (*SHAPE, *LATENCIES.values()) if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: has the column {listing(twice)} more than once; remove all but one")
    return tuple(part for part, column in LATENCIES.items() if column in there)


def _row(header: list[str], row: list[str], place: str) -> tuple[dict[str, float], float]:
    if len(row) != len(header):
        raise DataError(f"{place}: has {len(row)} values, expected {len(header)}")
    cells = dict(zip(header, row, strict=True))
    numbers = {}
    for name in (name for name in (*SHAPE, *LATENCIES.values()) if name in cells):
        try:
            numbers[name] = float(cells[name])
        except ValueError:
            numbers[name] = math.nan
        if not (math.isfinite(numbers[name]) and numbers[name] > 0):
            raise DataError(f"{place}: {name} is {printable(cells[name], 40)!r}, expected a positive number")
    latency = sum(numbers.pop(name) for name in LATENCIES.values() if name in numbers)
    return numbers, latency
