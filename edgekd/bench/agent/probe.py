"""What the board is, in one table of bounded size: hardware, system, Python, runtimes and sensors.

Every word that came from the board is cut to a length, every list to a number, and what cannot be told is None. Each
runtime is tried in a process of its own, for one that was built for another processor does not raise, it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Optional

from .board_lock import fcntl, is_free
from .facts import field, read_int, read_text, said_by, system_root, temperature_c, throttled
from .texts import (
    core_name,
    features,
    l4t_release,
    memory_table,
    number_list,
    processors,
    properties,
    tensorrt_version,
)
from .tune import JOURNAL, governor_files, tunable
from .watch import android_status, mode_now, rails_w

TRY_TIMEOUT_S = 120
MOST_ZONES, MOST_WORD = 64, 120
PROPERTIES = ("ro.product.model", "ro.product.manufacturer", "ro.soc.model", "ro.build.version.release")
# One product of two 8 x 8 matrices, so that the runtime's own kernels run. Made by onnx.helper, opset 9.
PRODUCT = "CAcSADpAChEKAXgKAXgSAXkiBk1hdE11bBIBZ1oTCgF4Eg4KDAgBEggKAggICgIICGITCgF5Eg4KDAgBEggKAggICgIICEIECgAQCQ=="
TRIES = {
    "numpy": "import numpy as n; n.dot(n.ones((8, 8)), n.ones((8, 8))); v, p = n.__version__, []",
    "onnxruntime": (
        "import base64, numpy as n, onnxruntime as o; s = o.InferenceSession(base64.b64decode(%r), "
        "providers=['CPUExecutionProvider']); assert s.run(None, {'x': n.ones((8, 8), 'float32')})[0][0][0] == 8; "
        "v, p = o.__version__, o.get_available_providers()"
    )
    % PRODUCT,
    "tensorrt": "import tensorrt as t; v, p = t.__version__, []",
}
_SAYING = "; import json; print(json.dumps({'version': str(v)[:40], 'providers': [str(x)[:60] for x in p][:20]}))"


def cut(text: Optional[str], limit: int = MOST_WORD) -> Optional[str]:
    """At most `limit` characters of the first line; None for nothing."""
    lines = (text or "").strip().splitlines()
    return lines[0][:limit] or None if lines else None


def tried(name: str) -> Dict[str, Any]:
    """Whether the module can be imported and does a little work, in a process of its own.

    `state`: fine, missing, killed (with the signal), failed or hung.
    """
    blank = {"state": "fine", "version": None, "providers": [], "said": None}  # type: Dict[str, Any]
    if find_spec(name) is None:
        return dict(blank, state="missing")
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIES[name] + _SAYING],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            timeout=TRY_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return dict(blank, state="hung", said="did not end within %d s" % TRY_TIMEOUT_S)
    said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    last = cut(said[-1], 300) if said else None
    if done.returncode < 0:
        try:
            named = signal.Signals(-done.returncode).name
        except ValueError:
            named = "signal %d" % -done.returncode
        return dict(blank, state="killed", said=named)
    with contextlib.suppress(ValueError, IndexError):
        if done.returncode == 0:
            return dict(blank, **json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1]))
    return dict(blank, state="failed", said=last)


def clusters(root: str) -> List[Dict[str, Any]]:
    """Equal processors together, by their kind and highest clock, the fastest first."""
    cpus = root + "sys/devices/system/cpu/"
    tables = processors(read_text(root + "proc/cpuinfo", 1 << 20) or "")
    by_number = {int(table["processor"]): table for table in tables}
    numbers = number_list(read_text(cpus + "present") or "") or sorted(by_number)
    found = {}  # type: Dict[Any, Dict[str, Any]]
    for number in numbers:
        table = by_number.get(number, {})
        highest = read_int("%scpu%d/cpufreq/cpuinfo_max_freq" % (cpus, number))
        key = (core_name(table), highest)
        capacity = read_int("%scpu%d/cpu_capacity" % (cpus, number))
        clock_hz = 1000 * highest if highest and highest > 0 else None
        blank = {"core": cut(key[0]), "cpus": [], "clock_hz": clock_hz, "capacity": capacity}  # type: Dict[str, Any]
        found.setdefault(key, blank)["cpus"].append(number)
    return sorted(found.values(), key=lambda one: (-(one["capacity"] or 0), -(one["clock_hz"] or 0)))[:16]


def common_features(root: str) -> Optional[List[str]]:
    """What every processor can do; None when none of them says."""
    tables = processors(read_text(root + "proc/cpuinfo", 1 << 20) or "")
    told = [set(features(table)) for table in tables if table.get("features") or table.get("flags")]
    return sorted(set.intersection(*told)) if told else None


def hardware(root: str) -> Dict[str, Any]:
    memory = memory_table(read_text(root + "proc/meminfo") or "")
    tree = read_text(root + "sys/firmware/devicetree/base/model") or read_text(root + "proc/device-tree/model")
    vendor = read_text(root + "sys/class/dmi/id/product_name")
    return {
        "model": cut(tree or vendor or field(read_text(root + "proc/cpuinfo", 1 << 20), "model")),
        "machine": platform.machine(),
        "clusters": clusters(root),
        "features": common_features(root),
        "memory_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable"),
    }


def system(root: str) -> Dict[str, Any]:
    release = read_text(root + "etc/os-release") or ""
    pairs = dict(line.partition("=")[::2] for line in release.splitlines() if "=" in line)
    asked = said_by(["getprop"])
    android = {} if asked is None else properties(asked)
    return {
        "kernel": cut("%s %s" % (platform.system(), platform.release())),
        "distribution": cut(pairs.get("PRETTY_NAME", "").strip('"')),
        "family": cut(" ".join((pairs.get("ID", "") + " " + pairs.get("ID_LIKE", "")).replace('"', "").split())),
        "l4t": l4t_release(read_text(root + "etc/nv_tegra_release") or ""),
        "android": {name: android[name] for name in PROPERTIES if name in android} or None,
        "boot_id": cut(read_text(root + "proc/sys/kernel/random/boot_id")),
        "unix_s": time.time(),
    }


def c_library() -> Dict[str, Any]:
    """glibc, musl or bionic, with its version where it tells; wheels are built for one of them."""
    name, version = platform.libc_ver()
    if name == "glibc":
        return {"libc": name, "libc_version": cut(version)}
    if "ANDROID_ROOT" in os.environ or hasattr(sys, "getandroidapilevel"):
        return {"libc": "bionic", "libc_version": None}
    if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "") or list(Path("/lib").glob("ld-musl-*.so.1")):
        return {"libc": "musl", "libc_version": None}
    return {"libc": None, "libc_version": None}


def python_facts() -> Dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": cut(sys.executable, 400),
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "has_venv": all(find_spec(name) is not None for name in ("venv", "ensurepip")),
        "has_pip": find_spec("pip") is not None,
        **c_library(),
    }


def sensors(root: str) -> Dict[str, Any]:
    zones = []
    for zone in sorted(Path(root + "sys/class/thermal").glob("thermal_zone*"))[:MOST_ZONES]:
        milli = read_int("%s/temp" % zone)
        kind = cut(read_text("%s/type" % zone), 40)
        zones.append({"kind": kind, "temperature_c": None if milli is None else milli / 1000})
    cpu0 = root + "sys/devices/system/cpu/cpu0/cpufreq/"
    return {
        "zones": zones,
        "temperature_c": temperature_c(root),
        "rails": sorted(rails_w(root)),
        "throttled": throttled(root),
        "has_vcgencmd": shutil.which("vcgencmd") is not None,
        "thermal_status": android_status(),
        "power_mode": mode_now(),
        "has_nvpmodel": shutil.which("nvpmodel") is not None,
        "governors": sorted({cut(read_text(root + name), 40) or "unknown" for name in governor_files(root)}),
        "clock_hz": 1000 * (read_int(cpu0 + "scaling_cur_freq") or 0) or None,
        "may_tune": bool(tunable(root)),
    }


def trtexec() -> Optional[Dict[str, Any]]:
    """The trtexec of the board, also where JetPack leaves it; None when it has none."""
    for name in ("trtexec", "/usr/src/tensorrt/bin/trtexec"):
        tool = shutil.which(name)
        if tool:
            said = said_by([tool, "--help"])
            return {"path": tool[:MOST_WORD], "version": None if said is None else tensorrt_version(said)}
    return None


def lock_state() -> str:
    """'free', 'held' by a measurement, or 'unknown' on a system without flock."""
    try:
        return "unknown" if fcntl is None else "free" if is_free() else "held"
    except OSError:
        return "unknown"


def workspace() -> Dict[str, Any]:
    return {
        "folder": str(Path.cwd())[:400],
        "disk_free_bytes": shutil.disk_usage(".").free,
        "lock": lock_state(),
        "left_tuned": Path(JOURNAL).exists(),
    }


def probed() -> Dict[str, Any]:
    """Everything, each part for itself."""
    root = system_root()
    return {
        "hardware": hardware(root),
        "system": system(root),
        "python": python_facts(),
        "sensors": sensors(root),
        "runtimes": {name: tried(name) for name in TRIES},
        "trtexec": trtexec(),
        "workspace": workspace(),
    }
