"""Two processes ask a teacher together; see test_shard_files.py.

Usage: python -m torch.distributed.run --standalone --nproc-per-node 2 cache_processes.py FOLDER MODE. Each process leaves
FOLDER/MODE-RANK.json.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from launching import leave
from tiny_digits import PAD, digit_sequences, tiny_bert
from torch import distributed

from edgekd.distill import processes
from edgekd.distill.cache import PROBES, cached_logits
from edgekd.errors import EdgekdError

ROWS, SHARD_ROWS = 70, 10
KILLED_AT = 25  # rows of the second process: in its third shard of four


class Counted:
    """Counts the rows that a model is asked about, before the probes, and may kill the process in their midst."""

    def __init__(self, model: Any, kill_at: int | None = None) -> None:
        self.rows, self._kill_at = 0, kill_at
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module: Any, _args: Any, kwargs: Any) -> None:
        self.rows += len(next(iter(kwargs.values())))
        if self._kill_at is not None and self.rows >= self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def asked(folder: Path, kill_at: int | None = None) -> dict[str, Any]:
    """What a process hears of the answers that it and others asked for."""
    model, heard = tiny_bert(9), []
    counted = Counted(model, kill_at)
    cached = cached_logits(
        model, digit_sequences(0, ROWS), folder, batch_size=5, pad_token_id=PAD, shard_rows=SHARD_ROWS,
        on_rows=lambda done, rows: heard.append([done, rows]),
    )  # fmt: skip
    return {"asked": counted.rows - PROBES, "heard": heard, "rows": cached["row"][:],
            "logits": np.asarray(cached["teacher_logits"][:]).tolist()}  # fmt: skip


def error_of(what: Any) -> str:
    try:
        what()
    except EdgekdError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def ill(model: Any) -> Any:
    """The model, which answers NaN in the second process."""

    def spoil(_module: Any, _inputs: Any, outputs: Any) -> None:
        outputs.logits.fill_(float("nan"))

    if processes.rank() == 1:
        model.register_forward_hook(spoil)
    return model


def refusals(folder: Path) -> dict[str, str]:
    """What each process says where one of them alone meets the trouble."""
    rows, options = digit_sequences(0, 20), {"batch_size": 5, "pad_token_id": PAD, "shard_rows": 5}
    other = error_of(lambda: cached_logits(tiny_bert(1 + processes.rank()), rows, folder / "other", **options))
    apart = error_of(lambda: cached_logits(tiny_bert(3), rows, folder / str(processes.rank()), **options))
    nan = error_of(lambda: cached_logits(ill(tiny_bert(3)), rows, folder / "nan", **options))
    written = len(list((folder / "nan").glob("*/shard-*")))
    indexed = len(list((folder / "nan").glob("*/cache.json")))
    cached_logits(tiny_bert(4), rows, folder / "changed", **options)
    if processes.is_first():
        last = max((folder / "changed").glob("*/shard-*"))
        last.write_bytes(last.read_bytes()[:-1] + b"x")
    processes.wait_for_all()
    changed = error_of(lambda: cached_logits(tiny_bert(4), rows, folder / "changed", **options))
    return {
        "other": other,
        "apart": apart.partition(": ")[2],
        "nan": nan,
        "written": str(written),
        "indexed": str(indexed),
        "changed": changed,
    }


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    rank = processes.rank()
    if mode == "whole":
        told = {"first": asked(folder / "whole"), "again": asked(folder / "whole"),
                "all": processes.done_by_all(processes.rank), "refusals": refusals(folder)}  # fmt: skip
    else:
        told = asked(folder / "killed", KILLED_AT if rank == 1 else None)
    leave(folder, mode, rank, told)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
