"""An interruption while the program is still being read."""

from __future__ import annotations

import subprocess
import sys

from edgekd.errors import EXIT_INTERRUPTED

# The signal comes when the command line is sought, as it does when a user is quick.
_QUICK_USER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Quick:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Quick())
from edgekd.entry import main
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_ctrl_c_before_the_command_line_was_read_is_one_line() -> None:
    ended = run("-c", _QUICK_USER)
    assert ended.returncode == EXIT_INTERRUPTED
    assert ended.stderr.splitlines() == ["edgekd: interrupted before it had begun"]
    assert ended.stdout == ""


def test_otherwise_the_command_line_is_run() -> None:
    ended = run("-m", "edgekd", "--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip()
