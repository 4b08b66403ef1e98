"""A mixer really mixes patches and channels, and takes its options from its teacher."""

from dataclasses import replace

import pytest
import torch
from transformers import MobileNetV2Config

from edgekd.errors import SpecError
from edgekd.networks.mixer import MixerSpec
from edgekd.students.build import build
from edgekd.students.mixer import Mixer, MixerConfig, mixer_config_from_spec

SPEC = MixerSpec(layers=2, hidden=8, token_ffn=6, channel_ffn=9, image_size=8, patch_size=4, channels=3, labels=3)


def test_a_layer_carries_one_patch_to_all_others_by_token_mixing_alone() -> None:
    model = build(replace(SPEC, layers=1), seed=0)
    assert isinstance(model, Mixer)
    layer = model.layers[0]
    stream = torch.rand(1, 4, 8)
    moved = stream.clone()
    moved[0, 2] += torch.rand(8)
    with torch.no_grad():
        changed = (layer(moved) - layer(stream)).abs().sum(-1)[0]
        for weight in layer.tokens.parameters():
            weight.zero_()
        alone = (layer(moved) - layer(stream)).abs().sum(-1)[0]
    assert (changed > 0).all()
    assert (alone > 0).tolist() == [False, False, True, False]


def test_a_student_has_the_activation_and_the_labels_of_its_teacher() -> None:
    teacher = MixerConfig(network=SPEC.to_dict(), hidden_act="relu", id2label={0: "a", 1: "b", 2: "c"})
    config = mixer_config_from_spec(replace(SPEC, layers=1), teacher)
    assert (config.hidden_act, config.id2label) == ("relu", {0: "a", 1: "b", 2: "c"})
    assert [type(module).__name__ for module in build(SPEC, teacher, seed=0).modules()].count("ReLU") == 4


def test_a_teacher_of_another_kind_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot take its options from a teacher of type mobilenet_v2"):
        mixer_config_from_spec(SPEC, MobileNetV2Config())
