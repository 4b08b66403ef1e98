from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.students.padding import padding_token


@pytest.mark.parametrize(
    ("architecture", "own", "its", "expected"),
    [
        ("bert", 0, 3, 3),
        ("bert", 0, None, 0),
        ("bert", None, None, None),
        ("gpt2", 7, 3, 7),
        ("gpt2", None, 3, 3),
        ("llama", 0, None, 0),
        ("llama", None, None, None),
    ],
)
def test_a_decoder_is_filled_up_by_what_it_takes_for_padding(
    architecture: str, own: Any, its: Any, expected: Any
) -> None:
    config = SimpleNamespace(model_type=architecture, pad_token_id=own)
    assert padding_token(config, SimpleNamespace(pad_token_id=its)) == expected
    assert padding_token(config, None) == own
