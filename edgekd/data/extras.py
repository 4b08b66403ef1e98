"""The libraries of the extra `train`, imported when they are needed and asked for in plain words when missing."""

from __future__ import annotations

import importlib
from typing import Any

from edgekd.errors import MissingExtra


def library(module: str) -> Any:
    """The module of that dotted name. Errors: MissingExtra when it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != top:
            raise
        raise MissingExtra({"PIL": "pillow", "sklearn": "scikit-learn"}.get(top, top), "train") from None
