"""Which texts may resemble each other: MinHash signatures of their shingles, compared in bands.

Two texts have equal minima under a random order of all shingles with the probability of their Jaccard similarity. A
signature of BANDS x ROWS minima is cut into bands; texts that agree in a whole band are candidates.
Source: Broder 1997, On the resemblance and containment of documents; Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, chapter 3 (shingles of 5 characters for short texts, bands).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

SHINGLE = 5  # characters
BANDS, ROWS = 20, 5
CHARACTERS_AT_ONCE = 2**18  # our choice: what is worked on stays in a processor's cache
MOST_PAIRS = 50_000  # of one band, our choice: they are compared in about a second

Keys = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint32]

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: Knuth, The Art of Computer Programming, vol. 3
_NOTHING = np.uint32(2**32 - 1)


def chance_found(similarity: float) -> float:
    """The probability that two texts of that Jaccard similarity become candidates."""
    return 1.0 - (1.0 - similarity**ROWS) ** BANDS


def shingles(text: str) -> set[str]:
    """Every run of 5 characters of `text`; a shorter text is its own and only one."""
    return {text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    """The share of all shingles that both sets have."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def band_keys(texts: Sequence[str], pairs: Sequence[str] | None = None) -> Keys:
    """A key per text and band. Of a pair both texts count, their shingles told apart.

    Shapes: [texts, BANDS].
    """
    minima = _signatures(texts, "first")
    if pairs is not None:
        minima = np.minimum(minima, _signatures(pairs, "second"))
    keys = np.zeros((len(texts), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        keys = _mixed(keys * _FACTOR + minima[:, row * BANDS : (row + 1) * BANDS])
    return keys


def candidates(left: Keys, right: Keys) -> Iterator[tuple[Rows, Rows, bool]]:
    """Band by band the rows of `left` and `right` with equal keys, and whether these are all such pairs.

    Of more than MOST_PAIRS each row of `left` gets its first ones.
    """
    for band in range(left.shape[1]):
        order = np.argsort(right[:, band], kind="stable")
        ordered = right[order, band]
        start = np.searchsorted(ordered, left[:, band], side="left")
        count = np.searchsorted(ordered, left[:, band], side="right") - start
        rows = np.flatnonzero(count)
        most = max(1, MOST_PAIRS // max(1, len(rows)))
        whole = bool(count.sum() <= MOST_PAIRS)
        taken = count[rows] if whole else np.minimum(count[rows], most)
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        yield np.repeat(rows, taken), order[np.repeat(start[rows], taken) + within], whole


def _signatures(texts: Sequence[str], salt: str) -> _Words:
    """The least value of every text's shingles under each hash function. Shapes: [texts, BANDS * ROWS]."""
    minima = np.full((len(texts), BANDS * ROWS), _NOTHING, dtype=np.uint32)
    filled = [index for index, text in enumerate(texts) if text]
    factors, offsets = _functions(salt)
    for chosen in _pieces(texts, filled):
        hashes, starts = _hashed_shingles([texts[index] for index in chosen])
        for function in range(BANDS * ROWS):
            values = hashes * factors[function] + offsets[function]
            minima[chosen, function] = np.minimum.reduceat(values, starts)
    return minima


def _pieces(texts: Sequence[str], filled: Sequence[int]) -> Iterator[list[int]]:
    piece: list[int] = []
    characters = 0
    for index in filled:
        piece.append(index)
        characters += len(texts[index])
        if characters >= CHARACTERS_AT_ONCE:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _hashed_shingles(texts: Sequence[str]) -> tuple[_Words, Rows]:
    """A hash of every shingle of every text in turn, and where each text begins. Shapes: [shingles], [texts]."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for place in range(SHINGLE):
        hashes = hashes * _FACTOR + codes[place : place + len(hashes)]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    ends = np.cumsum(lengths)
    inside = np.ones(len(codes), dtype=np.bool_)
    inside[(ends[:, np.newaxis] - np.arange(1, SHINGLE)).ravel()] = False
    counts = lengths - SHINGLE + 1
    return (_mixed(hashes[inside[: len(hashes)]]) >> np.uint64(32)).astype(np.uint32), np.cumsum(counts) - counts


def _mixed(values: Keys) -> Keys:
    """Each value spread over all 64 bits. Source: Stafford's variant 13 of MurmurHash3's finaliser (SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _functions(salt: str) -> tuple[_Words, _Words]:
    """The hash functions x -> a x + b modulo 2^32, a odd. Shapes: [BANDS * ROWS] each."""
    drawn = b"".join(hashlib.sha256(f"{salt}:{number}".encode()).digest()[:8] for number in range(BANDS * ROWS))
    numbers = np.frombuffer(drawn, dtype="<u4").reshape(-1, 2)
    return numbers[:, 0] | np.uint32(1), numbers[:, 1].copy()
