"""The step bench and the verb bench: raw samples of real models, on this machine and over a wire."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from staged_boards import stage
from tiny_recipe import TINY, run_tiny

from edgekd.errors import InputError, RecordError, SecurityError
from edgekd.files import read_json
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.ledger import Ledger
from edgekd.pipeline.measure import BenchRequest, bench_file, bench_plan, inputs, vocabulary_of
from edgekd.recipe import load_recipe
from edgekd.record import LatencyRecord, PairedRecord, read_record

POLICY = "sys/devices/system/cpu/cpufreq/policy0"
DIGITS_SHAPE = {"pixel_values": [1, 1, 8, 8]}


@pytest.fixture
def request_for(whole: Path, tmp_path: Path) -> BenchRequest:
    return BenchRequest(
        model=whole / "artifacts" / "student-fp32.onnx", url="local", key=None, known_hosts=None, python=None,
        out=tmp_path / "out", shapes=(), batch=1, sequence=16, inputs=None, id_limit=2, threads=1, processes=1,
        warmup="10 ms", duration="50 ms", samples=10,
    )  # fmt: skip


def test_every_artifact_was_measured_in_every_process(whole: Path) -> None:
    for name in ("teacher-fp32", "student-fp32", "student-int8"):
        record = read_record(whole / "records" / f"latency-{name}.json")
        assert isinstance(record, LatencyRecord)
        assert record.artifact.name == name
        assert len(record.runs) == 3
        assert all(len(run.samples_ns) >= 20 for run in record.runs)
        assert record.protocol.shapes == DIGITS_SHAPE
        assert record.device == "generic-x86-64"


def test_the_plan_is_the_recipes_protocol(root: Path) -> None:
    context = Context(load_recipe("quickstart", [*TINY, "bench.batch=4", "bench.threads=2"]), root, Path.cwd())
    plan = bench_plan(context, 500)
    assert (plan.processes, plan.threads, plan.min_samples, plan.id_limit) == (3, 2, 20, 500)
    assert (plan.warmup_s, plan.min_duration_s) == (0.05, 0.1)
    assert plan.dims["batch"] == 4
    assert bench_plan(context, 0).id_limit == 2
    assert not plan.tune
    assert bench_plan(context, 500, 16).dims["sequence"] == 16
    assert vocabulary_of(context) == 0


def test_bench_depends_on_artifacts_protocol_host_and_device(root: Path) -> None:
    def key(*overrides: str) -> str:
        return inputs_hash(inputs(Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())))

    base = key()
    assert key("sla.memory=900 MB", "distill.epochs=7") == base
    for other in (
        "bench.samples=30",
        "bench.tune=true",
        "device=raspberry-pi-5",
        "host.url=ssh://a@b:22",
        "bench.threads=2",
    ):
        assert key(other) != base, other
    Ledger(root).forget("export")
    assert key() != base


def test_an_artifact_that_the_manifest_does_not_vouch_for_is_not_measured(root: Path, context: Context) -> None:
    path = root / "artifacts" / "student-fp32.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    from edgekd.pipeline.measure import work

    with pytest.raises((RecordError, SecurityError)):
        work(context, root / "work" / "bench")


def test_more_processes_measure_again_and_nothing_else(root: Path) -> None:
    _, heard = run_tiny(root, "bench.processes=4", "precisions=[fp32, int8]")
    assert heard.ran == ["size", "bench", "gate", "report"]
    record = read_record(root / "records" / "latency-student-fp32.json")
    assert isinstance(record, LatencyRecord)
    assert len(record.runs) == 4


def test_a_recipe_that_tunes_does_so_for_all_that_is_measured_and_puts_it_back(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "board"))
    governor = Path(stage(tmp_path / "board", {f"{POLICY}/scaling_governor": "ondemand"})) / POLICY / "scaling_governor"
    _, heard = run_tiny(root, "bench.tune=true")
    assert {"size", "bench"} <= set(heard.ran)
    records = [read_record(path) for place in ("records", "calibration") for path in (root / place).glob("*.json")]
    timed = [record for record in records if isinstance(record, LatencyRecord | PairedRecord)]
    assert {type(record) for record in timed} == {LatencyRecord, PairedRecord}
    told = f"{POLICY}/scaling_governor: performance instead of ondemand"
    assert {tuple(record.host.tuned or ()) for record in timed} == {(told,)}
    assert governor.read_text().strip() == "ondemand"


def test_any_onnx_file_is_measured_into_a_folder_or_a_named_file(request_for: BenchRequest, tmp_path: Path) -> None:
    path, record = bench_file(request_for)
    assert path == tmp_path / "out" / "student-fp32.json"
    assert read_record(path) == record
    assert record.protocol.shapes == DIGITS_SHAPE
    named, _ = bench_file(replace(request_for, out=tmp_path / "named.json"))
    assert named == tmp_path / "named.json"
    assert named.is_file()


def test_without_out_the_record_stands_in_records(
    request_for: BenchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = bench_file(replace(request_for, out=None))
    assert path == Path("records") / "student-fp32.json"
    assert (tmp_path / path).is_file()


def test_a_model_is_measured_over_ssh(request_for: BenchRequest, board: Any, tmp_path: Path) -> None:
    known = board.known_hosts(tmp_path / "known_hosts")
    _, record = bench_file(replace(request_for, url=board.url, key=board.key, known_hosts=known, python=_python()))
    assert record.host.name == board.url.removeprefix("ssh://")
    assert len(record.samples_ns) >= 10


def _python() -> str:
    import sys

    return sys.executable


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shapes": ("pixel_values",)}, "--shape pixel_values: expected INPUT=SIZExSIZE"),
        ({"shapes": ("=1x2",)}, "--shape =1x2: expected"),
        ({"shapes": ("a=1x0",)}, "--shape a=1x0: expected"),
        ({"shapes": ("a=1x-2",)}, "--shape a=1x-2: expected"),
        ({"duration": "2"}, "--duration: "),
        ({"duration": "2 parsecs"}, "--duration: "),
        ({"warmup": "-1 s"}, "--warmup: "),
        ({"url": "pi@board"}, "found the host 'pi@board', expected 'local', ssh://"),
        ({"url": "ssh://pi@board:99999"}, "port"),
        ({"url": "ssh://pi@127.0.0.1:1"}, "no key file was named"),
    ],
)
def test_a_wrong_request_is_refused_before_measuring(
    request_for: BenchRequest, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        bench_file(replace(request_for, **change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_spec_of_a_text_teacher_gives_the_vocabulary(root: Path, context: Context) -> None:
    from edgekd.files import write_json

    table = read_json(root / "teacher.json")
    table["spec"]["vocabulary"] = 700
    write_json(root / "teacher.json", table)
    assert vocabulary_of(context) == 700
