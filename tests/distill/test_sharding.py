"""Training in pieces is training. Two real processes are started four times, for all tests here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several_processes as plain
import sharded_processes as driver
import torch
from safetensors.torch import load_file
from tiny_digits import digit_images, tiny_vit
from transformers import TrainingArguments

from edgekd.distill import sharding
from edgekd.distill.fingerprint import weights_hash
from edgekd.errors import InputError

ROOT = Path(__file__).parents[2]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
BY_ENVIRONMENT = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def launched(folder: Path, mode: str, launcher: list[str], **environment: str) -> Any:
    """Two processes on this machine's loopback."""
    given = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), **environment,
    }  # fmt: skip
    command = [sys.executable, "-m", *launcher, driver.__file__, str(folder), mode]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=300, check=False)


def left_by(folder: Path, mode: str) -> list[Any]:
    return [json.loads((folder / f"{mode}-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[Any]:
    run = launched(folder, "whole", ACCELERATE)
    assert run.returncode == 0, run.stderr
    return left_by(folder, "whole")


@pytest.fixture(scope="module")
def lesson(folder: Path, whole: list[Any]) -> Any:
    return plain.lesson_of(folder)


def check_seen(folder: Path, name: str, alone: dict[str, Any]) -> None:
    assert len(alone["steps"]) == 3
    for rank in range(2):
        found = torch.load(folder / f"{name}-{rank}.pt")
        for step, expected in zip(found["steps"], alone["steps"], strict=True):
            torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(found["weights"], alone["weights"], rtol=1e-4, atol=1e-6)
        assert found["norms"] == pytest.approx(alone["norms"], rel=1e-4)


@pytest.mark.parametrize("way", list(driver.WAYS))
def test_gradients_their_norm_and_the_weights_are_those_of_one_process(
    folder: Path, lesson: Any, tmp_path: Path, way: str
) -> None:
    alone = driver.gradients(tmp_path, lesson, 1, **driver.WAYS[way])
    check_seen(folder, way, alone)
    if way == "clipped":
        assert min(alone["norms"]) > 2 * driver.CLIP
        assert float(torch.linalg.vector_norm(alone["steps"][0])) == pytest.approx(driver.CLIP, rel=1e-3)


def test_each_process_keeps_half_of_weights_and_moments_in_units_of_a_layer(folder: Path, whole: list[Any]) -> None:
    first, second = (torch.load(folder / f"parts-1-{rank}.pt")["kept"] for rank in range(2))
    assert first["of"] == second["of"] == first["weights"] + second["weights"]
    assert first["moments"] + second["moments"] == 2 * first["of"]
    assert max(first["weights"], second["weights"]) < 0.51 * first["of"]
    assert max(first["moments"], second["moments"]) < 0.51 * 2 * first["of"]
    assert first["cut"] == ["FSDPBertForSequenceClassification", "FSDPBertLayer"]


def test_a_training_is_that_of_one_process(lesson: Any, whole: list[Any], tmp_path: Path) -> None:
    alone = plain.plain_training(tmp_path, lesson)
    first, second = (told["plain"] for told in whole)
    assert (first["weights"], first["result"]) == (second["weights"], second["result"])
    check_result(first, alone)
    assert [loss for _, loss in first["steps"]] == pytest.approx([loss for _, loss in alone["steps"]], rel=0.01)


def check_result(found: Any, alone: Any, atol: float = 0.02) -> None:
    np.testing.assert_allclose(found["logits"], alone["logits"], atol=atol)
    pairs = zip(found["result"]["history"], alone["result"]["history"], strict=True)
    for record, expected in pairs:
        assert record["validation_loss"] == pytest.approx(expected["validation_loss"], rel=0.01)
        assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=0.01)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("features", driver.FEATURES), ("mixed", driver.MIXED), ("rates", driver.RATES)],
    ids=["features with projectors", "bf16", "frozen embeddings and falling rates"],
)
def test_other_ways_to_train_are_those_of_one_process(
    name: str, settings: Any, lesson: Any, whole: list[Any], tmp_path: Path
) -> None:
    alone = driver.taught(tmp_path, lesson, settings)
    first, second = (told[name] for told in whole)
    assert first == second
    check_result(first, alone)
    assert first["same"] == alone["same"]
    assert first["names"] == alone["names"]
    assert (len(first["same"]) > 0) == settings.freeze_embeddings


def test_a_head_that_is_the_embedding_table_stays_it(whole: list[Any]) -> None:
    first, second = (told["tied"] for told in whole)
    assert max(first["furthest"], second["furthest"]) < 1e-6
    assert first["before"] == first["inside"] == first["after"] == second["after"]
    assert second["inside"] is None
    assert first["answers"][0] == first["answers"][1] == second["answers"][1]


