"""What a section says when the step that fills it has not run."""

from __future__ import annotations

import shlex

from edgekd.report.markup import Html, element
from edgekd.report.run import RunFolder

_AFTER_THE_CHOICE = ("distill", "export", "bench", "gate")
_STEPS_OF_THEIR_OWN = ("teacher", "size", "distill", "export")


def command_text(run: RunFolder, step: str = "run") -> str:
    """The command that runs `step` of this run, from the folder that holds its run folder."""
    verb = step if step in _STEPS_OF_THEIR_OWN else "run"
    words = ["edgekd", verb, run.name]
    if run.root.resolve().parts[-2:] != ("runs", run.name):
        words += ["--out", run.root.resolve().name]
    return shlex.join(words)


def missing(run: RunFolder, what: str, step: str) -> Html:
    """'WHAT. Make it: edgekd STEP …', or that there is nothing to make because no student fits."""
    if run.nothing_fits and step in _AFTER_THE_CHOICE:
        return element("p", f"{what} No student fits, so there was nothing to make.", class_="missing")
    return element("p", f"{what} Make it: ", element("code", command_text(run, step)), class_="missing")
