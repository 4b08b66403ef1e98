"""What the agent is asked for by its first word."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from edgekd.bench.agent import start


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_word_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "probed", lambda: {"said": 1})
    assert start.main(["agent.pyz", "probe", "result.json"]) == 0
    assert json.loads(Path("result.json").read_text()) == {"format": 1, "said": 1}
    assert start.main(["agent.pyz", "restore", "result.json"]) == 0
    assert json.loads(Path("result.json").read_text()) == {"format": 1, "left": []}
    assert start.main(["agent.pyz", "nospec.json", "result.json"]) == 3
    assert json.loads(Path("result.json").read_text())["error"]["kind"] == "spec"


def test_nothing_is_put_back_under_a_measurement_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "RESTORE_WAIT_S", 0.0)
    Path("tune.journal").write_text("{}")
    with Path("lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert start.main(["agent.pyz", "restore", "result.json"]) == 3
    assert json.loads(Path("result.json").read_text())["error"]["kind"] == "busy"
    assert Path("tune.journal").exists()