def test_the_saved_student_is_loaded_whole_by_every_process(whole: list[Any]) -> None:
    first, second = (told["vanilla"] for told in whole)
    assert first == second
    assert first["saved"] == first["loaded"]
    assert first["same"]
    assert first["files"] == ["config.json", "model.safetensors"]


def test_a_loss_that_is_no_number_ends_all_and_leaves_nothing_that_could_be_taken_for_a_model(
    whole: list[Any],
) -> None:
    first, second = (told["nan"] for told in whole)
    assert first == second
    assert "the loss is nan at step 1" in first["error"]
    assert first["left"]
    assert first["kind"] == "ViTForImageClassification"


def test_the_launchers_switch_is_left_on(whole: list[Any]) -> None:
    for told in whole:
        assert told["switch"] == "true"
        assert [name for name in told["environment"] if "FSDP" in name] == []


def test_the_arguments_of_the_trainer_ask_for_it_as_well(folder: Path, lesson: Any, tmp_path: Path) -> None:
    run = launched(folder, "arguments", TORCHRUN)
    assert run.returncode == 0, run.stderr
    assert [told["switch"] for told in left_by(folder, "arguments")] == [None, None]
    check_seen(folder, "arguments", driver.gradients(tmp_path, lesson, 1))
    assert torch.load(folder / "arguments-1.pt")["kept"]["cut"]


def test_a_training_whose_second_process_was_killed_goes_on_to_the_same_weights(folder: Path, whole: list[Any]) -> None:
    killed = launched(folder, "killed", TORCHRUN, **BY_ENVIRONMENT)
    assert "SIGKILL" in killed.stderr
    assert not (folder / "killed-0.json").exists()
    (checkpoint,) = folder.glob("killed/checkpoints/*/main/checkpoint-12")
    assert (checkpoint / "complete.json").exists()
    check_whole(checkpoint)
    resumed = launched(folder, "resumed", TORCHRUN, **BY_ENVIRONMENT)
    assert resumed.returncode == 0, resumed.stderr
    for rank, found in enumerate(left_by(folder, "resumed")):
        expected = whole[rank]["dropout"]
        assert (found["weights"], found["result"]) == (expected["weights"], expected["result"])
        assert found["steps"] == (list(range(13, 49)) if rank == 0 else [])


def check_whole(checkpoint: Path) -> None:
    """Weights and moments are in the checkpoint as a training in one process would write them."""
    student = tiny_vit(2, layers=1, hidden=16)
    expected = {name: weight.shape for name, weight in student.named_parameters()}
    assert {name: value.shape for name, value in load_file(checkpoint / "model.safetensors").items()} == expected
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    assert sum(values["exp_avg"].numel() for values in state.values()) == student.num_parameters()
    assert {type(value) for values in state.values() for value in values.values()} == {torch.Tensor}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "false", "FSDP_VERSION": "1"}, None),
        (BY_ENVIRONMENT, sharding.Wish()),
        ({**BY_ENVIRONMENT, "FSDP_RESHARD_AFTER_FORWARD": "false"}, sharding.Wish(reshard=False)),
        ({**BY_ENVIRONMENT, "FSDP_OFFLOAD_PARAMS": "false"}, sharding.Wish()),
    ],
)
def test_a_launcher_asks_for_it(environment: Any, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sharding.asked() == expected
    with sharding.launcher_unheard():
        assert sharding.SWITCH not in os.environ
    assert os.environ.get(sharding.SWITCH) == environment.get(sharding.SWITCH)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "found FSDP1, expected FSDP2 or DDP"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "--fsdp_version 2"),
        ({**BY_ENVIRONMENT, "FSDP_OFFLOAD_PARAMS": "true"}, "cpu_offload.*FSDP_OFFLOAD_PARAMS"),
        ({**BY_ENVIRONMENT, "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "activation_checkpointing"),
    ],
)
def test_what_is_not_at_hand_is_refused(environment: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        sharding.asked()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, sharding.Wish()),
        ({"reshard_after_forward": False}, sharding.Wish(reshard=False)),
        ({"version": 1}, "found FSDP1"),
        ({"cpu_offload": True}, "cpu_offload"),
        ({"xla": True}, "xla"),
    ],
)
def test_arguments_ask_for_it(config: Any, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "")  # transformers writes it, and it is taken back here
    given = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], fsdp=True, fsdp_config=config, dataloader_pin_memory=False
    )
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            sharding.asked(given)
    else:
        assert sharding.asked(given) == expected


def test_alone_a_process_trains_the_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sharding.SWITCH, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    found = []
    for way in range(2):
        model = tiny_vit(2, layers=1)
        settings = plain.TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=8, seed=5)
        plain.train(model, digit_images(0, 16), digit_images(200, 210), settings, tmp_path / str(way))
        found.append(weights_hash(model))
        monkeypatch.delenv(sharding.SWITCH, raising=False)
    assert found[0] == found[1]
