from __future__ import annotations

import json
import sys

import pytest

from edgekd.errors import MissingExtra
from edgekd.export.libraries import library


def test_library_is_the_module_itself() -> None:
    assert library("json") is json


def test_missing_library_names_itself_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "onnxruntime.quantization", raising=False)
    with pytest.raises(MissingExtra, match=r"needs onnxruntime, .* pip install 'edgekd\[export\]'") as missing:
        library("onnxruntime.quantization")
    assert missing.value.extra == "export"
