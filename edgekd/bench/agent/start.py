"""What the agent is asked for: `probe RESULT`, `restore RESULT`, or else to measure, `SPEC RESULT`."""

from __future__ import annotations

from typing import Any, Dict, List

from .facts import system_root
from .failures import AgentError
from .probe import probed
from .tune import restore
from .work import EXIT_ERROR, FORMAT, alone, write_result
from .work import main as measure

RESTORE_WAIT_S = 2.0


def main(argv: List[str]) -> int:
    """The exit status: 0 with a result, 3 with an error in its place."""
    asked = {"probe": probed, "restore": restored}.get(argv[1])
    if asked is None:
        return measure(argv)
    try:
        write_result(argv[2], dict(asked(), format=FORMAT))
    except AgentError as error:
        table = {"format": FORMAT, "error": dict(zip(("kind", "message"), error.args))}
        write_result(argv[2], table)
        return EXIT_ERROR
    return 0


def restored() -> Dict[str, Any]:
    """Put back what a measurement that was cut left tuned, unless another one runs; what could not be put back."""
    with alone(RESTORE_WAIT_S):
        return {"left": restore(system_root())}
