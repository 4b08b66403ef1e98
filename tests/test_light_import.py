"""The light commands start without the heavy libraries, because release pipelines run them on bare machines."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = (
    "torch", "transformers", "onnx", "onnxruntime", "numpy", "datasets", "sklearn", "paramiko", "scipy", "optuna", "sqlalchemy",
)  # fmt: skip
BLOCKER = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}} (blocked)', name=name)
sys.meta_path.insert(0, Block())
"""


def run_blocked(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = BLOCKER + f"sys.argv = ['edgekd', *{list(argv)!r}]\nfrom edgekd.cli import main\nmain()\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=60)


@pytest.mark.parametrize(
    "argv",
    [
        ("--help",),
        ("gate", "--help"),
        ("compare", "--help"),
        ("report", "--help"),
        ("devices", "list"),
        ("devices", "show", "raspberry-pi-5"),
        ("schema", "recipe"),
        ("schema", "device"),
        ("schema", "sla"),
        ("schema", "hosts"),
        ("run", "quickstart", "--dry-run"),
    ],
    ids=" ".join,
)
def test_light_commands_run_without_heavy_libraries(argv: tuple[str, ...], tmp_path: Path) -> None:
    done = run_blocked(*argv, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_block_works(tmp_path: Path) -> None:
    code = BLOCKER + "import torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert "blocked" in done.stderr


def test_a_step_that_needs_a_missing_library_says_which_extra_brings_it(tmp_path: Path) -> None:
    done = run_blocked("run", "quickstart", "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 4
    assert "pip install 'edgekd[" in done.stderr
    assert "Traceback" not in done.stderr
