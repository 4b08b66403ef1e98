"""A network of ours is saved and loaded as any model of transformers."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForImageClassification

from edgekd.networks.convolutional import mobilenet_v2
from edgekd.networks.mixer import MixerSpec
from edgekd.students.build import build
from edgekd.students.mixer import MixerConfig
from edgekd.students.network_config import label_options

MIXER = MixerSpec(layers=2, hidden=8, token_ffn=6, channel_ffn=9, image_size=8, patch_size=4, channels=1, labels=3)


def test_a_configuration_says_what_every_image_model_says_of_its_input() -> None:
    config = MixerConfig(network=MIXER.to_dict(), **label_options(3))
    assert (config.image_size, config.num_channels, config.num_labels) == (8, 1, 3)
    assert MixerConfig().network is None


def test_label_names_are_the_teachers_where_there_are_as_many() -> None:
    teacher = MixerConfig(network=MIXER.to_dict(), id2label={0: "cat", 1: "dog", 2: "owl"})
    assert label_options(3, teacher) == {
        "id2label": {0: "cat", 1: "dog", 2: "owl"},
        "label2id": {"cat": 0, "dog": 1, "owl": 2},
    }
    assert label_options(2, teacher)["label2id"] == {"LABEL_0": 0, "LABEL_1": 1}


def test_a_saved_network_is_loaded_by_the_auto_class_and_answers_alike(tmp_path: Path) -> None:
    deep = replace(mobilenet_v2(0.1, image_size=16, labels=3), depths=(1,) * 7)
    for spec, pixels in ((MIXER, torch.rand(2, 1, 8, 8)), (deep, torch.rand(2, 3, 16, 16))):
        model = build(spec, seed=1)
        folder = tmp_path / spec.family
        model.save_pretrained(folder)
        again = AutoModelForImageClassification.from_pretrained(folder).eval()
        assert type(again) is type(model)
        with torch.no_grad():
            torch.testing.assert_close(again(pixels).logits, model(pixels).logits)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
