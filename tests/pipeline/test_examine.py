"""A board reached, asked and written down, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from staged_boards import pi_facts, stage

from edgekd.device import load_profile
from edgekd.pipeline.examine import facts_lines, probe
from edgekd.probe.facts import facts_from_json


def test_every_fact_has_a_line_and_none_can_move_the_cursor() -> None:
    lines = facts_lines(facts_from_json(pi_facts(hardware={"model": "Pi\x1b[2J\nPi"}), "fake"))
    assert lines[0] == "board: Pi\\x1b[2J Pi (aarch64)"
    assert lines[1] == "cores: 4 x Cortex-A76, 2400 MHz, capacity 1024 (cpu 0 to 3)"
    assert "onnxruntime: 1.24 with CPUExecutionProvider" in lines
    assert "trtexec: none found" in lines
    assert "power mode: unknown" in lines


def test_a_staged_board_is_probed_compared_and_drafted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    root = stage(tmp_path / "root", {
        "sys/firmware/devicetree/base/model": "Some Board", "proc/meminfo": "MemTotal: 4000000 kB",
        "proc/cpuinfo": "processor: 0\nmodel name: Fast\nflags: avx2 fma\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": 3000000,
    })  # fmt: skip
    monkeypatch.setenv("EDGEKD_SYSROOT", root)
    lines: list[str] = []
    there = {"key": None, "known_hosts": None, "python": None}
    probe("local", "generic-x86-64", tmp_path / "draft.yaml", lines.append, **there)
    assert "cores: 1 x Fast, 3000 MHz (cpu 0)" in lines
    assert any(line.startswith("  features: the profile says ") for line in lines)
    profile = load_profile(str(tmp_path / "draft.yaml"))
    assert (profile.title, profile.clusters[0].clock_hz, profile.memory_bytes) == ("Some Board", 3e9, 4000000 * 1024)
    lines.clear()
    probe("local", None, None, lines.append, **there)
    assert lines[0].startswith("board: Some Board")
    assert "compared" not in "".join(lines)
