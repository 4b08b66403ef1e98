from __future__ import annotations

import dataclasses
import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from canned_results import HOST, QUICK, RUN, RUNTIME, models_at, result_of_agent
from fake_agent import done, orders, told

from edgekd.bench import session
from edgekd.bench.journal import Journal
from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import relative_latency
from edgekd.bench.results import Result
from edgekd.bench.sentinel import sentinel_model
from edgekd.bench.session import _latency_record, artifact_from_file, measure, measure_pairs
from edgekd.errors import HostError, InputError, MeasureError
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host
from edgekd.record import HostFacts, LatencyRecord, PairedRecord, Runtime, read_record, write_record


def _board(*results: bytes | dict[str, Any] | None, exit_status: int | None = 0, stderr: bytes = b"") -> FakeHost:
    """A board whose agent leaves `results` one after the other, the last of them again and again."""
    left = list(results)

    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        result = left.pop(0) if len(left) > 1 and argv[2] == "launch" else left[0]
        if exit_status != 0:
            return Answer(exit_status, stderr=stderr)
        return Answer(stdout=told(argv)) if result is None else done(argv, result)

    return FakeHost(respond=respond)


def test_a_staged_board_is_tuned_watched_and_put_back(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, from --tune to the record, on a tree in the place of /sys."""
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "root"))
    policy = tmp_path / "root/sys/devices/system/cpu/cpufreq/policy0"
    policy.mkdir(parents=True)
    for name, text in (("scaling_governor", "ondemand"), ("scaling_cur_freq", "1500000")):
        (policy / name).write_text(f"{text}\n")
    for core in range(64):
        (policy.parent.parent / f"cpu{core}").mkdir()
        (policy.parent.parent / f"cpu{core}" / "cpufreq").symlink_to("../cpufreq/policy0")
    with LocalHost(tmp_path / "work") as host:
        (record,) = measure(host, models_at(classifier), dataclasses.replace(QUICK, tune=True))
    assert record.host.governor == "performance"
    assert record.host.tuned is not None
    assert [line.partition(": ")[2] for line in record.host.tuned] == ["performance instead of ondemand"]
    ticks = [tick for vitals in record.host.vitals for tick in vitals.ticks]
    assert {(tick.governor, tick.clock_hz) for tick in ticks} == {("performance", 1_500_000_000)}
    assert (policy / "scaling_governor").read_text().strip() == "ondemand"
    assert not (tmp_path / "work" / "tune.journal").exists()


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_records_of_real_processes_are_whole_and_alike_however_the_board_is_reached(
    kind: str, request: pytest.FixtureRequest, classifier: Path, wider_classifier: Path, tmp_path: Path
) -> None:
    models = models_at(classifier, wider_classifier)
    if kind == "local":
        host: Any = LocalHost(tmp_path / "work")
    else:
        board = request.getfixturevalue("board")
        known = board.known_hosts(tmp_path / "known_hosts")
        host = open_host(
            board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"), python=sys.executable
        )
    seen: list[tuple[int, int, str]] = []
    with host:
        records = measure(
            host, models, QUICK, device="pi", on_progress=lambda *said: seen.append((*said[:2], said[2].name))
        )
    assert seen == [(1, 4, "tiny"), (2, 4, "wider"), (3, 4, "wider"), (4, 4, "tiny")]
    assert [record.artifact for record in records] == [artifact for _, artifact in models]
    for record in records:
        assert (record.host.name, record.device, record.protocol.processes) == (host.name, "pi", 2)
        assert record.protocol.shapes == {"input_ids": [1, 16], "attention_mask": [1, 16]}
        assert [len(run.samples_ns) >= 20 for run in record.runs] == [True, True]
        assert all(sum(run.samples_ns) > 0.05e9 for run in record.runs)
        assert record.peak_memory_bytes is not None
        assert record.peak_memory_bytes > 2**20
        assert record.host.cores is not None
        assert len(record.host.vitals) == 2
        assert all(len(vitals.ticks) >= 2 for vitals in record.host.vitals)
        assert record.host.tuned is None
        write_record(record, tmp_path / "record.json")
        assert read_record(tmp_path / "record.json") == record
    assert list((tmp_path / "work" / "runs").iterdir()) == []
    assert len(list((tmp_path / "work" / "blobs").iterdir())) == 3


def test_pairs_of_a_model_with_itself_are_near_one(tmp_path: Path) -> None:
    sentinel = sentinel_model(tmp_path / "sentinel.onnx")
    stored: list[PairedRecord] = []
    (record,) = measure_pairs(
        LocalHost(tmp_path / "work"), models_at(sentinel), sentinel, QUICK, pairs=40, on_record=stored.append
    )
    assert stored == [record]
    assert len(record.run.model_ns) == 40
    assert record.sentinel_sha256 == record.artifact.sha256
    assert 0.6 < relative_latency(record.run).ratio < 1.6


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_measured_models_stay_on_the_host(classifier: Path, workspace: Path) -> None:
    models = models_at(classifier)
    measure(LocalHost(workspace), models, QUICK)
    assert f"{models[0][1].sha256}.onnx" in {path.name for path in (workspace / "blobs").iterdir()}


def test_paired_models_leave_the_host_and_the_sentinel_stays(
    classifier: Path, wider_classifier: Path, workspace: Path
) -> None:
    models = models_at(classifier, classifier, wider_classifier)
    assert len(measure_pairs(LocalHost(workspace), models, classifier, QUICK, pairs=2)) == 3
    left = {path.name for path in (workspace / "blobs").iterdir() if path.suffix == ".onnx"}
    assert left == {f"{models[0][1].sha256}.onnx"}


def test_paired_model_that_fails_leaves_the_host_too(classifier: Path, wider_classifier: Path, workspace: Path) -> None:
    plan = BenchPlan(dims={"batch": 1})
    with pytest.raises(InputError, match="free dimension"):
        measure_pairs(LocalHost(workspace), models_at(wider_classifier), classifier, plan)
    left = {path.name for path in (workspace / "blobs").iterdir() if path.suffix == ".onnx"}
    assert left == {f"{artifact_from_file(classifier).sha256}.onnx"}


def test_board_where_another_measurement_runs_is_a_host_error(
    classifier: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_LOCK_WAIT_S", 0.1)
    with (workspace / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HostError, match="local: tiny: another measurement runs there"):
            measure(LocalHost(workspace), models_at(classifier), QUICK)
    (workspace / "lock").write_text("stale")
    assert len(measure(LocalHost(workspace), models_at(classifier), QUICK)) == 1


def _padded(size: int, run: dict[str, Any]) -> bytes:
    return json.dumps(result_of_agent(runs=[{"shapes": {}, "run": run}])).encode().ljust(size)


def test_result_longer_than_the_plan_allows_is_not_read(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_MAX_SAMPLES", 100)
    most = 100 * 24 + 2**20
    assert measure(_board(_padded(most, RUN)), models_at(classifier), QUICK)
    with pytest.raises(MeasureError, match=f"longer than the {most} bytes expected"):
        measure(_board(_padded(most + 1, RUN)), models_at(classifier), QUICK)


def test_result_longer_than_the_pairs_allow_is_not_read(classifier: Path) -> None:
    run = {"load_ns": 5, "model_ns": [2], "sentinel_ns": [1, 1]}
    most = (2 * 25 * 3 + 1) * 24 + 2**20
    for size, refused in ((most, False), (most + 1, True)):
        board = _board(_padded(size, run))
        if refused:
            with pytest.raises(MeasureError, match=f"longer than the {most} bytes expected"):
                measure_pairs(board, models_at(classifier), classifier, QUICK, pairs=3)
        else:
            assert measure_pairs(board, models_at(classifier), classifier, QUICK, pairs=3)


def test_plan_that_wants_more_samples_than_usual_gets_them(classifier: Path) -> None:
    seen: list[dict[str, Any]] = []

    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        seen.append(orders(host, argv))
        return done(argv, result_of_agent())

    for wanted in (100, 3_000_000):
        measure(FakeHost(respond=respond), models_at(classifier), BenchPlan(processes=1, min_samples=wanted))
    assert [(one["max_samples"], one["lock_wait_s"]) for one in seen] == [(2_000_000, 60), (6_000_000, 60)]


def test_each_paired_record_is_handed_over_before_the_next_model_begins(
    classifier: Path, wider_classifier: Path
) -> None:
    paired = {"load_ns": 5, "model_ns": [2, 2], "sentinel_ns": [1, 1, 1]}
    good = result_of_agent(runs=[{"shapes": {}, "run": paired}])
    stored: list[PairedRecord] = []
    with pytest.raises(MeasureError):
        measure_pairs(
            _board(good, b"{"), models_at(classifier, wider_classifier), classifier, QUICK, on_record=stored.append
        )
    assert [record.artifact.name for record in stored] == ["tiny"]


def test_model_is_sent_once_and_each_run_leaves_nothing_behind(classifier: Path) -> None:
    board = _board(result_of_agent())
    (record,) = measure(board, models_at(classifier), QUICK)
    assert isinstance(record, LatencyRecord)
    assert len(record.samples_ns) == 40
    assert len(board.sent) == 2
    assert sorted(board.files) == sorted(board.sent)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 1, "format": 1}',
        b'{"format": 2}',
        b'{"format": 1}',
        json.dumps(result_of_agent(runs=[])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "samples_ns": []}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "samples_ns": [0]}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "samples_ns": [1.5]}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "samples_ns": [2**63]}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "load_ns": float("nan")}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": {**RUN, "surprise": 1}}])).encode(),
        json.dumps(result_of_agent(runs=[{"shapes": {}, "run": [1]}])).encode(),
        json.dumps(result_of_agent(host={**HOST, "cores": "four"})).encode(),
        json.dumps(result_of_agent(host=None)).encode(),
        json.dumps(result_of_agent(runtime={})).encode(),
        json.dumps(result_of_agent(clock=7)).encode(),
        None,
    ],
)
def test_damaged_result_is_a_measure_error(damaged: bytes | None, classifier: Path) -> None:
    with pytest.raises(MeasureError, match="fake: tiny"):
        measure(_board(damaged), models_at(classifier), QUICK)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("shape", InputError),
        ("input", InputError),
        ("model", InputError),
        ("missing", HostError),
        ("memory", HostError),
        ("runtime", MeasureError),
        ("unheard of", MeasureError),
    ],
)
def test_error_of_the_agent_becomes_one_of_ours(kind: str, error: type[Exception], classifier: Path) -> None:
    failed = {"kind": kind, "message": "said\n\x1b[2J so"}
    board = FakeHost(respond=lambda _, argv: Answer(stdout=told(argv, "EXITED", exit_status=3, error=failed)))
    with pytest.raises(error, match=r"fake: tiny: said \\x1b\[2J so"):
        measure(board, models_at(classifier), QUICK)


@pytest.mark.parametrize(
    ("exit_status", "said"),
    [(None, "the agent's answer did not arrive"), (127, "--python PATH"), (1, "the last it said: SyntaxError: no")],
)
def test_agent_that_crashes_is_a_host_error(exit_status: int | None, said: str, classifier: Path) -> None:
    board = _board(None, exit_status=exit_status, stderr=b"Traceback\nSyntaxError: no\n")
    with pytest.raises(HostError, match=said):
        measure(board, models_at(classifier), QUICK)
    # A run that nobody can ask about is left where it is.
    assert bool([name for name in board.files if name.startswith("runs/")]) == (exit_status is None)


def test_board_that_rebooted_in_between_is_a_measure_error_and_what_was_kept_is_dropped(
    classifier: Path, tmp_path: Path
) -> None:
    board, journal = (
        _board(result_of_agent(), result_of_agent(host={**HOST, "boot_id": "b"})),
        Journal(tmp_path / "runs"),
    )
    with pytest.raises(MeasureError, match="rebooted"):
        measure(board, models_at(classifier), QUICK, journal=journal)
    assert list(tmp_path.iterdir()) == []


def test_record_keeps_the_planned_number_of_runs_so_that_a_lost_one_shows(classifier: Path) -> None:
    results = [Result(HostFacts(**HOST, name="fake"), Runtime(**RUNTIME), {}, "perf_counter_ns", dict(RUN))]
    artifact = artifact_from_file(classifier)
    record = _latency_record(artifact, results, BenchPlan(processes=3), None)
    assert (record.protocol.processes, len(record.runs)) == (3, 1)


def test_facts_before_and_after_span_all_processes(classifier: Path) -> None:
    first = result_of_agent(host={**HOST, "load_before": 0.1, "load_after": 0.2, "throttled_before": "0x0"})
    last = result_of_agent(host={**HOST, "load_before": 0.3, "load_after": 0.4, "throttled_after": "0x40000"})
    (record,) = measure(_board(first, last), models_at(classifier), QUICK)
    assert (record.host.load_before, record.host.load_after) == (0.1, 0.4)
    assert [text for text in record.warnings if text.startswith("throttled")]


def test_model_that_changed_since_it_was_named_is_refused(classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier.read_bytes())
    models = models_at(path)
    path.write_bytes(path.read_bytes() + b"\x08\x08")
    with pytest.raises(InputError, match="changed after"):
        measure(_board(result_of_agent()), models, QUICK)


def test_no_model_and_no_pair_are_input_errors(classifier: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        measure(FakeHost(), [], QUICK)
    with pytest.raises(InputError, match="pairs"):
        measure_pairs(FakeHost(), models_at(classifier), classifier, QUICK, pairs=0)


def test_shape_that_is_missing_is_an_input_error_with_the_remedy(classifier: Path, tmp_path: Path) -> None:
    plan = BenchPlan(processes=1, dims={})
    with pytest.raises(InputError, match="--shape input_ids="):
        measure(LocalHost(tmp_path / "work"), models_at(classifier), plan)


def test_board_without_the_runtime_is_told_what_to_install(classifier: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(HostError, match="pip install onnxruntime numpy"):
        measure(LocalHost(tmp_path / "work", python=str(bare)), models_at(classifier), QUICK)


def test_board_without_python_is_told_how_to_name_one(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="--python"):
        measure(LocalHost(tmp_path / "work", python="no-such-python"), models_at(classifier), QUICK)


def test_session_starts_without_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "for name in ('numpy', 'onnx', 'onnxruntime', 'torch', 'paramiko'): sys.modules[name] = None\n"
        "import edgekd.bench.session, edgekd.bench.ratio, edgekd.hosts.open\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
