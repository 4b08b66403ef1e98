"""The architecture says which kind of specification a table holds."""

import pytest

from edgekd.errors import SpecError
from edgekd.networks.convolutional import efficientnet, mobilenet_v2
from edgekd.networks.mixer import MixerSpec
from edgekd.networks.spec import ARCHITECTURES, Spec, spec_from_dict
from edgekd.student import StudentSpec

SPECS: list[Spec] = [
    StudentSpec(architecture="gpt2", layers=2, hidden=16, heads=2, ffn=24, vocabulary=50, positions=40),
    mobilenet_v2(0.5, image_size=32),
    efficientnet(0.5, image_size=32),
    MixerSpec(layers=2, hidden=16, token_ffn=8, channel_ffn=32, image_size=28, patch_size=7, channels=1, labels=10),
]


def test_every_kind_is_found_again_by_its_architecture() -> None:
    for spec in SPECS:
        assert spec_from_dict(spec.to_dict()) == spec
        assert spec.architecture in ARCHITECTURES


@pytest.mark.parametrize("table", [{}, {"architecture": "resnet"}, {"architecture": None}])
def test_an_unknown_architecture_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="expected one of bert, "):
        spec_from_dict(table)


def test_no_two_kinds_share_an_architecture() -> None:
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)
