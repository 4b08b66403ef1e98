"""The usual small models: of every size that a calibration needs, and all of them possible."""

import pytest

from edgekd.cost.count import parameters
from edgekd.cost.operators import operators
from edgekd.networks.convolutional import efficientnet, mobilenet_v2
from edgekd.pipeline.usual import CONVOLUTIONAL, FAMILIES, convolutional, language_model, usual_space


@pytest.mark.parametrize("architecture", CONVOLUTIONAL)
def test_convolutional_networks_reach_from_tiny_ones_to_deeper_than_the_paper(architecture: str) -> None:
    found = convolutional(architecture)
    assert len({spec.name for spec in found}) == len(found) > 100
    sizes = sorted(parameters(spec) for spec in found)
    paper = {"mobilenet_v2": mobilenet_v2, "efficientnet": efficientnet}[architecture](labels=10)
    assert sizes[0] < parameters(paper) / 5 < parameters(paper) < sizes[-1]
    for spec in (found[0], found[-1]):
        assert operators(spec, batch=1, sequence=1)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_language_model_has_a_head_over_its_vocabulary(family: str) -> None:
    spec = language_model(family)
    assert (spec.labels, spec.heads * spec.head_dim) == (0, spec.hidden)
    assert operators(spec, batch=1, sequence=1, past=spec.positions - 1)
    with pytest.raises(KeyError):
        language_model("bert")


def test_a_space_has_all_depths_and_whole_heads() -> None:
    for spec in FAMILIES.values():
        space = usual_space(spec)
        assert space.layers == list(range(1, spec.layers + 1))
        assert space.hidden is not None
        assert all(hidden % spec.head_dim == 0 for hidden in space.hidden)
