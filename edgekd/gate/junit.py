"""The verdict as JUnit XML, for the test tab of a CI service.

One suite per artifact, one case per limit. In the selected artifact's suite a missed limit is a <failure> and an
undecided one an <error>, for both must stop a pipeline; the reason code is the `type`. In the suites of artifacts that
were not selected, neither stops anything, so both are <skipped>: the file then says what the exit code says.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from edgekd.gate.verdict import Criterion, Outcome, Verdict, value_text
from edgekd.text import printable

_NOT_XML = re.compile("[\ufffe\uffff\U0001fffe\U0001ffff]")


def junit_text(verdict: Verdict) -> str:
    """The XML document for `verdict` and its alternatives."""
    root = ET.Element("testsuites", name="edgekd gate")
    _add_suite(root, verdict, selected=True)
    for other in verdict.alternatives:
        _add_suite(root, other, selected=False)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_suite(root: ET.Element, verdict: Verdict, *, selected: bool) -> None:
    name = _clean(f"{verdict.artifact} ({verdict.precision})")
    suite = ET.SubElement(root, "testsuite", name=name)
    for criterion in verdict.criteria:
        case = ET.SubElement(suite, "testcase", classname=f"edgekd.{name}", name=criterion.metric, time="0")
        _add_result(case, criterion, selected=selected)
    suite.set("tests", str(len(verdict.criteria)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    lines = (verdict.text, f"sha256 {verdict.sha256}", *verdict.notes)
    ET.SubElement(suite, "system-out").text = _clean("\n".join(lines))


def _add_result(case: ET.Element, criterion: Criterion, *, selected: bool) -> None:
    if criterion.outcome is Outcome.PASS:
        ET.SubElement(case, "system-out").text = _clean(criterion.text)
        return
    if selected:
        tag = "failure" if criterion.outcome is Outcome.FAIL else "error"
        result = ET.SubElement(case, tag, type=criterion.reason.value, message=_clean(criterion.text))
    else:
        message = _clean(f"not selected; {criterion.reason}: {criterion.text}")
        result = ET.SubElement(case, "skipped", message=message)
    result.text = (
        f"limit {value_text(criterion.limit, criterion.unit)}, found {value_text(criterion.estimate, criterion.unit)}"
    )


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", printable(text))
