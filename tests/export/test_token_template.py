"""An untrained student that labels tokens: its template is its export, node by node."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from edgekd.export.template import learn, verify
from edgekd.student import StudentSpec
from edgekd.students.build import build

SIZES: dict[str, Any] = {"layers": 3, "hidden": 32, "heads": 4, "ffn": 48, "vocabulary": 50, "positions": 40}


@pytest.mark.parametrize(("architecture", "types"), [("bert", 2), ("roberta", 1), ("gpt2", 0), ("llama", 0)])
def test_the_template_of_tokens_equals_the_export(architecture: str, types: int) -> None:
    teacher = StudentSpec(architecture=architecture, token_types=types, labels=5, head="tokens", **SIZES)
    template = learn(teacher, partial(build, seed=0), kind="text", precision="fp32")
    verify(template, replace(teacher, layers=2, hidden=16, heads=2, head_dim=8, kv_heads=2, ffn=24))
