"""A mixer is either possible or refused with a reason."""

from dataclasses import replace
from typing import Any

import pytest

from edgekd.errors import SpecError
from edgekd.networks.mixer import MixerSpec

SMALL = MixerSpec(
    layers=2, hidden=16, token_ffn=8, channel_ffn=32, image_size=28, patch_size=7, channels=1, labels=10
)  # fmt: skip


def test_the_name_the_family_and_the_patches_follow_from_the_dimensions() -> None:
    assert SMALL.name == "R28-P7-L2-H16-T8-C32"
    assert (SMALL.architecture, SMALL.family, SMALL.tokens) == ("mixer", "mixer", 16)


def test_a_spec_round_trips_through_plain_values() -> None:
    assert MixerSpec.from_dict(SMALL.to_dict()) == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "vit"}, "expected one of mixer"),
        ({"layers": 0}, "layers is 0"),
        ({"token_ffn": 0}, "token_ffn is 0"),
        ({"patch_size": 5}, "an image of 28 cannot be cut into patches of 5"),
    ],
)
def test_impossible_dimensions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(SMALL, **change)
