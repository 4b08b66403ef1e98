"""What the board says of itself."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

from .texts import throttled_word

TOOL_TIMEOUT_S = 10


def system_root() -> str:
    """Where /sys, /proc and /etc are looked for: '/', or the folder in EDGEKD_SYSROOT, where tests stage a board."""
    return (os.environ.get("EDGEKD_SYSROOT") or "/").rstrip("/") + "/"


def said_by(argv: List[str]) -> Optional[str]:
    """What the program says on its output, or None when it is not there, fails to answer in time or cannot run."""
    tool = shutil.which(argv[0])
    if tool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [tool, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=TOOL_TIMEOUT_S,
            )
            return done.stdout[: 1 << 18].decode("utf-8", "replace")
    return None


def read_text(path: str, limit: int = 65536) -> Optional[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(limit).strip("\0 \n\t")
    except OSError:
        return None


def read_int(path: str) -> Optional[int]:
    with contextlib.suppress(ValueError):
        return int(read_text(path) or "")
    return None


def field(text: Optional[str], *names: str) -> Optional[str]:
    """The value after 'name :' in the lines of `text`, for the first of `names` that occurs."""
    for name in names:
        for line in (text or "").splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip().lower() == name.lower() and value.strip():
                return value.strip()
    return None


def kilobytes(text: Optional[str]) -> Optional[int]:
    word = (text or "").split(" ")[0]
    return int(word) * 1024 if word.isascii() and word.isdigit() else None


def temperature_c(root: str) -> Optional[float]:
    """The hottest zone that names the processor, or the hottest of all; None when there is none to believe."""
    zones = []
    for zone in map(str, Path(root + "sys/class/thermal").glob("thermal_zone*")):
        milli = read_int(zone + "/temp")
        if milli is not None and -40000 < milli < 150000 and milli != 0:
            zones.append(((read_text(zone + "/type") or "").lower(), milli / 1000))
    named = [value for kind, value in zones if any(word in kind for word in ("cpu", "soc", "pkg"))]
    return max(named or [value for _, value in zones], default=None)


def throttled(root: str) -> Optional[str]:
    """What the firmware says of throttling: a Raspberry Pi's bits in hex, or an Intel processor's count of events."""
    said = said_by(["vcgencmd", "get_throttled"])
    if said is not None:
        return throttled_word(said)
    count = read_int(root + "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count")
    return None if count is None else "%d throttle events" % count


def load() -> Optional[float]:
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def passing_facts(when: str, root: str = "/") -> Dict[str, Any]:
    """What changes while measuring; taken before and after."""
    return {"load_" + when: load(), "temperature_c_" + when: temperature_c(root), "throttled_" + when: throttled(root)}


def lasting_facts(root: str = "/") -> Dict[str, Any]:
    """What the board is."""
    board = read_text(root + "sys/firmware/devicetree/base/model")
    policy = root + "sys/devices/system/cpu/cpu0/cpufreq/"
    kilohertz = read_int(policy + "scaling_cur_freq")
    return {
        "machine": platform.machine(),
        "system": "%s %s" % (platform.system(), platform.release()),
        "python": platform.python_version(),
        "cpu": board or field(read_text(root + "proc/cpuinfo"), "model name", "hardware", "cpu model", "cpu"),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": kilobytes(field(read_text(root + "proc/meminfo"), "MemTotal")),
        "governor": read_text(policy + "scaling_governor"),
        "boot_id": read_text(root + "proc/sys/kernel/random/boot_id"),
        "clock_hz": None if kilohertz is None else kilohertz * 1000,
    }
