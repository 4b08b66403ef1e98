"""Records: kept whole, and refused with a typed error whatever else stands in the file."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekd.errors import InputError, RecordError
from edgekd.files import json_from_bytes
from edgekd.record import (
    MAX_NS,
    SCHEMA_VERSION,
    AccuracyRecord,
    LatencyRecord,
    PairedRecord,
    read_record,
    read_records,
    record_from_json,
    write_record,
)

HEADER = {
    "schema_version": "1.3",
    "artifact": {"name": "student", "sha256": "a" * 64, "size_bytes": 1000, "precision": "int8", "role": "student"},
    "created_utc": "2026-01-01T00:00:00Z",
    "warnings": ["warm"],
}
RUNTIME = {"name": "onnxruntime", "version": "1.24", "providers": ["CPUExecutionProvider"], "threads": 4}
PLACE = {
    "device": "rpi5",
    "host": {
        "name": "board",
        "machine": "aarch64",
        "system": "Linux",
        "python": "3.11",
        "load_before": 0.5,
        "affinity": [2, 3],
        "vitals": [
            {
                "cores": [2, 3],
                "ticks": [
                    {"at_s": 0.0, "clock_hz": 1_500_000_000, "governor": "ondemand", "temperature_c": 48.3},
                    {"at_s": 1.0, "throttled": "0x0", "rails_w": {"VDD_IN": 5.5}, "thermal_status": 0},
                ],
                "suspended_s": 0.0,
            }
        ],
    },
    "runtime": RUNTIME,
    "protocol": {
        "shapes": {"input_ids": [1, 128]},
        "processes": 2,
        "warmup_s": 1.0,
        "min_duration_s": 10,
        "min_samples": 3,
    },
}
RUN = {"load_ns": 5, "first_ns": 7, "warmup_ns": [], "samples_ns": [3, 1, 2], "peak_memory_bytes": 10}
LATENCY = {"kind": "latency", **HEADER, **PLACE, "runs": [RUN, {**RUN, "samples_ns": [MAX_NS]}]}
PAIRED = {
    "kind": "paired",
    **HEADER,
    **PLACE,
    "sentinel_sha256": "b" * 64,
    "run": {"model_ns": [5, 6], "sentinel_ns": [1, 2, 3], "load_ns": 9},
}
ACCURACY = {
    "kind": "accuracy",
    **HEADER,
    "dataset": "sst2",
    "split": "validation",
    "dataset_sha256": "c" * 64,
    "runtime": RUNTIME,
    "predictions": [0, 1, 1, 0],
    "labels": [0, 1, 0, 0],
}
KINDS = ((LATENCY, LatencyRecord), (PAIRED, PairedRecord), (ACCURACY, AccuracyRecord))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _with(table: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(table)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(("table", "kind"), KINDS)
def test_file_gives_back_the_record(table: dict[str, Any], kind: type[Any], tmp_path: Path) -> None:
    record = record_from_json(table, "here")
    assert type(record) is kind
    write_record(record, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == record
    assert json.loads((tmp_path / "r.json").read_text())["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("table", [LATENCY, PAIRED])
def test_record_made_before_boards_were_watched_is_read_and_knows_nothing_of_that(
    table: dict[str, Any], version: str
) -> None:
    host = {key: value for key, value in table["host"].items() if key != "vitals"}
    record = record_from_json({**table, "host": host, "schema_version": version}, "old.json")
    assert not isinstance(record, AccuracyRecord)
    assert (record.schema_version, record.host.vitals, record.host.tuned) == (version, [], None)


def test_a_paired_record_before_stretches_is_read_and_knows_no_energy() -> None:
    record = record_from_json({**PAIRED, "schema_version": "1.2"}, "old.json")
    assert isinstance(record, PairedRecord)
    assert record.run.energy is None
    stretch = {"inferences": 9, "lasted_s": 1.0, "looks": [{"at_s": 0.1, "rails_w": {"VDD_IN": 4.0}}]}
    assert record_from_json(_with(PAIRED, ("run", "energy"), stretch), "new.json").run.energy is not None  # type: ignore[union-attr]
    for impossible in ({"inferences": 0}, {"lasted_s": 0}, {"looks": []}, {"looks": [{"at_s": 2.0, "rails_w": {}}]}):
        with pytest.raises(RecordError, match=r"run\.energy"):
            record_from_json(_with(PAIRED, ("run", "energy"), stretch | impossible), "bad.json")


def test_samples_and_peak_are_over_all_runs() -> None:
    record = LatencyRecord.model_validate(LATENCY)
    assert record.samples_ns == [3, 1, 2, MAX_NS]
    assert record.peak_memory_bytes == 10
    larger = _with(LATENCY, ("runs", 1, "peak_memory_bytes"), 11)
    assert LatencyRecord.model_validate(larger).peak_memory_bytes == 11
    unknown = _with(LATENCY, ("runs", 1, "peak_memory_bytes"), None)
    assert LatencyRecord.model_validate(unknown).peak_memory_bytes is None


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert AccuracyRecord.model_validate(ACCURACY).accuracy == 0.75


def test_text_that_is_no_unicode_survives_its_file(tmp_path: Path) -> None:
    record = record_from_json(_with(LATENCY, ("artifact", "name"), "\ud800"), "r.json")
    write_record(record, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == record


def test_record_cannot_be_changed() -> None:
    record = LatencyRecord.model_validate(LATENCY)
    with pytest.raises(ValidationError):
        record.runs = []


@pytest.mark.parametrize(
    ("table", "path", "value"),
    [
        *(
            (LATENCY, ("runs", 0, "samples_ns", 0), bad)
            for bad in (0, -1, True, 1.5, 1.0, "5", None, [1], MAX_NS + 1, 10**400)
        ),
        (LATENCY, ("runs", 0, "samples_ns"), []),
        (LATENCY, ("runs",), []),
        (LATENCY, ("runs", 0, "peak_memory_bytes"), 0),
        (LATENCY, ("runs", 0, "load_ns"), False),
        (LATENCY, ("host", "load_before"), float("nan")),
        (LATENCY, ("host", "load_before"), float("inf")),
        (LATENCY, ("host", "load_before"), True),
        (LATENCY, ("runtime", "threads"), 0),
        (LATENCY, ("protocol", "warmup_s"), -0.1),
        (LATENCY, ("protocol", "processes"), 0),
        (LATENCY, ("artifact", "sha256"), "A" * 64),
        (LATENCY, ("artifact", "sha256"), "a" * 63),
        (LATENCY, ("artifact", "size_bytes"), 0),
        (LATENCY, ("artifact", "role"), "boss"),
        (LATENCY, ("surprise",), 1),
        (LATENCY, ("runs", 0, "mean_ns"), 3),
        (LATENCY, ("kind",), "hearsay"),
        (LATENCY, ("kind",), ["latency"]),
        (LATENCY, ("kind",), None),
        (PAIRED, ("run", "sentinel_ns"), [1, 2]),
        (PAIRED, ("run", "model_ns"), []),
        (ACCURACY, ("labels",), [0, 1]),
        (ACCURACY, ("predictions",), []),
        (ACCURACY, ("predictions", 0), True),
    ],
)
def test_impossible_value_is_a_record_error_in_one_line(
    table: dict[str, Any], path: tuple[Any, ...], value: Any
) -> None:
    with pytest.raises(RecordError) as caught:
        record_from_json(_with(table, path, value), "r.json")
    message = str(caught.value)
    assert message.startswith("r.json: ")
    assert "\n" not in message
    assert len(message) < 500


def test_error_names_the_place() -> None:
    with pytest.raises(RecordError, match=r"^r\.json: runs\.1\.samples_ns\.0: .*greater than 0 \(found -4\)"):
        record_from_json(_with(LATENCY, ("runs", 1, "samples_ns", 0), -4), "r.json")


@pytest.mark.parametrize("version", ["1.9", "2.0", "0.9", 1, 1.0, None, ["1.0"], "1.0\x1b[31m"])
def test_other_schema_version_is_named_and_refused(version: Any) -> None:
    with pytest.raises(RecordError, match=r"has schema_version .*, this edgekd reads 1\.0") as caught:
        record_from_json({**LATENCY, "schema_version": version}, "r.json")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("table", [None, [], {}, "latency", 5, {"kind": "latency"}, {"schema_version": "1.0"}])
def test_json_that_is_no_record_says_so(table: Any) -> None:
    with pytest.raises(RecordError, match="is not an edgekd record"):
        record_from_json(table, "r.json")


@pytest.mark.parametrize(("table", "_kind"), KINDS)
def test_every_required_key_is_missed(table: dict[str, Any], _kind: type[Any]) -> None:
    optional = {"warnings", "device", "load_before", "affinity", "precision", "role", "peak_memory_bytes"}
    optional |= {"vitals", "clock_hz", "governor", "temperature_c", "throttled", "rails_w", "VDD_IN", "thermal_status"}
    optional |= {"suspended_s"}
    for path in list(_places(table)):
        if isinstance(path[-1], int) or path[-1] in optional or path[-2:-1] == ("shapes",):
            continue
        changed = copy.deepcopy(table)
        inner: Any = changed
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        with pytest.raises(RecordError):
            record_from_json(changed, "r.json")


@pytest.mark.parametrize(("table", "_kind"), KINDS)
def test_record_cut_at_any_byte_is_refused(table: dict[str, Any], _kind: type[Any]) -> None:
    data = json.dumps(table).encode()
    for end in range(len(data)):
        with pytest.raises(RecordError):
            record_from_json(json_from_bytes(data[:end], where="cut"), "cut")


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "latency", "kind": "latency"}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"kind": "latency"} x',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        "\ufeff{}",
        "",
    ],
)
def test_json_that_other_readers_let_through_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        record_from_json(json_from_bytes(text.encode(), where="r.json"), "r.json")


def test_too_large_a_number_in_a_float_is_refused() -> None:
    text = json.dumps(LATENCY).replace('"load_before": 0.5', '"load_before": 1e400')
    assert "1e400" in text
    with pytest.raises(RecordError, match="load_before"):
        record_from_json(json_from_bytes(text.encode(), where="r.json"), "r.json")


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_junk_at_any_place_gives_a_record_or_a_typed_error(kind: Any, data: Any) -> None:
    table = kind[0]
    path = data.draw(st.sampled_from(list(_places(table))))
    try:
        record = record_from_json(_with(table, path, data.draw(_JUNK)), "r.json")
    except RecordError:
        return
    if isinstance(record, LatencyRecord):
        assert all(type(sample) is int and 0 < sample <= MAX_NS for sample in record.samples_ns)


@given(st.sampled_from(KINDS), st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_flipped_byte_gives_a_record_or_a_typed_error(kind: Any, data: Any) -> None:
    raw = bytearray(json.dumps(kind[0]).encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(RecordError):
        record_from_json(json_from_bytes(bytes(raw), where="r.json"), "r.json")


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_random_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(RecordError):
        record_from_json(json_from_bytes(data, where="r.json"), "r.json")


def test_folder_is_read_in_order_and_an_empty_one_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \*.json file"):
        read_records([tmp_path])
    write_record(LatencyRecord.model_validate(LATENCY), tmp_path / "b.json")
    write_record(AccuracyRecord.model_validate(ACCURACY), tmp_path / "a.json")
    found = read_records([tmp_path, tmp_path / "b.json"])
    assert [(path.name, record.kind) for path, record in found] == [
        ("a.json", "accuracy"),
        ("b.json", "latency"),
        ("b.json", "latency"),
    ]


def test_missing_file_and_foreign_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_record(tmp_path / "none.json")
    (tmp_path / "verdict.json").write_text("{}")
    with pytest.raises(RecordError, match=r"verdict\.json: is not an edgekd record"):
        read_records([tmp_path])
