"""A workspace whose agent runs scripted inferences, reached locally or over SSH through a wire that can be cut."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import QUICK, scripted_python

from edgekd.bench.detached import DetachedRun, Patience
from edgekd.bench.journal import new_run
from edgekd.bench.packed import packed_agent
from edgekd.bench.reopen import Reopening
from edgekd.hosts.base import Host
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host
from tests.lab.chaos import ChaosProxy

GOES_ON = "time.sleep(0.005)"
AGENT = "agent.pyz"
ORDERS = {
    **QUICK.spec(), "format": 1, "mode": "plain", "input_data": None, "models": [{"path": "none.onnx", "dims": {}}],
    "lock_wait_s": 1.0, "total_s": 60.0,
}  # fmt: skip
SHORT = Patience(wait_s=1.0, reply_s=10.0, grace_s=0.3)


def run_on(host: Host, run: str | None = None, *, patience: Patience = SHORT) -> DetachedRun:
    return DetachedRun(host, AGENT, run or new_run(), f"{host.name}: tiny", patience=patience)


def result_of(run: DetachedRun, **orders: Any) -> dict[str, Any]:
    kept = run.result({**ORDERS, **orders}, max_bytes=1 << 20, limit_s=70)
    table = dict(json.loads(kept.data))
    assert kept.samples == sum(len(value) for value in table["runs"][0]["run"].values() if isinstance(value, list))
    return table


class Site:
    """A workspace with an agent whose inferences are scripted, and its host, local or over a wire."""

    def __init__(self, folder: Path, kind: str, request: pytest.FixtureRequest, stack: contextlib.ExitStack) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        (self.folder / AGENT).write_bytes(packed_agent())
        self.home, self.kind, self._request, self._stack = folder, kind, request, stack
        self.wire: ChaosProxy | None = None

    def opened(self, code: str = GOES_ON, patience_s: float = 30.0) -> Reopening:
        runtime = self.home / "runtime"
        python = str(runtime / "python") if runtime.exists() else scripted_python(runtime, code)
        if self.kind == "local":
            return Reopening(lambda: LocalHost(self.folder, python=python))
        board = self._request.getfixturevalue("board")
        if self.wire is None:
            self.wire = self._stack.enter_context(ChaosProxy(board.port))
        known = self.home / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.wire.port} {board.public_host_key}\n")
        url = f"ssh://{board.user}@127.0.0.1:{self.wire.port}"
        return Reopening(
            lambda: open_host(url, key=board.key, known_hosts=known, workspace=str(self.folder), python=python),
            patience_s=patience_s,
        )

    def stated(self, run: str) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.folder / "runs" / run / "state.json").read_text()))
        return {}

    def is_clean(self) -> bool:
        runs = list((self.folder / "runs").iterdir())
        return runs == [] and (self.folder / "lock").read_bytes() == b""


def sites(folder: Path, kind: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site of `kind`, local or ssh; what is left of its runs is ended afterwards."""
    with contextlib.ExitStack() as stack:
        site = Site(folder, kind, request, stack)
        yield site
        host = LocalHost(site.folder, python=sys.executable)
        for path in (site.folder / "runs").glob("*/state.json"):
            host.run([sys.executable, AGENT, "reap", path.parent.name, "0" * 16, "0"], timeout_s=30)
