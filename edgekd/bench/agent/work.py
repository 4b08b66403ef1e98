"""From orders to a result: the part of the agent that reads, locks, shares out and writes."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from .board_lock import BoardLock
from .facts import lasting_facts, passing_facts, system_root
from .failures import AgentError, first_line, module
from .forks import forked
from .timing import PROVIDER, clock, measured
from .tune import tuned
from .watch import beside

FORMAT = 1
EXIT_ERROR = 3
LOCK_STEP_S, LOCK_WAIT_S = 0.5, 60.0


def in_child(work: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """What `work` gives in a process of its own: nobody else's memory is in its peak, nor its layout in the next one's.

    A fork, so that the libraries are loaded once: before any session, while there are no threads.
    """

    def answer_of_work() -> bytes:
        try:
            answer = {"value": work()}  # type: Dict[str, Any]
        except AgentError as error:
            answer = {"error": error.args}
        return json.dumps(answer).encode()

    child, from_child = forked(answer_of_work)
    with os.fdopen(from_child, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    if status:
        how = "the measuring process ended by %s"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            raise AgentError("memory", how % ("signal %d" % number), number)
        raise AgentError("runtime", how % "a failure, see its error stream")
    answer = json.loads(said.decode())
    if "error" in answer:
        raise AgentError(*answer["error"])
    return dict(answer["value"])


def read_spec(path: str) -> Dict[str, Any]:
    try:
        spec = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AgentError("spec", "the spec cannot be read (%s)" % first_line(error)) from None
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        raise AgentError("spec", "the spec is not of format %d, which this agent reads" % FORMAT)
    return spec


def result_for(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Everything that is sent back."""
    root = system_root()
    with tuned(root, wanted=spec.get("tune", False)) as settings:
        host = lasting_facts(root)
        host.update(passing_facts("before", root), tuned=settings)
        with beside(host, root):
            runtime, runs = measured_models(spec)
        host.update(passing_facts("after", root))
    return {"format": FORMAT, "host": host, "runtime": runtime, "clock": clock()[0], "runs": runs}


def measured_models(spec: Dict[str, Any]) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """What ran the models, and a run of each."""
    module("numpy")
    ort = module("onnxruntime")
    # What differs between models of one order stands beside each; all else is the same for all.
    works = [functools.partial(measured, one["path"], dict(spec, dims=one["dims"])) for one in spec["models"]]
    runs = [in_child(work) for work in works] if len(works) > 1 and hasattr(os, "fork") else [work() for work in works]
    names = {"name": "onnxruntime", "version": ort.__version__, "providers": [PROVIDER], "threads": spec["threads"]}
    return names, runs


@contextlib.contextmanager
def alone(wait_s: float) -> Iterator[None]:
    """No other agent works on this board meanwhile. The kernel frees the lock of a dead process, not the file."""
    end, lock = time.monotonic() + wait_s, BoardLock()
    try:
        while not lock.take():
            if time.monotonic() >= end:
                said = "another measurement runs there, still after %g s. Run again when it has ended"
                raise AgentError("busy", said % wait_s)
            time.sleep(LOCK_STEP_S)
        yield
    finally:
        lock.close()


def write_result(path: str, result: Dict[str, Any]) -> None:
    part = Path(path + ".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(path)


def main(argv: List[str]) -> int:
    """The exit status: 0 with a result, 3 with an error in its place."""
    spec_path, result_path = argv[1], argv[2]
    try:
        spec = read_spec(spec_path)
        with alone(spec.get("lock_wait_s", LOCK_WAIT_S)):
            write_result(result_path, result_for(spec))
    except AgentError as error:
        write_result(result_path, {"format": FORMAT, "error": error.table()})
        return EXIT_ERROR
    return 0
