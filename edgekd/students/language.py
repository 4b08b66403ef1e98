"""Language models as teachers and saved students: from a located source to a model that gives the next token."""

from __future__ import annotations

from transformers import PreTrainedModel

from edgekd.errors import InputError, SpecError
from edgekd.student import DECODERS
from edgekd.students.source import load_config, load_with_report
from edgekd.text import listing


def load_language_model(name: str) -> PreTrainedModel:
    """The located causal language model `name`, in evaluation mode, in fp32, attention through SDPA.

    Its head is the table of embeddings where the configuration ties them, else one of its own, which the weights must
    hold: nothing is drawn anew.
    Errors: InputError, SecurityError or SpecError for a model that does not fit, ToolError when the hub is unreachable.
    """
    config = load_config(name)
    if config.model_type not in DECODERS:
        raise SpecError(
            f"{name}: a {config.model_type} predicts no next token, expected a language model of {listing(DECODERS)}"
        )
    model, info = load_with_report(name, config, "language")
    other_shape = sorted({str(item[0]) for item in info["mismatched_keys"]})
    if other_shape:
        raise InputError(
            f"{name}: its weights do not fit its config.json: {listing(other_shape, limit=3)} has another shape"
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{name}: its weights lack {listing(missing, limit=3)}, expected a language model with its head. "
            "Was it saved without one, or should config.json say tie_word_embeddings?"
        )
    return model
