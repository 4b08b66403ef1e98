"""The configuration of networks that transformers has no class for: the table of a spec, kept in config.json."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class NetworkConfig(PreTrainedConfig):
    """What such a network was made from: `network` is the spec's `to_dict`, `hidden_act` its activation function."""

    network: dict[str, Any] | None = None
    hidden_act: str | None = None
    image_size: int = 0
    num_channels: int = 0

    def __post_init__(self, **options: Any) -> None:
        # transformers also asks for a configuration without any value, to write down what differs from it.
        if self.network:
            self.image_size, self.num_channels = self.network["image_size"], self.network["channels"]
        super().__post_init__(**options)  # type: ignore[no-untyped-call]


def label_options(labels: int, teacher_config: PreTrainedConfig | None = None) -> dict[str, Any]:
    """The names of `labels` classes for a configuration: those of the teacher when it has as many, else numbered."""
    names: dict[Any, str] = {index: f"LABEL_{index}" for index in range(labels)}
    if teacher_config is not None and len(teacher_config.id2label or {}) == labels:
        names = dict(teacher_config.id2label or {})
    return {"id2label": names, "label2id": {name: index for index, name in names.items()}}
