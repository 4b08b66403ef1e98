from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.cost.count import count
from edgekd.cost.predict import RUNTIME_BYTES, predict, predict_memory
from edgekd.device import DeviceProfile
from edgekd.student import StudentSpec

ROOT = Path(__file__).parents[2]
SOURCE = "measured 2026-01-01: a test"
SPEC = StudentSpec(
    architecture="bert", layers=4, hidden=128, heads=4, ffn=512, vocabulary=1000, positions=64, token_types=2, labels=2
)


def sourced(value: object) -> dict[str, object]:
    return {"value": value, "source": SOURCE}


def board(
    *, peak: str | None = "10 GMAC/s", bandwidth: str | None = "5 GB/s", core: str | None = None
) -> DeviceProfile:
    cluster: dict[str, object] = {"core": "test", "count": sourced(4)}
    if peak is not None:
        cluster["macs_per_s"] = {"fp32": sourced(peak)}
    memory: dict[str, object] = {}
    if bandwidth is not None:
        memory["bandwidth"] = sourced(bandwidth)
    if core is not None:
        memory["core_bandwidth"] = sourced(core)
    table = {
        "name": "test",
        "title": "test",
        "kind": "generic",
        "isa": "x86_64",
        "clusters": [cluster],
        "memory": memory,
    }
    return DeviceProfile.model_validate(table)


def test_lower_end_is_the_time_at_the_peak() -> None:
    counts = count(SPEC, batch=1, sequence=32, precision="fp32")
    found = predict(counts, board(), precision="fp32", threads=1)
    assert found.low_s == pytest.approx(counts.macs / 1e10)
    assert found.bound == "compute"
    assert found.mid_s is not None
    assert found.high_s is not None
    assert found.low_s < found.mid_s < found.high_s


def test_slow_memory_binds_instead_of_arithmetic() -> None:
    counts = count(SPEC, batch=1, sequence=32, precision="fp32")
    found = predict(counts, board(bandwidth="10 MB/s"), precision="fp32", threads=1)
    assert found.bound == "memory"
    assert found.mid_s == pytest.approx((counts.weight_bytes + counts.activation_bytes) / 1e7 / 0.6)


def test_more_threads_lower_the_prediction() -> None:
    counts = count(SPEC, batch=1, sequence=32, precision="fp32")
    one = predict(counts, board(), precision="fp32", threads=1)
    four = predict(counts, board(), precision="fp32", threads=4)
    assert one.low_s is not None
    assert four.low_s == pytest.approx(one.low_s / 4)


def test_one_thread_gets_the_bandwidth_of_one_core() -> None:
    counts = count(SPEC, batch=1, sequence=32, precision="fp32")
    whole = predict(counts, board(bandwidth="20 MB/s"), precision="fp32", threads=1)
    core = predict(counts, board(bandwidth="20 MB/s", core="10 MB/s"), precision="fp32", threads=1)
    two = predict(counts, board(bandwidth="20 MB/s", core="10 MB/s"), precision="fp32", threads=2)
    assert whole.mid_s is not None
    assert core.mid_s == pytest.approx(2 * whole.mid_s)
    assert two.mid_s == pytest.approx(whole.mid_s)


@pytest.mark.parametrize(
    ("profile", "precision", "missing"),
    [
        (board(peak=None), "fp32", "peak_macs_per_s for fp32"),
        (board(), "int8", "peak_macs_per_s for int8"),
        (board(bandwidth=None), "fp32", "memory_bandwidth_bytes_per_s"),
    ],
)
def test_missing_number_gives_no_interval_and_is_named(profile: DeviceProfile, precision: str, missing: str) -> None:
    found = predict(count(SPEC, batch=1, sequence=32, precision=precision), profile, precision=precision, threads=1)
    assert (found.low_s, found.mid_s, found.high_s, found.bound) == (None, None, None, "unknown")
    assert missing in found.note


def test_memory_is_weights_activations_and_the_runtime() -> None:
    counts = count(SPEC, batch=1, sequence=32, precision="fp32")
    assert predict_memory(counts, runtime_bytes=0) == counts.weight_bytes + counts.peak_activation_bytes
    assert predict_memory(counts) - predict_memory(counts, runtime_bytes=0) == RUNTIME_BYTES


def test_prediction_and_sizing_import_without_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'torch', 'transformers', 'onnx', 'onnxruntime', 'scipy'): sys.modules[name] = None\n"
        "import edgekd.cost.predict, edgekd.cost.calibrate, edgekd.sizing.files\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
