"""The verdict: PASS, FAIL or INCONCLUSIVE, and the files a release pipeline reads."""

from edgekd.gate.compare import Change, Comparison, compare
from edgekd.gate.files import read_verdict, write_junit, write_verdict
from edgekd.gate.github import annotation_lines, summary_text
from edgekd.gate.judge import choose, exit_code, judge
from edgekd.gate.junit import junit_text
from edgekd.gate.verdict import Criterion, Outcome, Reason, Verdict

__all__ = [
    "Change",
    "Comparison",
    "Criterion",
    "Outcome",
    "Reason",
    "Verdict",
    "annotation_lines",
    "choose",
    "compare",
    "exit_code",
    "judge",
    "junit_text",
    "read_verdict",
    "summary_text",
    "write_junit",
    "write_verdict",
]
