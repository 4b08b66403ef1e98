"""Two real processes on this machine's loopback, and what each of them left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def launched(program: str, folder: Path, mode: str, **environment: str) -> Any:
    """`program` FOLDER MODE under torchrun, as it ended."""
    given = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1", **environment,
    }  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    return subprocess.run(
        [*command, str(folder), mode], env=given, capture_output=True, text=True, timeout=200, check=False
    )


def leave(folder: Path, mode: str, rank: int, told: Any) -> None:
    """Write what a process has to tell."""
    (folder / f"{mode}-{rank}.json").write_text(json.dumps(told))


def left_by(folder: Path, mode: str) -> list[Any]:
    """What both processes told."""
    return [json.loads((folder / f"{mode}-{rank}.json").read_text()) for rank in range(2)]
