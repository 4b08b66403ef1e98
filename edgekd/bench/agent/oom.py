"""How often the kernel ended a process of our control group for want of memory.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst (memory.events) and cgroup-v1/memory.rst (memory.oom_control).
"""

from __future__ import annotations

from typing import List

from .facts import read_text

FILES = ("sys/fs/cgroup%s/memory.events", "sys/fs/cgroup/memory%s/memory.oom_control")


def places(root: str) -> List[str]:
    """The files that count for this process: version 2's, where the controllers have no name, or version 1's."""
    found = []
    for line in (read_text(root + "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            found.append(root + FILES[0] % path.rstrip("/"))
        elif "memory" in controllers.split(","):
            found.append(root + FILES[1] % path.rstrip("/"))
    return found


def oom_kills(root: str = "/") -> int:
    """The count so far; 0 where the system does not say."""
    total = 0
    for place in places(root):
        for line in (read_text(place) or "").splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdigit():
                total += int(number)
    return total
