"""A process beside the measurement that looks at the board about once a second, and never disturbs what is timed.

It is forked before any library is loaded, runs at the lowest priority, and keeps what it saw until it is told to stop:

    host = {}
    with beside(host):
        measure()
    host["vitals"]  # [table], or absent where the board cannot fork

The table is {"cores", "ticks", "suspended_s", "power_mode_before", "power_mode_after", "cgroup_peak_bytes"}. A tick
holds what could be read at `at_s` seconds after the start, and None for what could not: unknown is never fine. The
process ends with the one that started it, for its pipe closes then, however that ended.

Units: hertz, degrees Celsius, watts, bytes, seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .facts import load, read_int, read_text, said_by, system_root, temperature_c, throttled
from .forks import forked
from .texts import memory_table, power_mode, thermal_status

PERIOD_S, MOST_TICKS, ANDROID_EVERY, STOP_WAIT_S = 1.0, 512, 10, 30.0
MOST_CORES, MOST_RAILS, MOST_BYTES = 16, 16, 1 << 20


def watched_cores() -> List[int]:
    """The cores this process, and whatever it starts, may run on; the first few of many."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))[:MOST_CORES]
    return list(range(min(os.cpu_count() or 1, MOST_CORES)))


def clock_hz(root: str, cores: List[int]) -> Optional[int]:
    """The clock of the fastest of `cores` now: the busy one wherever clocks follow the load."""
    files = ["%ssys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq" % (root, core) for core in cores]
    found = [kilohertz for kilohertz in map(read_int, files) if kilohertz is not None and kilohertz > 0]
    return 1000 * max(found) if found else None


def governor(root: str, cores: List[int]) -> Optional[str]:
    """The governor of `cores`; 'ondemand+performance' when they differ."""
    files = ["%ssys/devices/system/cpu/cpu%d/cpufreq/scaling_governor" % (root, core) for core in cores]
    found = {word[:40] for word in map(read_text, files) if word}
    return "+".join(sorted(found)) or None


def rails_w(root: str) -> Dict[str, float]:
    """The power of each supply rail that an INA3221 measures, by its label.

    Sources: Linux, Documentation/hwmon/ina3221.rst (millivolts and milliamperes); jetson_stats, jtop/core/power.py for
    the older driver, which gives milliwatts.
    """
    found = {}  # type: Dict[str, float]
    for chip in sorted(Path(root + "sys/class/hwmon").glob("hwmon*")):
        if read_text("%s/name" % chip) == "ina3221":
            for number in (1, 2, 3):
                label = read_text("%s/in%d_label" % (chip, number))
                millivolts = read_int("%s/in%d_input" % (chip, number))
                milliamperes = read_int("%s/curr%d_input" % (chip, number))
                if label and millivolts is not None and milliamperes is not None:
                    found[label[:40]] = millivolts * milliamperes / 1e6
    for name in sorted(Path(root + "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*/rail_name_*")):
        label = read_text(str(name))
        milliwatts = read_int(str(name.with_name("in_power%s_input" % name.name[len("rail_name_") :])))
        if label and milliwatts is not None:
            found[label[:40]] = milliwatts / 1e3
    return dict(sorted(found.items())[:MOST_RAILS])


