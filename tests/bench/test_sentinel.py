from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from edgekd.bench.sentinel import sentinel_model
from edgekd.files import sha256_of_file

# A changed sentinel makes every stored ratio incomparable: change it only with a new name.
SHA256 = "717e465e153255b61a16e2a1d56ffb86b5b8e54fab4d7b5a257daaf7266ba602"


def test_sentinel_is_the_same_bytes_for_ever(tmp_path: Path) -> None:
    assert sha256_of_file(sentinel_model(tmp_path / "a" / "sentinel.onnx")) == SHA256


def test_sentinel_is_a_valid_model_whose_values_stay_alive(tmp_path: Path) -> None:
    path = sentinel_model(tmp_path / "sentinel.onnx")
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    data = np.random.default_rng(0).standard_normal((1, 64, 192)).astype(np.float32)
    (output,) = session.run(None, {"input": data})
    assert output.shape == (1, 64, 192)
    np.testing.assert_allclose(output.sum(axis=-1), 1, rtol=1e-5)
    # Were the values to die out on the way, every position would get the same share.
    assert output.std() > 1e-3
