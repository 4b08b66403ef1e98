from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench.agent import board_lock, timing, work
from edgekd.bench.agent.board_lock import LOCK
from edgekd.bench.plan import BenchPlan

QUICK = BenchPlan(warmup_s=0.0, min_duration_s=0.0, min_samples=5, dims={"batch": 1, "sequence": 16})

ROOT = str(Path(__file__).parents[3])


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _ended(tmp_path: Path, paths: list[Path], **changed: Any) -> tuple[int, dict[str, Any]]:
    """The agent's exit status and result for the quick plan with `changed` orders."""
    orders = {**QUICK.spec(), "format": work.FORMAT, "mode": "plain", "input_data": None, **changed}
    entries = [{"path": str(path), "dims": orders["dims"]} for path in paths]
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(json.dumps({"models": entries, **orders}))
    status = work.main(["agent.pyz", str(spec), str(result)])
    return status, json.loads(result.read_text())


def _error(tmp_path: Path, models: list[Path], **changed: Any) -> tuple[str, str]:
    status, result = _ended(tmp_path, models, **changed)
    assert status == work.EXIT_ERROR
    return result["error"]["kind"], result["error"]["message"]


def test_plain_run_gives_raw_samples_and_what_it_used(classifier: Path, tmp_path: Path) -> None:
    status, result = _ended(tmp_path, [classifier])
    (only,) = result["runs"]
    assert status == 0
    assert only["shapes"] == {"input_ids": [1, 16], "attention_mask": [1, 16]}
    assert len(only["run"]["samples_ns"]) == 5
    assert len(only["run"]["warmup_ns"]) == timing.MIN_WARMUP_RUNS
    assert all(isinstance(sample, int) and sample > 0 for sample in only["run"]["samples_ns"])
    assert only["run"]["peak_memory_source"] == "VmHWM"
    assert result["runtime"]["providers"] == ["CPUExecutionProvider"]
    assert result["clock"] == "CLOCK_MONOTONIC_RAW"


def test_minimum_duration_takes_more_samples_than_the_minimum(classifier: Path, tmp_path: Path) -> None:
    _, result = _ended(tmp_path, [classifier], min_duration_s=0.2)
    samples = result["runs"][0]["run"]["samples_ns"]
    assert len(samples) > 5
    assert sum(samples) < 0.3e9


def test_warm_up_lasts_as_long_as_ordered_and_is_kept_apart(classifier: Path, tmp_path: Path) -> None:
    _, result = _ended(tmp_path, [classifier], warmup_s=0.2)
    run = result["runs"][0]["run"]
    assert sum(run["warmup_ns"]) > 0.05e9
    assert len(run["warmup_ns"]) > len(run["samples_ns"])


def test_maximum_duration_ends_a_run_that_wants_more_samples(classifier: Path, tmp_path: Path) -> None:
    _, result = _ended(tmp_path, [classifier], min_samples=10**9, max_duration_s=0.1)
    assert 1 <= len(result["runs"][0]["run"]["samples_ns"]) < 10**6


def test_number_of_samples_is_bounded_with_the_warm_up(classifier: Path, tmp_path: Path) -> None:
    _, result = _ended(tmp_path, [classifier], min_samples=10**9, warmup_s=0.1, max_samples=20)
    run = result["runs"][0]["run"]
    assert (len(run["warmup_ns"]), len(run["samples_ns"])) == (10, 10)


def test_agent_that_finds_another_at_work_says_so_before_it_loads_anything(tmp_path: Path) -> None:
    with (tmp_path / LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        kind, message = _error(tmp_path, [tmp_path / "absent.onnx"], lock_wait_s=0.1)
    assert kind == "busy"
    assert "another measurement runs there, still after 0.1 s" in message


def test_agent_begins_when_the_other_has_ended(classifier: Path, tmp_path: Path) -> None:
    held = (tmp_path / LOCK).open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, held.close)
    timer.start()
    status, _ = _ended(tmp_path, [classifier], lock_wait_s=60)
    timer.join()
    assert held.closed
    assert status == 0


