"""How a task turns its examples into rows of a data set: texts or images one by one, documents in blocks of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekd.task import TASKS, TaskName

if TYPE_CHECKING:
    from edgekd.data.encode import Preprocessing
    from edgekd.data.examples import Examples


def encoded(task: TaskName, part: Examples, preprocessing: Preprocessing, tokenizer: Any) -> Any:
    """`part` as a datasets.Dataset. Errors: DataError."""
    from edgekd.data.blocks import blocks
    from edgekd.data.encode import encode

    return (blocks if _in_blocks(task) else encode)(part, preprocessing, tokenizer)


def encoded_key(task: TaskName, part: Examples, preprocessing: Preprocessing) -> str:
    """Hex SHA-256 that changes whenever `encoded` would give something else. Errors: DataError."""
    from edgekd.data.blocks import blocks_key
    from edgekd.data.encode import encoding_key

    return (blocks_key if _in_blocks(task) else encoding_key)(part, preprocessing)


def _in_blocks(task: TaskName) -> bool:
    return TASKS[task].head == "language"
