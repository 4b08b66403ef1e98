"""Circumstances and how to find it again."""

from dataclasses import replace

from page_reader import Page

from edgekd.report.environment import environment
from edgekd.report.run import RunFolder
from edgekd.vitals import Vitals


def test_host_runtime_protocol_data_and_artifacts_are_told(whole: RunFolder) -> None:
    said = Page(environment(whole).text).said
    for word in (
        "Cortex-A76", "8.46 GB", "2.40 GHz", "48.2 °C to 55.9 °C", "onnxruntime 1.24.1", "pixel_values 1 x 1 x 8 x 8",
        "5 per artifact", "CLOCK_MONOTONIC_RAW", "2026-02-03 10:30:07 UTC", "1293 to train", "torch 2.13.0",
        "100.0 % of 128", "sudo cpupower frequency-set -g performance", "edgekd run quickstart",
    ):  # fmt: skip
        assert word in said
    for record in whole.latency:
        assert record.artifact.sha256 in said


def test_each_warning_is_said_once_with_all_it_touches(whole: RunFolder) -> None:
    said = Page(environment(whole).text).said
    assert said.count("governor: the processor's governor") == 1
    assert "(student-fp32, student-int8, teacher-fp32)" in said


def test_differing_conditions_are_a_warning(whole: RunFolder) -> None:
    first = whole.latency[0]
    other = first.model_copy(update={"runtime": first.runtime.model_copy(update={"threads": 2})})
    said = Page(environment(replace(whole, latency=(other, *whole.latency[1:]))).text).said
    assert "conditions differ between records: threads: 2 and 1" in said


def test_unknown_facts_are_said_to_be_unknown(whole: RunFolder) -> None:
    host = whole.latency[0].host.model_copy(
        update={"cpu": None, "temperature_c_before": None, "temperature_c_after": None, "governor": None}
    )
    bare = replace(whole, latency=(whole.latency[0].model_copy(update={"host": host}),))
    assert Page(environment(bare).text).said.count("unknown") >= 3


def test_what_was_watched_is_told_and_that_nobody_watched_is_told_too(whole: RunFolder) -> None:
    first = whole.latency[0]
    ticks = [
        {
            "at_s": 0.0,
            "clock_hz": 600_000_000,
            "governor": "performance",
            "temperature_c": 41.0,
            "rails_w": {"VDD_IN": 4.0},
        },
        {"at_s": 2.0, "clock_hz": 1_510_400_000, "governor": "x<b>", "temperature_c": 62.5, "rails_w": {"VDD_IN": 6.0}},
    ]
    watched = {"cores": [0], "ticks": ticks, "suspended_s": 0.0, "power_mode_before": "15W", "power_mode_after": "15W"}
    host = first.host.model_copy(update={"vitals": [Vitals.model_validate(watched)], "tuned": ["policy0: performance"]})
    page = environment(replace(whole, latency=(first.model_copy(update={"host": host}),))).text
    said = Page(page).said
    for word in ("600 MHz to 1510 MHz", "41.0 °C to 62.5 °C", "15W", "5.00 W on the rail VDD_IN", "never", "policy0"):
        assert word in said, word
    assert "x&lt;b&gt;" in page
    bare = host.model_copy(update={"vitals": [], "tuned": None})
    said = Page(environment(replace(whole, latency=(first.model_copy(update={"host": bare}),))).text).said
    assert "nobody watched the board" in said


def test_an_export_without_measurements_lists_its_artifacts(whole: RunFolder) -> None:
    said = Page(environment(replace(whole, latency=(), accuracy=())).text).said
    assert "teacher-fp32" in said
    assert "Nothing has been measured yet." in said


def test_records_without_a_manifest_list_theirs(whole: RunFolder) -> None:
    said = Page(environment(replace(whole, manifest=None, recipe=None, teacher=None)).text).said
    assert "teacher-fp32" in said
    assert "recipe.json is not there" in said
