"""A board dressed as a Jetson whose supply changes while it works: a small process writes what its INA3221 says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.dress import write_dress

CHIP = "sys/class/hwmon/hwmon1"
MILLIVOLTS = 5000
_PROGRAM = """
import itertools, os, sys, time
folder, period_s, values = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
due = time.monotonic()
for milliamperes in itertools.cycle(values):
    with open(folder + "/part", "w") as stream:
        stream.write(milliamperes)
    os.replace(folder + "/part", folder + "/curr1_input")
    due += period_s
    time.sleep(max(0.0, due - time.monotonic()))
"""


@contextmanager
def jetson(folder: Path, watts: Sequence[float], period_s: float = 0.03) -> Iterator[Path]:
    """Inside, the supply of the board in `folder` takes `watts` one after the other, each for `period_s`."""
    write_dress("jetson-orin-nano", folder)
    (folder / CHIP / "in1_input").write_text(f"{MILLIVOLTS}\n")
    milliamperes = [str(round(1e6 * each / MILLIVOLTS)) for each in watts]
    argv = [sys.executable, "-c", _PROGRAM, str(folder / CHIP), str(period_s), *milliamperes]
    with subprocess.Popen(argv) as process:
        try:
            yield folder
        finally:
            process.kill()
