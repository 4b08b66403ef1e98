from __future__ import annotations

import ast
import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import agent
from edgekd.bench.plan import BenchPlan

QUICK = BenchPlan(warmup_s=0.0, min_duration_s=0.0, min_samples=5, dims={"batch": 1, "sequence": 16})

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _root(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/"


def _ended(tmp_path: Path, models: list[Path], **changed: Any) -> tuple[int, dict[str, Any]]:
    """The agent's exit status and result for the quick plan with `changed` orders."""
    orders = {**QUICK.spec(), "format": agent.FORMAT, "mode": "plain", "models": [str(path) for path in models]}
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(json.dumps({**orders, "input_data": None, **changed}))
    status = agent.main(["agent.py", str(spec), str(result)])
    return status, json.loads(result.read_text())


def _error(tmp_path: Path, models: list[Path], **changed: Any) -> tuple[str, str]:
    status, result = _ended(tmp_path, models, **changed)
    assert status == agent.EXIT_ERROR
    return result["error"]["kind"], result["error"]["message"]


def test_agent_is_readable_by_python_3_8_and_imports_nothing_of_ours() -> None:
    text = Path(agent.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.split(".")[0] in ("edgekd", "numpy", "onnxruntime")]


def test_plain_run_gives_raw_samples_and_what_it_used(classifier: Path, tmp_path: Path) -> None:
    status, result = _ended(tmp_path, [classifier])
    (only,) = result["runs"]
    assert status == 0
    assert only["shapes"] == {"input_ids": [1, 16], "attention_mask": [1, 16]}
    assert len(only["run"]["samples_ns"]) == 5
    assert len(only["run"]["warmup_ns"]) == agent.MIN_WARMUP_RUNS
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
    with (tmp_path / agent.LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        kind, message = _error(tmp_path, [tmp_path / "absent.onnx"], lock_wait_s=0.1)
    assert kind == "busy"
    assert f"another measurement runs there, in {tmp_path}, still after 0.1 s" in message


def test_agent_begins_when_the_other_has_ended(classifier: Path, tmp_path: Path) -> None:
    held = (tmp_path / agent.LOCK).open("wb")
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
    real, refused = agent.measured, []

    def watched(spec: dict[str, Any]) -> list[dict[str, Any]]:
        with (tmp_path / agent.LOCK).open("rb") as other, pytest.raises(BlockingIOError) as caught:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        refused.append(caught)
        return real(spec)

    monkeypatch.setattr(agent, "measured", watched)
    assert [_ended(tmp_path, [classifier], lock_wait_s=0)[0] for _ in range(2)] == [0, 0]
    assert len(refused) == 2


def test_lock_of_a_killed_process_is_no_obstacle(classifier: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom edgekd.bench import agent\nwith agent.alone(0): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": ROOT}
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert _error(tmp_path, [classifier], lock_wait_s=0)[0] == "busy"
        other.kill()
        other.wait()
    assert (tmp_path / agent.LOCK).exists()
    assert _ended(tmp_path, [classifier], lock_wait_s=0)[0] == 0


def test_system_without_such_locks_measures_without(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "fcntl", None)
    with (tmp_path / agent.LOCK).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _ended(tmp_path, [classifier], lock_wait_s=0)[0] == 0


def test_paired_run_has_a_sentinel_on_both_sides_of_each_time(
    classifier: Path, wider_classifier: Path, tmp_path: Path
) -> None:
    _, result = _ended(tmp_path, [classifier, classifier], mode="paired", sentinel=str(wider_classifier), pairs=4)
    assert [(len(one["run"]["model_ns"]), len(one["run"]["sentinel_ns"])) for one in result["runs"]] == [(4, 5), (4, 5)]


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
    assert agent.main(["agent.py", str(spec), str(result)]) == agent.EXIT_ERROR
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


class Entry:
    def __init__(self, name: str, type_: str) -> None:
        self.name, self.type = name, f"tensor({type_})"


def _filled(name: str, type_: str, id_limit: int = 2) -> Any:
    return agent.filled(Entry(name, type_), [4, 50], id_limit, np.random.default_rng(0))


def test_inputs_are_filled_by_what_their_name_and_type_mean() -> None:
    assert (_filled("attention_mask", "int64") == 1).all()
    assert (_filled("token_type_ids", "int64") == 0).all()
    assert (_filled("position_ids", "int32") == 0).all()
    assert _filled("flags", "bool").all()
    pixels = _filled("pixel_values", "float")
    assert pixels.dtype == np.float32
    assert 0.8 < pixels.std() < 1.2
    assert (pixels == _filled("pixel_values", "float")).all()


def test_ids_stay_below_their_limit_and_their_type() -> None:
    assert set(np.unique(_filled("input_ids", "int64"))) == {0, 1}
    assert 90 < _filled("input_ids", "int64", 100).max() < 100
    assert _filled("tokens", "uint8", 10**6).dtype == np.uint8


def test_input_of_a_type_that_cannot_be_filled_is_named() -> None:
    with pytest.raises(agent.AgentError, match=r"'text' has the type tensor\(string\)"):
        _filled("text", "string")


def test_facts_are_read_from_the_files_of_the_system(tmp_path: Path) -> None:
    root = _root(
        tmp_path,
        {
            "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/meminfo": "MemTotal:        8245000 kB\nMemFree: 1 kB\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
            "proc/sys/kernel/random/boot_id": "abc\n",
        },
    )
    facts = agent.lasting_facts(root)
    assert facts["cpu"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts["memory_bytes"] == 8245000 * 1024
    assert (facts["governor"], facts["clock_hz"], facts["boot_id"]) == ("ondemand", 2_400_000_000, "abc")


def test_facts_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    root = _root(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>"})
    facts = {**agent.lasting_facts(root), "temperature_c": agent.temperature_c(root)}
    for name in ("cpu", "memory_bytes", "governor", "clock_hz", "boot_id", "temperature_c"):
        assert facts[name] is None, name


def test_temperature_is_the_hottest_zone_of_the_processor(tmp_path: Path) -> None:
    zones = {"cpu-thermal": "51200", "soc-thermal": "53000", "battery": "60000", "gpu": "0", "pkg": "9999999"}
    files = {}
    for number, (kind, milli) in enumerate(zones.items()):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{milli}\n"
    assert agent.temperature_c(_root(tmp_path, files)) == 53.0


@pytest.mark.parametrize(
    ("said", "found"), [("throttled=0x50005", "0x50005"), ("VCHI initialization failed", None), ("", None)]
)
def test_throttling_is_asked_from_the_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str | None
) -> None:
    tool = tmp_path / "vcgencmd"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert agent.throttled("/") == found


def test_throttle_events_of_a_processor_are_counted_where_there_is_no_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = _root(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7\n"})
    assert agent.throttled(root) == "7 throttle events"
    assert agent.throttled(f"{tmp_path}/absent/") is None
