"""JUnit: what stops a pipeline is what the exit code says, and the file is XML whatever the names are."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.gate.judge import judge
from edgekd.gate.junit import junit_text

Make = Callable[..., Any]


def test_missed_is_a_failure_and_open_is_an_error(latency_record: Make, steady: Make, sla: Make) -> None:
    verdict = judge([latency_record(steady(2, 100))], sla(latency={"p95": "10 ms"}, size="1 B", memory="1 GB"))
    root = ET.fromstring(junit_text(verdict))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert [child.tag for child in cases["latency.p95"]] == ["system-out"]
    failure, error = cases["size"].find("failure"), cases["memory"].find("error")
    assert failure.get("type") == "MISSED"
    assert failure.get("message") == verdict.criteria[2].text
    assert failure.text == "limit 1 B, found 1.00 kB"
    assert error.get("type") == "MEMORY_UNKNOWN"


def test_artifacts_that_were_not_selected_stop_nothing(latency_record: Make, steady: Make, sla: Make) -> None:
    records = [latency_record(steady(2, 100), "good"), latency_record(steady(2, 100, fast=20_000_000), "bad")]
    root = ET.fromstring(junit_text(judge(records, sla(latency={"p95": "10 ms"}))))
    good, bad = root.findall("testsuite")
    assert good.get("name") == "good (fp32)"
    assert (bad.get("tests"), bad.get("failures"), bad.get("errors"), bad.get("skipped")) == ("1", "0", "0", "1")
    assert bad.find("testcase/skipped").get("message").startswith("not selected; MISSED: p95 is 20.")
    assert root.get("failures") == root.get("errors") == "0"


@given(st.text(max_size=30))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_name_gives_well_formed_xml(latency_record: Make, steady: Make, sla: Make, name: str) -> None:
    name = name.encode("utf-8", "ignore").decode()
    verdict = judge([latency_record(steady(1, 10), name, warnings=[name])], sla(latency={"p95": "1 ms"}))
    root = ET.fromstring(junit_text(verdict).encode())
    assert root.get("tests") == "1"
