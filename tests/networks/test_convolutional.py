"""A convolutional network is either possible or refused with a reason."""

from dataclasses import replace
from typing import Any

import pytest

from edgekd.errors import SpecError
from edgekd.networks.convolutional import ConvSpec, efficientnet, mobilenet_v2, rounded_channels

SMALL = ConvSpec(
    architecture="mobilenet_v2", stem=8, widths=(4, 8), depths=(1, 2), kernels=(3, 5), strides=(1, 2),
    expansions=(1, 6), head=32, image_size=31, channels=3, labels=10,
)  # fmt: skip


def test_blocks_follow_from_the_stages() -> None:
    first, second, third = replace(SMALL, squeeze=0.25).blocks
    assert (first.inputs, first.expanded, first.outputs, first.squeezed, first.residual) == (8, 8, 4, 2, False)
    assert (second.inputs, second.expanded, second.outputs, second.stride, second.squeezed) == (4, 24, 8, 2, 1)
    assert (third.inputs, third.expanded, third.stride, third.kernel, third.residual) == (8, 48, 1, 5, True)
    assert [block.widens for block in SMALL.blocks] == [False, True, True]
    assert {block.squeezed for block in SMALL.blocks} == {0}


def test_a_mobilenet_adds_the_input_wherever_it_fits_and_an_efficientnet_only_inside_a_stage() -> None:
    even = replace(SMALL, stem=4, widths=(4, 4), depths=(1, 1), strides=(1, 1), image_size=32)
    assert [block.residual for block in even.blocks] == [False, True]
    assert [block.residual for block in replace(even, architecture="efficientnet").blocks] == [False, False]


def test_a_name_tells_networks_apart_and_says_once_what_all_stages_share() -> None:
    assert SMALL.name == "R31-S8-W4.8-D1.2-K3.5-T1.2-E1.6-H32"
    assert replace(SMALL, kernels=(3, 3), squeeze=0.25).name == "R31-S8-W4.8-D1.2-K3-T1.2-E1.6-Q0.25-H32"
    assert (SMALL.family, SMALL.tokens) == ("cnn", 1)


def test_a_spec_round_trips_through_plain_values() -> None:
    for spec in (SMALL, mobilenet_v2(0.35), efficientnet(1.2, 1.4, image_size=300)):
        table = spec.to_dict()
        assert isinstance(table["widths"], list)
        assert ConvSpec.from_dict(table) == spec


def test_the_papers_networks_have_the_stages_of_the_papers() -> None:
    half = mobilenet_v2(0.5)
    assert (half.stem, half.widths, half.head) == (16, (8, 16, 16, 32, 48, 80, 160), 1280)
    assert mobilenet_v2(1.4).head == 1792
    b2 = efficientnet(1.1, 1.2, image_size=260)
    assert (b2.stem, b2.widths, b2.depths, b2.head) == (
        32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2), 1408,
    )  # fmt: skip


def test_channels_are_rounded_to_the_nearest_multiple_that_is_not_much_less() -> None:
    assert [rounded_channels(channels) for channels in (1, 11, 12, 35.2, 100, 179.2)] == [8, 16, 16, 32, 104, 176]
    assert rounded_channels(7.6, divisor=1) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet"}, "expected one of mobilenet_v2, efficientnet"),
        ({"stem": 0}, "stem is 0"),
        ({"labels": 0}, "labels is 0"),
        ({"depths": (1,)}, "depths has 1 stages"),
        ({"widths": (), "depths": (), "kernels": (), "strides": (), "expansions": ()}, "at least one"),
        ({"widths": (4, 0)}, "widths holds 0"),
        ({"strides": (1, 3)}, "strides holds 3, expected 1 or 2"),
        ({"kernels": (3, 4)}, "kernels holds 4, expected odd"),
        ({"squeeze": 1.5}, "squeeze is 1.5"),
        ({"squeeze": -0.1}, "squeeze is -0.1"),
        ({"architecture": "efficientnet"}, "image_size is 31, expected an even number"),
    ],
)
def test_impossible_dimensions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        replace(SMALL, **change)
