"""Our own net of inverted residual blocks is the same function as that of transformers."""

import torch
from transformers import AutoModelForImageClassification

from edgekd.networks.convolutional import ConvSpec, efficientnet, mobilenet_v2
from edgekd.students.build import build
from edgekd.students.inverted_residual import InvertedResidualConfig, InvertedResidualNet
from edgekd.students.network_config import label_options


def twin(spec: ConvSpec, theirs: torch.nn.Module) -> InvertedResidualNet:
    """Our net with the weights of transformers' one; both without the small number that batch norms add."""
    ours = InvertedResidualNet(InvertedResidualConfig(network=spec.to_dict(), **label_options(spec.labels))).eval()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    for module in (*ours.modules(), *theirs.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    return ours


def test_with_the_weights_of_transformers_mobilenet_it_gives_the_same_answers() -> None:
    spec = mobilenet_v2(0.1, image_size=33, labels=3)
    theirs = build(spec, seed=0)
    ours = twin(spec, theirs)
    pixels = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels).logits
        torch.testing.assert_close(ours(pixel_values=pixels).logits, expected, rtol=1e-4, atol=1e-5)


def test_with_the_weights_of_transformers_efficientnet_it_gives_the_same_answers_in_a_mirror() -> None:
    # An even image is padded below and to the right by them, above and to the left by us.
    spec = efficientnet(0.25, image_size=32, labels=3)
    theirs = build(spec, seed=0)
    ours = twin(spec, theirs)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels).logits
        for module in ours.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(module.weight.flip(2, 3))
        mirrored = ours(pixel_values=pixels.flip(2, 3)).logits
    assert expected.abs().max() > 0
    torch.testing.assert_close(mirrored / expected.std(), expected / expected.std(), rtol=1e-3, atol=1e-3)


def test_the_auto_class_knows_it() -> None:
    config = InvertedResidualConfig(network=mobilenet_v2(0.1, image_size=16).to_dict())
    assert isinstance(AutoModelForImageClassification.from_config(config), InvertedResidualNet)
