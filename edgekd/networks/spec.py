"""Any network that we count exactly, and the one way to read which it is from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.errors import SpecError
from edgekd.networks import convolutional, mixer
from edgekd.networks.convolutional import ConvSpec
from edgekd.networks.mixer import MixerSpec
from edgekd.student import ARCHITECTURES as TRANSFORMERS
from edgekd.student import StudentSpec

Spec = StudentSpec | ConvSpec | MixerSpec
ARCHITECTURES = (*TRANSFORMERS, *convolutional.ARCHITECTURES, *mixer.ARCHITECTURES)


def spec_from_dict(table: Mapping[str, Any]) -> Spec:
    """The spec in `table`, of the kind that its architecture says; the inverse of `to_dict` of each kind.

    Errors: SpecError for an unknown architecture, and for unknown, missing or mistyped keys.
    """
    architecture = table.get("architecture")
    if architecture in convolutional.ARCHITECTURES:
        return ConvSpec.from_dict(table)
    if architecture in mixer.ARCHITECTURES:
        return MixerSpec.from_dict(table)
    if architecture in TRANSFORMERS:
        return StudentSpec.from_dict(dict(table))
    raise SpecError(f"found the architecture {architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
