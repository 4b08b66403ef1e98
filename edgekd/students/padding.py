"""Which token fills up the shorter texts of a batch."""

from __future__ import annotations

from typing import Any

# These classify at the last token that is no padding, and know it by its number alone.
DECODERS = ("gpt2", "llama")


def padding_token(config: Any, tokenizer: Any) -> int | None:
    """The number of the token that fills up texts for a model of this `config`; None where neither names one.

    For a decoder that is what its configuration takes for padding, which may not be the tokenizer's: filled up with
    another token it would classify at the filling. For all others it is the tokenizer's, else the configuration's.
    """
    own, its = getattr(config, "pad_token_id", None), getattr(tokenizer, "pad_token_id", None)
    known = (own, its) if getattr(config, "model_type", None) in DECODERS else (its, own)
    return next((int(token) for token in known if token is not None), None)
