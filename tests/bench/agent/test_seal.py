"""A result and its manifest: every byte is vouched for."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

from edgekd.bench.agent import seal

RESULT = {"runs": [{"run": {"load_ns": 5, "samples_ns": [1, 2, 3], "warmup_ns": [4]}}, {"run": {"model_ns": [7]}}]}


def test_a_manifest_counts_hashes_and_sums_its_result(tmp_path: Path) -> None:
    seal.seal(str(tmp_path), RESULT, run="r", boot="b", begun_ns=1, ended_ns=2)
    data = (tmp_path / "result.json").read_bytes()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert json.loads(data) == RESULT
    assert manifest == {
        "format": 1, "run": "r", "boot_id": "b", "begun_ns": 1, "ended_ns": 2, "samples": 5, "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "block_bytes": 4096, "crc32": [zlib.crc32(data)],
    }  # fmt: skip


def test_blocks_of_a_long_result_grow_so_that_the_manifest_stays_short() -> None:
    data = bytes(4096 * seal.MOST_BLOCKS + 1)
    manifest = seal.manifest_of(data, {"runs": []}, run="r", boot=None, begun_ns=1, ended_ns=2)
    assert manifest["block_bytes"] == 8192
    assert len(manifest["crc32"]) == seal.MOST_BLOCKS // 2 + 1
    assert len(json.dumps(manifest)) < 1 << 20
