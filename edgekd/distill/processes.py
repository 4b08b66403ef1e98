"""Several processes that train one model, as torchrun or accelerate launch start them.

The first process decides and writes, the others hear of it, so that all of them take the same turns whatever their
clocks and disks say. What is said here is said by all processes at the same place of the program, or all would wait.
In a program of one process every function does its work and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import distributed

from edgekd.errors import EdgekdError, TrainingError

T = TypeVar("T")


def join() -> None:
    """Meet the other processes where a launcher started several: through gloo on processors, NCCL on GPUs.

    Under `accelerate launch --use_fsdp`, `from_pretrained` would from now on read weights in the first process alone
    and leave the others with none. That is switched off: each needs a whole model to begin with.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        PartialState(cpu=not torch.cuda.is_available())
    if "FSDP_CPU_RAM_EFFICIENT_LOADING" in os.environ:
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def count() -> int:
    """How many processes have met; 1 in a program of one process."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process decides and writes."""
    return rank() == 0


def as_first_says(value: T) -> T:
    """`value` as the first process has it."""
    if count() == 1:
        return value
    told: list[Any] = [value]
    broadcast_object_list(told, from_process=0)
    said: T = told[0]
    return said


def done_by_first(work: Callable[[], T]) -> T:
    """What `work` gives, which the first process alone does; what it raises is raised in all."""
    if count() == 1:
        return work()
    if not is_first():
        told: tuple[Any, EdgekdError | None] = as_first_says((None, None))
        if told[1] is not None:
            raise told[1]
        result: T = told[0]
        return result
    try:
        done = work()
    except Exception as failed:
        error = failed if isinstance(failed, EdgekdError) else TrainingError(f"the first process failed: {failed!r}")
        as_first_says((None, error))
        raise
    as_first_says((done, None))
    return done


def done_by_all(work: Callable[[], T]) -> list[T]:
    """What `work` gives in each process, in their order; what it raises in one of them is raised in all."""
    if count() == 1:
        return [work()]
    done: T | None = None
    error: EdgekdError | None = None
    try:
        done = work()
    except Exception as failed:  # noqa: BLE001  raised below, when the others have heard of it
        error = failed if isinstance(failed, EdgekdError) else TrainingError(f"process {rank()} failed: {failed!r}")
    told: list[Any] = gather_object([(done, error)])
    first = next((error for _, error in told if error is not None), None)
    if first is not None:
        raise first
    return [found for found, _ in told]


def mean_of_all(value: float) -> float:
    """The mean of what the processes say; no number where one of them says none."""
    return _summed(value) / count()


def sum_of_all(number: int) -> int:
    """The sum of what the processes say."""
    return round(_summed(float(number)))


def all_say_the_same(value: str) -> bool:
    """Whether `value` is the same in all processes."""
    return count() == 1 or len(set(gather_object([value]))) == 1


def first_says(flag: bool) -> bool:
    """`flag` as the first process has it; cheaper than `as_first_says`, for every step."""
    return _summed(float(flag and is_first())) > 0


def wait_for_all() -> None:
    """Go on when all processes have come as far as this."""
    _summed(0.0)


def _summed(value: float) -> float:
    if count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=PartialState().device)
    distributed.all_reduce(total)
    return float(total.item())