def cgroup_peak_bytes(root: str) -> Optional[int]:
    """The most memory that this process's control group (version 2 or 1) ever held, files in memory included."""
    for line in (read_text(root + "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            peak = read_int("%ssys/fs/cgroup%s/memory.peak" % (root, path.rstrip("/")))
        elif "memory" in controllers.split(","):
            peak = read_int("%ssys/fs/cgroup/memory%s/memory.max_usage_in_bytes" % (root, path.rstrip("/")))
        else:
            peak = None
        if peak is not None and peak > 0:
            return peak
    return None


def asleep_s() -> Optional[float]:
    """For how long the board was suspended since it started."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return None
    tries = []
    for _ in range(5):  # whoever is interrupted between two clocks sees a sleep that was none
        first, found, last = map(time.clock_gettime, (time.CLOCK_MONOTONIC, boottime, time.CLOCK_MONOTONIC))
        tries.append((last - first, found - (first + last) / 2))
    return min(tries)[1]


def android_status() -> Optional[int]:
    said = said_by(["dumpsys", "thermalservice"])
    return None if said is None else thermal_status(said)


def mode_now() -> Optional[str]:
    said = said_by(["nvpmodel", "-q"])
    return None if said is None else power_mode(said)


def tick(root: str, cores: List[int], at_s: float, *, android: bool = False) -> Dict[str, Any]:
    """What can be seen now."""
    memory = memory_table(read_text(root + "proc/meminfo") or "")
    return {
        "at_s": round(at_s, 3),
        "clock_hz": clock_hz(root, cores),
        "governor": governor(root, cores),
        "temperature_c": temperature_c(root),
        "throttled": throttled(root),
        "thermal_status": android_status() if android else None,
        "load": load(),
        "memory_available_bytes": memory.get("MemAvailable"),
        "rails_w": rails_w(root) or None,
    }


def thinned(ticks: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Half as many ticks: of each two neighbours what matters more, so that nothing bad is lost."""
    return [joined(*ticks[at : at + 2]) for at in range(0, len(ticks), 2)]


def joined(first: Dict[str, Any], *others: Dict[str, Any]) -> Dict[str, Any]:
    """One tick for two: the later time, the lower clock, the higher temperature, every throttle bit, the mean power."""
    if not others:
        return first
    (last,) = others
    worse = {"clock_hz": min, "temperature_c": max, "thermal_status": max, "load": max, "memory_available_bytes": min}
    one = dict(last)
    for name, worst in worse.items():
        known = [each[name] for each in (first, last) if each[name] is not None]
        one[name] = worst(known) if known else None
    names = {each["governor"] for each in (first, last) if each["governor"]}
    one["governor"] = "+".join(sorted({word for name in names for word in name.split("+")})) or None
    one["throttled"] = last["throttled"] or first["throttled"]
    with contextlib.suppress(TypeError, ValueError):
        one["throttled"] = "%#x" % (int(first["throttled"], 16) | int(last["throttled"], 16))
    if first["rails_w"] and last["rails_w"] and set(first["rails_w"]) == set(last["rails_w"]):
        one["rails_w"] = {name: (first["rails_w"][name] + last["rails_w"][name]) / 2 for name in last["rails_w"]}
    return one


def watching(root: str, cores: List[int], stop: int, period_s: float) -> Dict[str, Any]:
    """Look until something is written to `stop`, or its other end closes; then look once more."""
    start, slept, mode = time.monotonic(), asleep_s(), mode_now()
    ticks = []  # type: List[Dict[str, Any]]
    number, due = 0, start
    while True:
        ticks.append(tick(root, cores, time.monotonic() - start, android=number % ANDROID_EVERY == 0))
        if len(ticks) > MOST_TICKS:
            ticks, period_s = thinned(ticks), 2 * period_s
        number, due = number + 1, max(due + period_s, time.monotonic())
        if select.select([stop], [], [], max(0.0, due - time.monotonic()))[0]:
            break
    ticks.append(tick(root, cores, time.monotonic() - start, android=True))
    now = asleep_s()
    return {
        "cores": cores,
        "ticks": ticks,
        "suspended_s": None if now is None or slept is None else round(max(0.0, now - slept), 3),
        "power_mode_before": mode,
        "power_mode_after": mode_now(),
        "cgroup_peak_bytes": cgroup_peak_bytes(root),
    }


def step_aside(cores: List[int]) -> None:
    """Onto other cores than those that are measured on, where there are any, and behind everybody else."""
    with contextlib.suppress(OSError):
        os.nice(19)
    move_aside(cores)


def move_aside(cores: List[int]) -> None:
    """Onto other cores than those that are measured on, where there are any."""
    others = set(range(os.cpu_count() or 1)) - set(cores)
    if others and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, others)


class Watch:
    """A side process that runs."""

    def __init__(self, pid: int, stop: int, answer: int) -> None:
        self.pid, self.stop_end, self.answer_end = pid, stop, answer


def start(root: Optional[str] = None, period_s: float = PERIOD_S) -> Optional[Watch]:
    """Begin to look; None where processes cannot be forked, or the system has no room for one more."""
    if not hasattr(os, "fork"):
        return None
    root = system_root() if root is None else root
    cores = watched_cores()
    from_parent, stop_end = os.pipe()

    def look() -> bytes:
        step_aside(cores)
        return json.dumps(watching(root, cores, from_parent, period_s)).encode()

    try:
        pid, answer_end = forked(look, not_its=[stop_end])
    except OSError:
        os.close(stop_end)
        return None
    finally:
        os.close(from_parent)
    return Watch(pid, stop_end, answer_end)


def stop(watch: Optional[Watch]) -> Optional[Dict[str, Any]]:
    """End it and get the table; None when there is none, for it died, did not start or does not answer."""
    if watch is None:
        return None
    with contextlib.suppress(OSError):  # a watch that died has closed its end: its answer is then empty
        os.write(watch.stop_end, b".")
    os.close(watch.stop_end)
    table = last_words(watch.pid, watch.answer_end)
    return None if table is None else dict(table)


def last_words(pid: int, answer_end: int) -> Any:
    """What the side process `pid`, told to end, writes as JSON; None when it died or does not answer. It is ended."""
    said, whole = answered(answer_end)
    os.close(answer_end)
    if not whole:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with contextlib.suppress(ValueError):
        return json.loads(said.decode())
    return None


def answered(end: int) -> Tuple[bytes, bool]:
    """What is written to `end` until it closes, and whether it closed in time."""
    said, late = b"", time.monotonic() + STOP_WAIT_S
    while len(said) < MOST_BYTES:
        if not select.select([end], [], [], max(0.0, late - time.monotonic()))[0]:
            return said, False
        part = os.read(end, 65536)
        if not part:
            return said, True
        said += part
    return said, False


@contextlib.contextmanager
def beside(host: Dict[str, Any], root: Optional[str] = None) -> Iterator[None]:
    """Look while the block runs, and put the table into host["vitals"]."""
    watch = start(root)
    table = None
    try:
        yield
    finally:
        table = stop(watch)
    host["vitals"] = [] if table is None else [table]
