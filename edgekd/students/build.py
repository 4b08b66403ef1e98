"""Untrained students: a spec made into a model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from edgekd.student import StudentSpec
from edgekd.students.families import config_from_spec


def build(spec: StudentSpec, teacher_config: PreTrainedConfig | None = None, *, seed: int) -> PreTrainedModel:
    """An untrained model with the dimensions of `spec` and the options of the teacher, in evaluation mode, fp32.

    Equal arguments give equal weights; the caller's random state is left alone.
    Errors: SpecError.
    """
    config = config_from_spec(spec, teacher_config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _auto_class(spec).from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    untrained: PreTrainedModel = model.eval()
    return untrained


def _auto_class(spec: StudentSpec) -> Any:
    if spec.labels == 0:
        return AutoModelForCausalLM
    return AutoModelForImageClassification if spec.family == "vit" else AutoModelForSequenceClassification
