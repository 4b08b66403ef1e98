"""What stands between a board and a measurement, and the command that mends each.

`missing`: nothing can be measured until it is mended. `advice`: it can be, but the records will say so. Nothing is
changed on the board but what an earlier measurement left tuned, which is put back.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgekd.errors import EXIT_INFRASTRUCTURE, EXIT_PASS, ConnectError, HostError, HostTimeout
from edgekd.hosts.base import Host
from edgekd.probe.compare import runtime_text
from edgekd.probe.facts import BoardFacts, ask, python_trouble, restore
from edgekd.text import printable
from edgekd.units import text_from_bytes, text_from_s

State = Literal["fine", "advice", "missing"]
# Our choices: an installed runtime with numpy takes about 200 MB, a model and its inputs as much again.
LEAST_DISK_BYTES = 400_000_000
MOST_CLOCK_OFF_S = 60.0
LEAST_MEMORY_BYTES = 100_000_000
_GOVERNORS = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and the command that mends it where it is not fine."""

    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks in order; the facts where the board could be asked at all."""

    checks: tuple[Check, ...]
    facts: BoardFacts | None = None

    @property
    def exit_code(self) -> int:
        """0 when a measurement can be made, 4 when something is missing for it."""
        return EXIT_INFRASTRUCTURE if any(check.state == "missing" for check in self.checks) else EXIT_PASS


def examine(host: Host, url: str) -> Diagnosis:
    """Look at everything; `url` is how the user names the host. Errors: HostError when the link itself breaks."""
    first = [_python(host), _files(host)]
    if any(check.state == "missing" for check in first):
        return Diagnosis(tuple(first))
    facts = ask(host)
    checks = [
        *first,
        *_runtimes(facts, url),
        _disk(facts),
        _memory(facts),
        _lock(facts),
        *_left_tuned(host, facts),
        _clock(facts),
        *_governor(facts),
        *_heat(facts),
        *_power_mode(facts),
    ]
    return Diagnosis(tuple(checks), facts)


def lines(diagnosis: Diagnosis) -> list[str]:
    """What a person reads: one line for each check, its mend below it."""
    found = []
    for check in diagnosis.checks:
        found.append(f"{check.state:8} {check.name}: {printable(check.found, 300)}")
        if check.mend:
            found.append(f"         {printable(check.mend, 400)}")
    missing = sum(check.state == "missing" for check in diagnosis.checks)
    said = "it can measure" if not missing else f"{missing} of {len(diagnosis.checks)} checks keep it from measuring"
    return [*found, said]


def _python(host: Host) -> Check:
    trouble = python_trouble(host)
    if trouble is None:
        return Check("python", "fine", f"{host.python} starts")
    mend = "on the board: sudo apt-get install -y python3 python3-venv (Debian, Ubuntu), apk add python3 (Alpine)"
    return Check("python", "missing", trouble, f"{mend}; or name another here: --python PATH")


def _files(host: Host) -> Check:
    """Whether files can be sent; over SSH that needs SFTP."""
    place = "runs/doctor"
    try:
        host.write(place, b"edgekd")
        host.remove(place)
    except (ConnectError, HostTimeout):
        raise
    except HostError as error:
        said = str(error).removeprefix(f"{host.name}: ")
        return Check("files", "missing", said, "on the board: sudo apt-get install -y openssh-sftp-server; df -h")
    return Check("files", "fine", "can be sent")


def _runtimes(facts: BoardFacts, url: str) -> Iterator[Check]:
    where = shlex.quote(url)
    python = shlex.quote(facts.python.executable or "python3")
    for name in ("numpy", "onnxruntime"):
        runtime = facts.runtimes[name]
        if runtime.state == "fine":
            yield Check(name, "fine", f"{runtime.version}")
            continue
        mend = f"edgekd devices provision {where} --wheels FOLDER, or on the board: {python} -m pip install {name}"
        if runtime.state == "killed" and runtime.said == "SIGILL":
            mend = (
                f"it uses instructions that this processor lacks; install another build, such as an older one: {mend}"
            )
        elif name == "onnxruntime" and facts.python.bits == 32:
            mend = "onnxruntime publishes no wheels for 32-bit systems; install a 64-bit system on the board"
        elif name == "onnxruntime" and facts.python.libc in ("musl", "bionic"):
            mend = (
                f"onnxruntime publishes no wheels for {facts.python.libc}; use a system with glibc, or build it there"
            )
        yield Check(name, "missing", f"{name} is {runtime_text(runtime.state, runtime.said)}", mend)


def _disk(facts: BoardFacts) -> Check:
    free = facts.workspace.disk_free_bytes
    found = f"{text_from_bytes(free)} free in {facts.workspace.folder}"
    if free >= LEAST_DISK_BYTES:
        return Check("disk", "fine", found)
    folder = shlex.quote(f"{facts.workspace.folder}/blobs")
    mend = f"on the board: rm -rf {folder} (what was sent before, and is sent again when it is needed)"
    return Check(
        "disk", "advice" if free else "missing", f"{found}, expected {text_from_bytes(LEAST_DISK_BYTES)}", mend
    )


def _memory(facts: BoardFacts) -> Check:
    free = facts.hardware.memory_available_bytes
    if free is None:
        return Check("memory", "advice", "how much is available is unknown")
    state: State = "fine" if free >= LEAST_MEMORY_BYTES else "advice"
    mend = "" if state == "fine" else "on the board: end what else runs there, see: ps aux --sort=-rss | head"
    return Check("memory", state, f"{text_from_bytes(free)} available", mend)


def _lock(facts: BoardFacts) -> Check:
    if facts.workspace.lock == "held":
        own = shlex.quote(f"{facts.workspace.folder}/lock")
        mend = f"wait for it, or see on the board: fuser -v {own} /tmp/edgekd.lock"
        return Check("lock", "missing", "another measurement runs there", mend)
    if facts.workspace.lock == "unknown":
        return Check("lock", "advice", "the system knows no locks: see to it that one measures at a time")
    return Check("lock", "fine", "no measurement runs there")


def _left_tuned(host: Host, facts: BoardFacts) -> Iterator[Check]:
    if not facts.workspace.left_tuned or facts.workspace.lock == "held":
        return
    left = restore(host)
    if left:
        mend = f"on the board, as a user who may: echo ondemand | sudo tee {_GOVERNORS}"
        yield Check(
            "tuning", "advice", f"a cut measurement left tuned, and cannot be put back: {', '.join(left)}", mend
        )
    else:
        yield Check("tuning", "fine", "what a cut measurement left tuned was put back")


def _clock(facts: BoardFacts) -> Check:
    off_s = facts.system.unix_s - time.time()
    if abs(off_s) <= MOST_CLOCK_OFF_S:
        return Check("clock", "fine", "agrees with the one here")
    mend = "on the board: sudo timedatectl set-ntp true"
    return Check("clock", "advice", f"is {text_from_s(abs(off_s))} {'ahead' if off_s > 0 else 'behind'}", mend)


def _governor(facts: BoardFacts) -> Iterator[Check]:
    names = facts.sensors.governors
    if not names:
        yield Check("governor", "advice", "cannot be read, as on a virtual machine")
        return
    if names == ["performance"]:
        yield Check("governor", "fine", "performance")
        return
    mend = f"on the board: echo performance | sudo tee {_GOVERNORS}"
    if facts.sensors.may_tune:
        mend = "measure with: edgekd bench --tune"
    yield Check("governor", "advice", ", ".join(names), mend)


def _heat(facts: BoardFacts) -> Iterator[Check]:
    sensors = facts.sensors
    if sensors.temperature_c is None:
        hidden = any(zone.temperature_c is None for zone in sensors.zones)
        found = "thermal zones cannot be read" if hidden else "the board has no thermal zones"
        mend = "on the board: sudo chmod a+r /sys/class/thermal/thermal_zone*/temp" if hidden else ""
        yield Check("temperature", "advice", f"unknown: {found}", mend)
    else:
        yield Check("temperature", "fine", f"{sensors.temperature_c:.1f} degrees")
    if sensors.has_vcgencmd and sensors.throttled is None:
        mend = "on the board: sudo usermod -aG video $USER, and log in again"
        yield Check("throttling", "advice", "vcgencmd does not answer this user", mend)
    elif sensors.throttled is not None and _bits(sensors.throttled):
        mend = "cool it or use a stronger power supply, then restart it: the flags stay until then"
        yield Check("throttling", "advice", f"the board says {sensors.throttled}", mend)
    elif sensors.throttled is not None:
        yield Check("throttling", "fine", f"the board says {sensors.throttled}")
    elif sensors.thermal_status is not None:
        state: State = "fine" if sensors.thermal_status == 0 else "advice"
        yield Check(
            "throttling", state, f"thermal status {sensors.thermal_status}", "" if state == "fine" else "let it cool"
        )
    else:
        yield Check("throttling", "advice", "whether it is throttled is unknown")


def _bits(text: str) -> bool:
    return text.startswith("0x") and text.strip("0x") != ""


def _power_mode(facts: BoardFacts) -> Iterator[Check]:
    if facts.sensors.power_mode is not None:
        yield Check("power mode", "fine", facts.sensors.power_mode)
    elif facts.sensors.has_nvpmodel:
        mend = "on the board: sudo nvpmodel -q"
        yield Check("power mode", "advice", "nvpmodel does not answer this user", mend)
