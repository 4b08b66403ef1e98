"""A result is used only when its manifest vouches for every byte, and for this run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.bench.agent.seal import manifest_of
from edgekd.bench.payload import Manifest, manifest_for
from edgekd.errors import Corrupt, MeasureError

RUN, BOOT = "a" * 26, "boot"
RESULT = {"runs": [{"run": {"samples_ns": list(range(1, 3000)), "load_ns": 4}}]}
DATA = json.dumps(RESULT).encode()
TABLE = manifest_of(DATA, RESULT, run=RUN, boot=BOOT, begun_ns=1, ended_ns=2)


def _checked(data: bytes = DATA, manifest: bytes | None = None, **changed: Any) -> Manifest:
    said = json.dumps({**TABLE, **changed}).encode() if manifest is None else manifest
    return manifest_for(data, said, run=RUN, boot_id=BOOT, where="pi: tiny")


def test_a_whole_result_passes_with_the_count_of_its_times() -> None:
    assert len(DATA) > 3 * TABLE["block_bytes"]
    assert _checked().samples == 2999


def test_an_empty_result_can_be_whole() -> None:
    empty = manifest_of(b"", {"runs": []}, run=RUN, boot=BOOT, begun_ns=1, ended_ns=1)
    assert _checked(b"", json.dumps(empty).encode()).bytes == 0


def test_a_result_cut_at_any_byte_is_corrupt() -> None:
    for end in [*range(0, len(DATA), 97), len(DATA) - 1]:
        with pytest.raises(Corrupt, match="the board's result is damaged"):
            _checked(DATA[:end])
    with pytest.raises(Corrupt):
        _checked(DATA + b" ")


def test_a_manifest_cut_at_any_byte_is_corrupt() -> None:
    said = json.dumps(TABLE).encode()
    for end in range(len(said)):
        with pytest.raises(Corrupt):
            _checked(manifest=said[:end])


@pytest.mark.parametrize("at", [0, 4095, 4096, 9000, len(DATA) - 1])
def test_a_flipped_bit_is_found_with_its_block(at: int) -> None:
    flipped = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
    with pytest.raises(Corrupt, match=f"1 of its blocks of 4096 bytes are damaged, first {at // 4096}"):
        _checked(flipped)


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2}, {"run": "b" * 26}, {"boot_id": None}, {"boot_id": "another"}, {"begun_ns": 3}, {"ended_ns": -1},
        {"samples": -1}, {"samples": True}, {"bytes": 1}, {"sha256": "0" * 64}, {"sha256": "x"}, {"block_bytes": 0},
        {"block_bytes": 8192}, {"crc32": []}, {"crc32": TABLE["crc32"][:-1]}, {"crc32": [*TABLE["crc32"], 0]},
        {"crc32": None}, {"surprise": 1}, {"bytes": float("nan")}, {"bytes": 1e400},
    ],
)  # fmt: skip
def test_a_manifest_that_says_something_else_is_corrupt(changed: dict[str, Any]) -> None:
    with pytest.raises(Corrupt, match="pi: tiny"):
        _checked(**changed)


def test_corrupt_is_a_measure_error_with_a_state() -> None:
    assert issubclass(Corrupt, MeasureError)
    assert Corrupt("x").state == "CORRUPT"


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.lists(st.integers(), max_size=4)
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.dictionaries(st.sampled_from([*TABLE, "x"]), VALUES, min_size=1, max_size=3))
def test_whatever_a_manifest_holds_it_is_right_or_corrupt(changed: dict[str, Any]) -> None:
    try:
        found = _checked(**changed)
    except Corrupt:
        return
    assert (found.run, found.boot_id, found.bytes, found.sha256) == (RUN, BOOT, len(DATA), TABLE["sha256"])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.binary(max_size=300))
def test_whatever_stands_in_the_place_of_a_manifest_it_is_corrupt(manifest: bytes) -> None:
    with pytest.raises(Corrupt):
        _checked(manifest=manifest)
