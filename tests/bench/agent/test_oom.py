"""The kernel's own count of processes that it ended for want of memory, in both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.bench.agent.oom import oom_kills


@pytest.mark.parametrize(
    ("groups", "file", "text", "count"),
    [
        ("0::/user/one\n", "sys/fs/cgroup/user/one/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("0::/\n", "sys/fs/cgroup/memory.events", "oom_kill 1\n", 1),
        (
            "4:cpu:/\n3:cpuacct,memory:/a\n0::/\n",
            "sys/fs/cgroup/memory/a/memory.oom_control",
            "under_oom 0\noom_kill 5\n",
            5,
        ),
        ("3:memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 1\n", 0),
        ("3:memory:/a\n", "sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill many\n", 0),
        ("", "none", "", 0),
        ("garbage\n", "none", "", 0),
    ],
)
def test_kills_are_counted_where_the_system_counts_them(
    tmp_path: Path, groups: str, file: str, text: str, count: int
) -> None:
    for name, content in (("proc/self/cgroup", groups), (file, text)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert oom_kills(f"{tmp_path}/") == count
