"""The tasks with a loss of their own in two processes, whole and in pieces. Two real ones are started twice for all."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import task_processes as driver
from launching import FSDP2, launched, left_by

MODES = {"copies": {}, "pieces": FSDP2}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What two processes told, each with a copy of the model (DDP) or with a part of it (FSDP2)."""
    folder = tmp_path_factory.mktemp("two")
    for mode, environment in MODES.items():
        run = launched(driver.__file__, folder, mode, **environment)
        assert run.returncode == 0, run.stderr
    return {mode: left_by(folder, mode) for mode in MODES}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return driver.trainings(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("name", ["multi-label", "tokens", "stored"])
def test_a_training_on_labels_is_that_of_one_process(
    name: str, mode: str, told: dict[str, list[Any]], alone: Any
) -> None:
    first, second = (each[name] for each in told[mode])
    assert first == second
    assert first["weights"] != first["before"]
    np.testing.assert_allclose(first["losses"], alone[name]["losses"], rtol=0.01, atol=1e-3)
    for found, expected in zip(first["result"]["history"], alone[name]["result"]["history"], strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=0.01)
        assert found["validation_loss"] == pytest.approx(expected["validation_loss"], rel=0.01)
        assert found["validation_accuracy"] == pytest.approx(expected["validation_accuracy"], abs=0.02)


def test_stored_features_change_what_a_student_learns(alone: Any) -> None:
    assert alone["stored"]["weights"] != alone["tokens"]["weights"]
    assert alone["stored"]["result"]["history"][0]["train_loss"] > alone["tokens"]["result"]["history"][0]["train_loss"]


@pytest.mark.parametrize("mode", list(MODES))
def test_a_student_learns_through_a_projector_that_is_gone_in_the_end(mode: str, told: dict[str, list[Any]]) -> None:
    first, second = (each["encoder"] for each in told[mode])
    assert first["cut"] == [mode == "pieces"]
    assert {**first, "cut": []} == second
    assert first["weights"] != first["before"]
    assert not [name for name in first["names"] if "projector" in name]
    losses = [epoch["validation_loss"] for epoch in first["result"]["history"]]
    assert losses[-1] < losses[0]


def test_an_encoder_in_pieces_learns_what_copies_of_it_learn(told: dict[str, list[Any]]) -> None:
    """One process knows all texts of a batch, each of two its own alone, so these are compared with each other."""
    found, expected = (told[mode][0]["encoder"] for mode in ("pieces", "copies"))
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=0.01, atol=1e-3)
    assert found["result"]["history"][-1]["train_loss"] == pytest.approx(
        expected["result"]["history"][-1]["train_loss"], rel=0.01
    )
