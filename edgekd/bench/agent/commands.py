"""What the agent can be asked: to measure at once, or to do it detached and to tell of it.

    agent.pyz spec.json result.json       measure here and now; also probe and restore, see start.py
    agent.pyz launch RUN NONCE WAIT_S     start the run in runs/RUN, once however often it is asked for
    agent.pyz state  RUN NONCE WAIT_S     tell of it
    agent.pyz cancel RUN NONCE WAIT_S     end it
    agent.pyz reap   RUN NONCE WAIT_S     end what is left of it

All but the first answer after WAIT_S at the latest, at once when the run has ended, with a line
"EDGEKD1 NONCE BYTES SHA256" and then as many bytes of JSON: what a login shell says before or after is no part of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any, Dict, List

from .clearing import clear_old
from .query import answer, cancel, reap, wait
from .start import main as here_and_now

COMMANDS = ("launch", "state", "cancel", "reap")
EXIT_USAGE = 2


def framed(nonce: str, table: Dict[str, Any]) -> bytes:
    data = json.dumps(table).encode()
    return ("\nEDGEKD1 %s %d %s\n" % (nonce, len(data), hashlib.sha256(data).hexdigest())).encode() + data + b"\n"


def asked(command: str, run: str, wait_s: float) -> Dict[str, Any]:
    """Do it, wait, and tell. Errors: ValueError for a name that is no run's."""
    told = None
    if command == "launch":
        from .launch import launch

        clear_old(run)
        told = launch(run)
    elif command == "cancel":
        cancel(run)
    elif command == "reap":
        reap(run)
    wait(run, wait_s)
    said = answer(run)
    if said["state"] is None and not said["damaged"]:
        # Even the first state could not be written: the disk was full.
        said["state"] = told
    return said


def main(argv: List[str]) -> int:
    """The exit status."""
    if len(argv) != 5 or argv[1] not in COMMANDS:
        return here_and_now(argv)
    try:
        said = asked(argv[1], argv[2], float(argv[4]))
    except ValueError as error:
        sys.stderr.write("%s\n" % error)
        return EXIT_USAGE
    sys.stdout.buffer.write(framed(argv[3], said))
    sys.stdout.buffer.flush()
    return 0