def test_lock_is_held_while_models_run_and_free_afterwards(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = work.measured, []

    def watched(path: str, spec: dict[str, Any]) -> dict[str, Any]:
        with (tmp_path / LOCK).open("rb") as other, pytest.raises(BlockingIOError) as caught:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused.append(caught)
        return real(path, spec)

    monkeypatch.setattr(work, "measured", watched)
    assert [_ended(tmp_path, [classifier], lock_wait_s=0)[0] for _ in range(2)] == [0, 0]
    assert len(refused) == 2


def test_lock_of_a_killed_process_is_no_obstacle(classifier: Path, tmp_path: Path) -> None:
    program = "import sys\nfrom edgekd.bench.agent import work\nwith work.alone(0): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert _error(tmp_path, [classifier], lock_wait_s=0)[0] == "busy"
        other.kill()
        other.wait()
    assert (tmp_path / LOCK).exists()
    assert _ended(tmp_path, [classifier], lock_wait_s=0)[0] == 0


def test_system_without_such_locks_measures_without(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_lock, "fcntl", None)
    with (tmp_path / LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _ended(tmp_path, [classifier], lock_wait_s=0)[0] == 0


PAIRED = {"mode": "paired", "pairs": 4, "max_pairs": 50}


def test_paired_run_has_a_sentinel_on_both_sides_of_each_time(
    classifier: Path, wider_classifier: Path, tmp_path: Path
) -> None:
    _, result = _ended(tmp_path, [classifier, classifier], **PAIRED, sentinel=str(wider_classifier))
    assert [(len(one["run"]["model_ns"]), len(one["run"]["sentinel_ns"])) for one in result["runs"]] == [(4, 5), (4, 5)]


def test_paired_run_lasts_as_long_as_ordered_and_ends_at_the_most_pairs(
    classifier: Path, wider_classifier: Path, tmp_path: Path
) -> None:
    orders = {**PAIRED, "sentinel": str(wider_classifier)}
    _, longer = _ended(tmp_path, [classifier], **orders, min_duration_s=0.02)
    _, longest = _ended(tmp_path, [classifier], **orders, min_duration_s=60)
    assert len(longer["runs"][0]["run"]["model_ns"]) > 4
    assert len(longest["runs"][0]["run"]["model_ns"]) == 50


def test_several_models_have_a_process_each_and_the_memory_of_one_is_not_in_the_other(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(path: str, spec: dict[str, Any]) -> dict[str, Any]:
        kept = np.ones((40 if Path(path).stem == "hungry" else 1, 2**20))
        found = real(path, spec)
        return {**found, "process": os.getpid(), "kept": kept.size}

    real = work.measured
    monkeypatch.setattr(work, "measured", hungry)
    models = [Path(shutil.copy(classifier, tmp_path / "hungry.onnx")), classifier]
    _, result = _ended(tmp_path, [*models, *models])
    processes = [run["process"] for run in result["runs"]]
    peaks = [run["run"]["peak_memory_bytes"] for run in result["runs"]]
    assert len({*processes, os.getpid()}) == 5
    assert peaks[0] - peaks[1] > 200 * 2**20
    assert peaks[2] - peaks[3] > 200 * 2**20


def test_a_measuring_process_that_is_killed_is_named_and_leaves_no_result(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "measured", lambda path, spec: os.kill(os.getpid(), signal.SIGKILL))
    kind, message = _error(tmp_path, [classifier, classifier])
    assert (kind, message) == ("memory", "the measuring process ended by signal 9")


def test_each_model_of_an_order_has_sizes_of_its_own(classifier: Path, tmp_path: Path) -> None:
    entries = [{"path": str(classifier), "dims": {"batch": 1, "sequence": length}} for length in (4, 9)]
    _, result = _ended(tmp_path, [], models=entries)
    assert [run["shapes"]["input_ids"] for run in result["runs"]] == [[1, 4], [1, 9]]


def test_an_error_in_a_measuring_process_is_the_agents_own(classifier: Path, tmp_path: Path) -> None:
    kind, message = _error(tmp_path, [classifier, tmp_path / "absent.onnx"])
    assert kind == "model"
    assert "cannot load the model" in message


def test_named_shape_comes_before_dimensions(classifier: Path, tmp_path: Path) -> None:
    shapes = {"input_ids": [2, 3], "attention_mask": [2, 3]}
    assert _ended(tmp_path, [classifier], shapes=shapes)[1]["runs"][0]["shapes"] == shapes


def test_free_dimension_without_a_size_is_named_with_the_remedy(classifier: Path, tmp_path: Path) -> None:
    kind, message = _error(tmp_path, [classifier], dims={"batch": 1})
    assert kind == "shape"
    assert "'input_ids' has the free dimension 'sequence'" in message
    assert "--shape input_ids=1x64" in message


@pytest.mark.parametrize(
    ("shapes", "said"),
    [({"input_ids": [1]}, "does not fit"), ({"inputs": [1, 8]}, "the model's inputs are input_ids, attention_mask")],
)
def test_shape_that_does_not_belong_to_the_model_is_refused(
    classifier: Path, tmp_path: Path, shapes: dict[str, list[int]], said: str
) -> None:
    kind, message = _error(tmp_path, [classifier], shapes=shapes)
    assert kind == "shape"
    assert said in message


def test_model_that_is_none_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08\x08not a model")
    kind, message = _error(tmp_path, [path])
    assert kind == "model"
    assert "cannot load the model" in message


def test_inference_that_fails_is_told(classifier: Path, tmp_path: Path) -> None:
    shapes = {"input_ids": [1, 8], "attention_mask": [1, 3]}
    assert _error(tmp_path, [classifier], shapes=shapes)[0] == "runtime"


def test_spec_of_another_format_is_refused(classifier: Path, tmp_path: Path) -> None:
    assert _error(tmp_path, [classifier], format=99)[0] == "spec"


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_spec_that_cannot_be_read_is_told_in_the_result(tmp_path: Path, text: str) -> None:
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(text)
    assert work.main(["agent.pyz", str(spec), str(result)]) == work.EXIT_ERROR
    assert json.loads(result.read_text())["error"]["kind"] == "spec"


def test_inputs_of_the_users_own_are_used(classifier: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    ids = np.arange(6, dtype=np.int64).reshape(1, 6)
    np.savez(data, input_ids=ids, attention_mask=np.ones_like(ids))
    assert _ended(tmp_path, [classifier], input_data=str(data))[1]["runs"][0]["shapes"]["input_ids"] == [1, 6]


def test_inputs_of_the_users_own_that_do_not_fit_are_refused(classifier: Path, tmp_path: Path) -> None:
    wrong_name, wrong_type, pickled, text = (tmp_path / f"{name}.npz" for name in "abcd")
    np.savez(wrong_name, other=np.ones(3))
    np.savez(wrong_type, input_ids=np.ones((1, 6), dtype=np.float32))
    np.savez(pickled, input_ids=np.array([{"a": 1}], dtype=object))
    text.write_text("1,2,3")
    found = [_error(tmp_path, [classifier], input_data=str(path)) for path in (wrong_name, wrong_type, pickled, text)]
    assert [kind for kind, _ in found] == ["input"] * 4
    assert "'other'" in found[0][1]
    assert "float32" in found[1][1]
