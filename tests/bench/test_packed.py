"""The one file that is sent: the same bytes everywhere, readable by old Pythons, and a program on its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from edgekd.bench.packed import AGENT, packed_agent


def test_the_agent_is_readable_by_python_3_8_and_imports_itself_and_the_standard_library_alone() -> None:
    for path in AGENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1
                names = [node.module] if node.module else [alias.name for alias in node.names]
                assert all((AGENT / f"{name}.py").is_file() for name in names)
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= sys.stdlib_module_names


def test_equal_sources_are_equal_bytes(tmp_path: Path) -> None:
    again = packed_agent.__wrapped__()
    assert packed_agent() == again
    (tmp_path / "agent.pyz").write_bytes(again)
    with zipfile.ZipFile(tmp_path / "agent.pyz") as archive:
        names = archive.namelist()
    assert names == [*(f"agent/{path.name}" for path in sorted(AGENT.glob("*.py"))), "__main__.py"]


def test_the_packed_agent_runs_without_edgekd(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "agent.pyz").write_bytes(packed_agent())
    orders = {
        "format": 1,
        "mode": "plain",
        "models": [{"path": str(classifier), "dims": {"batch": 1, "sequence": 8}}],
        "input_data": None,
        "threads": 1,
        "seed": 0,
    }
    orders |= {"warmup_s": 0, "min_duration_s": 0, "max_duration_s": 9, "min_samples": 3, "max_samples": 20}
    orders |= {"dims": {}, "shapes": {}, "id_limit": 5}
    (tmp_path / "spec.json").write_text(json.dumps(orders))
    argv = [sys.executable, "-S", "-c", "import sys; sys.exit('edgekd' in sys.modules)"]
    assert subprocess.run(argv, cwd=tmp_path).returncode == 0
    argv = [sys.executable, "agent.pyz", "spec.json", "result.json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, env={"PATH": ""}, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "result.json").read_text())["runs"][0]["run"]["samples_ns"]) >= 3
