"""Libraries that speak on their own, made silent while we use them: only our progress callback talks to the user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import transformers


@contextmanager
def silent_libraries() -> Iterator[None]:
    """Inside: no progress bars of datasets, and of transformers' log only errors. After: everything as it was."""
    bars = datasets.utils.are_progress_bars_disabled()
    verbosity = transformers.logging.get_verbosity()
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
