"""An MLP-Mixer as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgekd.errors import SpecError
from edgekd.networks.table import from_table

ARCHITECTURES = ("mixer",)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixerSpec:
    """Dimensions of an MLP-Mixer: of a student, and just as well of its teacher.

    The image is cut into patches of `patch_size`, each made a vector of `hidden` numbers. Each of `layers` has two
    blocks of two linear layers: one mixes the patches of every channel, `token_ffn` wide inside, the other the channels
    of every patch, `channel_ffn` wide inside. The average over the patches and a linear layer of `labels` outputs come
    last.
    Errors: SpecError for dimensions that no such network can have.
    Source: Tolstikhin et al. 2021, MLP-Mixer, arXiv:2105.01601.
    """

    layers: int
    hidden: int
    token_ffn: int
    channel_ffn: int
    image_size: int
    patch_size: int
    channels: int
    labels: int
    architecture: str = "mixer"

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SpecError(f"found the architecture {self.architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "architecture" and value < 1:
                raise SpecError(f"{item.name} is {value}, expected at least 1")
        if self.image_size % self.patch_size:
            raise SpecError(f"an image of {self.image_size} cannot be cut into patches of {self.patch_size}")

    @property
    def family(self) -> str:
        """'mixer'."""
        return "mixer"

    @property
    def name(self) -> str:
        """'R224-P16-L8-H512-T256-C2048'; R is the image and P the patch, T the token and C the channel mixing."""
        image = f"R{self.image_size}-P{self.patch_size}"
        return f"{image}-L{self.layers}-H{self.hidden}-T{self.token_ffn}-C{self.channel_ffn}"

    @property
    def tokens(self) -> int:
        """Patches of an image: what token mixing mixes."""
        return (self.image_size // self.patch_size) ** 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> MixerSpec:
        """The spec in `table`. Errors: SpecError for unknown, missing or mistyped keys."""
        return from_table(cls, table, "a mixer")
