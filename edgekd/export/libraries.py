"""The libraries of the `export` extra, imported when a step needs them: `import edgekd.export` stays light."""

from __future__ import annotations

import importlib
from typing import Any

from edgekd.errors import MissingExtra


def library(name: str) -> Any:
    """The module of that dotted name. Errors: MissingExtra when it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra((error.name or name).split(".")[0], "export") from None
