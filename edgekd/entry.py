"""Where the command begins: Ctrl-C while Python still reads the program is an interruption like any other."""

from __future__ import annotations

import os
import sys

from edgekd.errors import EXIT_INTERRUPTED


def main() -> None:
    """Run the command line."""
    try:
        from edgekd.cli import main as run
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print("edgekd: interrupted before it had begun", file=sys.stderr)
        # At once: what was read half may fail where Python ends in an orderly way.
        os._exit(EXIT_INTERRUPTED)
    run()
