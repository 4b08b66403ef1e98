"""Untrained students: a spec made into a model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from edgekd.networks.convolutional import ConvSpec
from edgekd.networks.mixer import MixerSpec
from edgekd.networks.spec import Spec
from edgekd.students.convolutional import conv_config_from_spec, scale_convolutions
from edgekd.students.families import config_from_spec
from edgekd.students.mixer import mixer_config_from_spec


def build(spec: Spec, teacher_config: PreTrainedConfig | None = None, *, seed: int) -> PreTrainedModel:
    """An untrained model with the dimensions of `spec` and the options of the teacher, in evaluation mode, fp32.

    A class of transformers wherever one can have these dimensions, else a network of ours.
    Equal arguments give equal weights; the caller's random state is left alone.
    Errors: SpecError.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _built(spec, teacher_config)
    untrained: PreTrainedModel = model.eval()
    return untrained


def _built(spec: Spec, teacher_config: PreTrainedConfig | None) -> Any:
    if isinstance(spec, ConvSpec):
        config = conv_config_from_spec(spec, teacher_config)
        model = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
        scale_convolutions(model)
        return model
    if isinstance(spec, MixerSpec):
        config = mixer_config_from_spec(spec, teacher_config)
        return AutoModelForImageClassification.from_config(config, dtype=torch.float32)
    config = config_from_spec(spec, teacher_config)
    options = {"add_pooling_layer": False} if spec.head == "none" else {}
    auto = auto_class(spec.head, spec.family)
    return auto.from_config(config, dtype=torch.float32, attn_implementation="sdpa", **options)


def auto_class(head: str, family: str) -> Any:
    """The class of transformers that loads and builds models of a `family` with this `head`."""
    if head == "language":
        return AutoModelForSeq2SeqLM if family == "encoder-decoder" else AutoModelForCausalLM
    if head == "none":
        return AutoModel
    if head == "tokens":
        return AutoModelForTokenClassification
    return AutoModelForImageClassification if family == "vit" else AutoModelForSequenceClassification
