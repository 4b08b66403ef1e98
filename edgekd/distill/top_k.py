"""What is kept of a language model as a teacher: each position's most probable tokens, and one bucket for the rest.

All logits of a million tokens over a vocabulary of 50,000 would take 200 GB; 64 of them with the rest take 0.4 GB.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import datasets
import numpy as np
import torch

from edgekd.distill.cache import Columns, Question, near
from edgekd.distill.language import batch_logits
from edgekd.distill.losses.truncated import LEAST_TAIL
from edgekd.errors import InputError

TEACHER_IDS = "teacher_ids"
TEACHER_LOG_PROBABILITIES = "teacher_log_probabilities"
TEACHER_LOG_TAIL = "teacher_log_tail"
COLUMNS = (TEACHER_IDS, TEACHER_LOG_PROBABILITIES, TEACHER_LOG_TAIL)

TOP_K = 64  # tokens of each position, our choice
LEAST_EQUAL = 0.5  # of the tokens asked about again: equal probabilities may change places by rounding alone


def top_k_question(k: int) -> Question:
    """The `k` most probable tokens of each position of a row but the last, or all where there are fewer.

    Columns: ids, int32, and log-probabilities, float16, [positions x k], the most probable one first; the logarithm of
    all other probability together, float32 [positions], at least ln(1e-6). Errors: InputError for k below 1.
    """
    if k < 1:
        raise InputError(f"distill.top_k is {k}, expected at least 1")
    return Question(COLUMNS, partial(_asked, k), {"answers": "top-k", "k": k}, _alike)


def _asked(k: int, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None) -> Columns:
    parts: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for _, (logits,) in batch_logits((model,), dataset, batch_size, pad_token_id):
        known = torch.log_softmax(logits, dim=-1)
        kept = known.topk(min(k, known.shape[-1]), dim=-1)
        rest = known.scatter(-1, kept.indices, float("-inf")).logsumexp(dim=-1)
        tail = rest.clamp(min=float(np.log(LEAST_TAIL)))
        found = (kept.indices.int(), kept.values.half(), tail)
        for name, values in zip(COLUMNS, found, strict=True):
            parts[name].append(values.flatten(1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def _alike(stored: Columns, fresh: Columns) -> bool:
    """Whether the numbers are the same but for rounding, and the tokens but for some of equal probability."""
    before, now = ({name: np.asarray(given[name]) for name in COLUMNS} for given in (stored, fresh))
    if any(before[name].shape != now[name].shape for name in COLUMNS):
        return False
    equal = float((before[TEACHER_IDS] == now[TEACHER_IDS]).mean())
    numbers = (TEACHER_LOG_PROBABILITIES, TEACHER_LOG_TAIL)
    return equal >= LEAST_EQUAL and all(
        near(before[name].astype(np.float32), now[name].astype(np.float32)) for name in numbers
    )
