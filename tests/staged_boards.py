"""Staged boards for tests: trees in the place of /sys and /proc, and small programs in the place of their tools."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

PI_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd
CPU implementer\t: 0x41
CPU part\t: 0xd05

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def stage(folder: Path, files: dict[str, object]) -> str:
    """Write `files` below `folder`; its name as the agent takes a root."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return f"{folder}/"


def tool(folder: Path, name: str, script: str) -> None:
    """A program `name` of the board."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def pi_facts(**changed: dict[str, Any] | None) -> dict[str, Any]:
    """What the agent says of a Raspberry Pi 5 that is ready; `changed` replaces single facts of its parts."""
    fine = {"state": "fine", "version": "2.0", "providers": [], "said": None}
    cluster = {"core": "Cortex-A76", "cpus": [0, 1, 2, 3], "clock_hz": 2_400_000_000, "capacity": 1024}
    table: dict[str, Any] = {
        "hardware": {
            "model": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64", "clusters": [cluster],
            "features": ["dotprod", "fp16", "neon"], "memory_bytes": 8254000 * 1024,
            "memory_available_bytes": 7_000_000_000,
        },
        "system": {
            "kernel": "Linux 6.6.31+rpt-rpi-v8", "distribution": "Debian GNU/Linux 12", "family": "debian",
            "l4t": None, "android": None, "boot_id": "b", "unix_s": time.time(),
        },
        "python": {
            "version": "3.11.2", "implementation": "CPython", "executable": "/usr/bin/python3", "bits": 64,
            "free_threaded": False, "has_venv": True, "has_pip": True, "libc": "glibc", "libc_version": "2.36",
        },
        "sensors": {
            "zones": [{"kind": "cpu-thermal", "temperature_c": 48.3}], "temperature_c": 48.3, "rails": [],
            "throttled": "0x0", "has_vcgencmd": True, "thermal_status": None, "power_mode": None,
            "has_nvpmodel": False, "governors": ["performance"], "clock_hz": 2_400_000_000, "may_tune": False,
        },
        "runtimes": {
            "numpy": fine, "onnxruntime": {**fine, "version": "1.24", "providers": ["CPUExecutionProvider"]},
            "tensorrt": {**fine, "state": "missing", "version": None},
        },
        "trtexec": None,
        "workspace": {"folder": "/home/pi/.edgekd", "disk_free_bytes": 10**10, "lock": "free", "left_tuned": False},
    }  # fmt: skip
    for name, part in changed.items():
        table[name] = {**table[name], **part} if isinstance(table[name], dict) and part is not None else part
    return table
