"""The command behind scripts/lab: up NAME, down NAME, list."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from edgekd.errors import EdgekdError
from tests.lab import boards
from tests.lab.lab import NAMES, Lab, usual_lab
from tests.lab.model import tiny_int8
from tests.lab.sshd import SSHD, Board

ALL = "all"


def main(words: list[str]) -> int:
    """The exit status: that of edgekd's errors where something is missing or wrong."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description="Boards to try edgekd on, on this machine alone.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a board, or tell how to reach it when it runs")
    up.add_argument("name", choices=list(NAMES))
    up.add_argument("--port", type=int, help="the port on 127.0.0.1; the last one, or any free one, by default")
    down = commands.add_parser("down", help="end a board and everything that it started")
    down.add_argument("name", choices=[*NAMES, ALL])
    commands.add_parser("list", help="all boards, and which of them run")
    asked, lab = parser.parse_args(words), usual_lab()
    try:
        if asked.command == "up":
            print(_up_text(asked.name, lab, lab.up(asked.name, asked.port)))
        elif asked.command == "down":
            for name in NAMES if asked.name == ALL else [asked.name]:
                print(f"{name}: {'ended' if lab.down(name) else 'did not run'}")
        else:
            print(_list_text(lab))
    except EdgekdError as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _up_text(name: str, lab: Lab, board: Board) -> str:
    key, known, records = (_shown(path) for path in (board.key, lab.folder / "known_hosts", lab.folder / "records"))
    model = _shown(tiny_int8(lab.folder / "tiny-int8.onnx"))
    # An emulated processor takes seconds for what a real one does in milliseconds; a few samples tell that it works.
    quick = "" if name == "sshd" else " --processes 3 --samples 20 --duration '1 s'"
    lines = [
        f"{name} is up: {NAMES[name]}",
        f"  host         {board.url}",
        f"  key          {key}",
        f"  fingerprint  {board.fingerprint}",
        "Try it:",
        f"  edgekd devices trust {board.url} --fingerprint {board.fingerprint} --known-hosts {known}",
        f"  edgekd bench {model} --host {board.url} --key {key} --known-hosts {known} --sequence 32{quick} --out {records}",
        f"  scripts/lab down {name}",
    ]
    if name != "sshd":
        lines.append("What it answers is real; how long it takes says nothing, since its processor is emulated.")
    return "\n".join(lines)


def _list_text(lab: Lab) -> str:
    lines = []
    for name, what in NAMES.items():
        board = lab.running(name)
        lines.append(f"{name:<8}{board.url if board else 'down':<36}{what}")
    lacking = boards.missing()
    if SSHD is None:
        lines.append("sshd cannot run here: apt-get install openssh-server")
    if lacking:
        lines.append(f"Only sshd can run here; the others cannot: {'; '.join(lacking)}")
    return "\n".join(lines)


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
