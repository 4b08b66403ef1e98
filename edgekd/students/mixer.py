"""An MLP-Mixer, which transformers does not have.

Importing this module tells transformers' Auto classes about it, so that a saved student is loaded as any other.
Source: Tolstikhin et al. 2021, MLP-Mixer, arXiv:2105.01601.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from edgekd.errors import SpecError
from edgekd.networks.mixer import MixerSpec
from edgekd.students.network_config import NetworkConfig, label_options


class MixerConfig(NetworkConfig):
    """The configuration of a Mixer."""

    model_type = "edgekd_mixer"


class Mixer(PreTrainedModel):
    """The classifier that `config.network`, the table of a MixerSpec, describes.

    Shapes: pixel_values float32 (batch, channels, image_size, image_size); logits (batch, labels).
    """

    config_class = MixerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config)
        spec = MixerSpec.from_dict(config.network or {})
        self.patches = nn.Conv2d(spec.channels, spec.hidden, spec.patch_size, spec.patch_size)
        self.layers = nn.ModuleList([MixerLayer(spec, config.hidden_act or "gelu") for _ in range(spec.layers)])
        self.norm = nn.LayerNorm(spec.hidden)
        self.classifier = nn.Linear(spec.hidden, spec.labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        pixel_values: torch.Tensor,
        return_dict: bool | None = None,  # noqa: ARG002  callers of transformers' models give it to all of them
    ) -> ImageClassifierOutputWithNoAttention:
        """The logits of `pixel_values`."""
        stream = self.patches(pixel_values).flatten(2).transpose(1, 2)
        for layer in self.layers:
            stream = layer(stream)
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(self.norm(stream).mean(1)))


class MixerLayer(nn.Module):
    """Mixes the patches of every channel, then the channels of every patch. Shapes: (batch, patches, hidden)."""

    def __init__(self, spec: MixerSpec, activation: str) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(spec.hidden)
        self.tokens = _two_layers(spec.tokens, spec.token_ffn, activation)
        self.channel_norm = nn.LayerNorm(spec.hidden)
        self.channels = _two_layers(spec.hidden, spec.channel_ffn, activation)

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        stream = stream + self.tokens(self.token_norm(stream).transpose(1, 2)).transpose(1, 2)
        mixed: torch.Tensor = stream + self.channels(self.channel_norm(stream))
        return mixed


def _two_layers(width: int, inner: int, activation: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), ACT2FN[activation], nn.Linear(inner, width))


def mixer_config_from_spec(spec: MixerSpec, teacher_config: PreTrainedConfig | None = None) -> MixerConfig:
    """The configuration of a mixer with the dimensions of `spec`, its options those of the teacher.

    Errors: SpecError when the teacher is no mixer.
    """
    if teacher_config is None:
        return MixerConfig(network=spec.to_dict(), **label_options(spec.labels))
    if not isinstance(teacher_config, MixerConfig):
        raise SpecError(
            f"a student of type mixer cannot take its options from a teacher of type {teacher_config.model_type}"
        )
    options = label_options(spec.labels, teacher_config)
    return MixerConfig(network=spec.to_dict(), hidden_act=teacher_config.hidden_act, **options)


AutoConfig.register(MixerConfig.model_type, MixerConfig)
AutoModelForImageClassification.register(MixerConfig, Mixer)
