"""The comparison with other libraries: its arithmetic, its workers' manners, and our own methods end to end."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from edgekd.distill.collate import Collator
from tests.distill.tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit

ROOT = Path(__file__).parents[2]
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "distillation"))
    return importlib.import_module


@pytest.fixture
def table(load: Load) -> ModuleType:
    return load("peer_table")


@pytest.fixture
def worker(load: Load) -> ModuleType:
    return load("peer_worker")


@pytest.fixture
def peers(load: Load) -> ModuleType:
    return load("peers")


def drifting_turns(costs: dict[str, float], rounds: int) -> dict[str, list[float]]:
    """Turns one after the other on a machine that slows down steadily."""
    turns: dict[str, list[float]] = {method: [] for method in costs}
    slowness = 1.0
    for _ in range(rounds):
        for method, seconds in costs.items():
            turns[method].append(seconds * slowness)
            slowness += 0.1
    return turns


def test_a_steady_drift_of_the_machine_cancels_out_of_the_ratios(table: ModuleType) -> None:
    turns = drifting_turns({"plain": 1.0, "edgekd": 2.0}, rounds=6)
    np.testing.assert_allclose(table.relative_speeds(turns, "edgekd", "plain"), 0.5)
    np.testing.assert_allclose(table.relative_speeds(turns, "plain", "edgekd"), 2.0)


def test_the_round_that_warms_up_counts_on_neither_side(table: ModuleType) -> None:
    turns = {"plain": [1e6, 1.0, 1.0, 1.0], "edgekd": [1e6, 2.0, 2.0, 2.0]}
    assert table.relative_speeds(turns, "edgekd", "plain") == [0.5, 0.5]
    assert table.relative_speeds(turns, "plain", "edgekd") == [2.0, 2.0]
    assert table.relative_speeds({"plain": [1.0, 1.0], "edgekd": [1.0, 1.0]}, "edgekd", "plain") == []


def test_one_disturbed_turn_does_not_move_the_median(table: ModuleType) -> None:
    found = table.median_interval([1.0] * 20 + [50.0])
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_interval_of_accuracy_knows_examples_and_seeds(table: ModuleType) -> None:
    rng = np.random.default_rng(1)
    right = (rng.random((4, 400)) < 0.8).astype(float)
    found = table.mean_interval(right)
    assert found.value == right.mean()
    assert found.low < found.value < found.high
    alone = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 1600)
    assert alone < found.high - found.low < 2.5 * alone
    # Seeds that differ widen it, however many the examples.
    torn = np.repeat([[1.0], [0.0]], 4000, axis=1)
    assert table.mean_interval(torn).text(".1f") == "0.0 to 1.0"


def made_session(accuracy: dict[str, int], costs: dict[str, float]) -> dict:
    """Of 100 examples whose label is 1, a method answers so many rightly."""
    answers = {method: [1] * right + [0] * (100 - right) for method, right in accuracy.items()}
    return {"turns": drifting_turns(costs, rounds=12), "answers": answers, "failed": {}}


def judged(table: ModuleType, accuracy: dict[str, int], costs: dict[str, float]) -> list[str]:
    found = table.outcome([made_session(accuracy, costs)] * 2, [1] * 100, {})
    return [result for _, result, _ in table.goals(found, epochs=10)]


def test_goals_that_hold_are_told_with_their_numbers(table: ModuleType) -> None:
    accuracy = {"plain": 80, "edgekd": 90, "edgekd-online": 90, "textbrewer": 85}
    costs = {"plain": 1.0, "edgekd": 1.02, "edgekd-online": 2.04, "textbrewer": 2.0}
    better, library, speed, overhead = judged(table, accuracy, costs)
    assert library == better
    assert better.startswith("holds: +5.00 points against TextBrewer, teacher in every step")
    # Filling the cache costs as much as one of ten epochs adds: 2 / (1 + 1 / 10).
    assert speed.startswith("holds: 2.00 times")
    assert "1.82 times with the one pass that" in speed
    assert overhead.startswith("holds: +2.0%")


def test_goals_that_are_missed_are_told_as_plainly(table: ModuleType) -> None:
    accuracy = {"plain": 95, "edgekd": 70, "edgekd-online": 70, "textbrewer": 85}
    costs = {"plain": 1.0, "edgekd": 1.2, "edgekd-online": 1.5, "textbrewer": 2.0}
    better, library, speed, overhead = judged(table, accuracy, costs)
    assert library.startswith("does not hold: -15.00 points against TextBrewer")
    assert better.startswith("does not hold: -25.00 points against plain fine-tuning")
    assert speed.startswith("does not hold: 1.25 times")
    assert overhead.startswith("does not hold: +20.0%")


def test_an_interval_that_contains_the_limit_decides_nothing(table: ModuleType) -> None:
    assert table.verdict(table.Interval(1.6, 1.4, 1.8), 1.5) == "is not decided"
    assert table.verdict(table.Interval(1.6, 1.5, 1.8), 1.5) == "holds"
    assert table.verdict(table.Interval(1.4, 1.3, 1.49), 1.5) == "does not hold"


def test_a_method_that_could_not_be_run_stays_in_the_table_with_the_reason(table: ModuleType) -> None:
    accuracy, costs = {"plain": 80, "edgekd": 90, "textbrewer": 70}, {"plain": 1.0, "edgekd": 1.0, "textbrewer": 1.0}
    whole = made_session(accuracy, costs)
    broken = made_session({"plain": 80, "edgekd": 90}, costs) | {"failed": {"textbrewer": "KeyError: 'x'"}}
    found = table.outcome([whole, broken], [1] * 100, {"torchdistill": "no environment"})
    rows = {row[1]: row for row in table.rows_of("digits", found)}
    assert rows["TextBrewer, teacher in every step"][3] == "could not be run: KeyError: 'x'"
    assert rows["torchdistill, teacher in every step"][3] == "could not be run: no environment"
    assert rows["edgekd, cached answers"][2:4] == ["2", "90.00%"]
    assert "edgekd, teacher in every step" not in rows
    assert [goal for goal, _, _ in table.goals(found, 10) if "libraries" in goal] == []


def test_the_last_turn_takes_the_steps_that_are_left(peers: ModuleType) -> None:
    assert peers.stretches(47, 20) == [20, 20, 7]
    assert peers.stretches(40, 20) == [20, 20]


@pytest.mark.parametrize("digits", [digit_images, digit_sequences])
def test_workers_see_the_batches_that_edgekd_sees(
    peers: ModuleType, worker: ModuleType, digits: Callable[..., Any], tmp_path: Path
) -> None:
    dataset = digits(0, 40)
    extended = dataset.add_column("teacher_logits", [[0.0] * 10] * 40)
    peers.write_rows(extended, tmp_path / "train.npz")
    rows = worker.Rows(tmp_path / "train.npz")
    assert len(rows) == 40
    picked = [3, 8, 30, 2]
    ours = Collator(PAD)(dataset.with_format("numpy").__getitems__(picked))
    del ours["row"]
    theirs = worker.Collate(PAD)([rows[index] for index in picked])
    assert set(theirs) == set(ours)
    for name, values in ours.items():
        assert torch.equal(theirs[name], values), name
        assert theirs[name].dtype == values.dtype, name


def test_padding_is_the_tokenizers(worker: ModuleType) -> None:
    rows = [{"input_ids": torch.tensor([5]), "attention_mask": torch.tensor([1])}]
    rows.append({"input_ids": torch.tensor([5, 6]), "attention_mask": torch.tensor([1, 1])})
    batch = worker.Collate(9)(rows)
    assert batch["input_ids"].tolist() == [[5, 9], [5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("model", [tiny_vit, tiny_bert])
def test_weights_decay_as_the_stock_trainer_lets_them(
    worker: ModuleType, model: Callable[..., Any], tmp_path: Path
) -> None:
    network = model()
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    expected = set(Trainer(network, arguments).get_decay_parameter_names(network))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed, kept = worker.parameter_groups(network, 0.25)
    assert {names[id(parameter)] for parameter in decayed["params"]} == expected
    assert {names[id(parameter)] for parameter in kept["params"]} == set(names.values()) - expected
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.25, 0.0)


def test_frozen_embeddings_are_in_no_group(worker: ModuleType) -> None:
    network = tiny_bert()
    worker.freeze_embeddings(network)
    trained = {id(parameter) for group in worker.parameter_groups(network, 0.1) for parameter in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) not in trained}
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    assert names == {f"bert.embeddings.{table}.weight" for table in tables}


def test_steps_pass_only_as_they_are_asked_for(worker: ModuleType) -> None:
    replies = io.StringIO()
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    turns = worker.Turns(5, io.StringIO("train 3\ntrain 2\nanswers\n"), replies)
    try:
        assert turns.wait() == "train"
        told = []
        for _ in range(5):
            weight.grad = torch.ones(2)
            optimiser.step()
            told.append(len(replies.getvalue().splitlines()))
        assert told == [0, 0, 1, 1, 2]
        assert turns.to_come == 0
        assert all(json.loads(line)["seconds"] > 0 for line in replies.getvalue().splitlines())
        assert turns.wait() == "answers"
        with pytest.raises(SystemExit):
            turns.wait()
    finally:
        turns.hook.remove()


def test_the_placeholder_for_torchvision_lasts_as_long_as_it_is_needed(
    worker: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    before = {name for name in sys.modules if name.startswith("torchvision")}
    with worker.torchvision_or_a_placeholder():
        resnet = importlib.import_module("torchvision.models.resnet")
        assert issubclass(resnet.BasicBlock, torch.nn.Module)
        assert importlib.import_module("torchvision").datasets is sys.modules["torchvision.datasets"]
    assert {name for name in sys.modules if name.startswith("torchvision")} == before


@pytest.mark.parametrize(
    ("text", "said"), [("Traceback\n  x\nKeyError: 'y'\n\n", "KeyError: 'y'"), ("", "it ended without a word")]
)
def test_the_reason_of_a_failure_is_the_last_that_was_said(peers: ModuleType, text: str, said: str) -> None:
    assert peers.last_line(text) == said


def test_without_its_environment_a_library_is_not_looked_for_elsewhere(peers: ModuleType, tmp_path: Path) -> None:
    found = peers.found_version(tmp_path / "textbrewer", "textbrewer")
    assert str(found) == "no environment in textbrewer; --install makes one"


# A teacher that is trained within seconds.
SMALL = [
    "teacher.architecture={type: vit, layers: 4, hidden: 32, heads: 2, ffn: 32, patch_size: 4}",
    "teacher.fine_tune={epochs: 8, learning_rate: 3.0e-3, batch_size: 32}",
    "distill.epochs=1",
]


def test_our_methods_take_turns_and_cached_answers_teach_what_online_ones_do(
    peers: ModuleType, table: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(peers.Case, "overrides", SMALL)
    case = peers.Case("digits", tmp_path / "digits", None, None)
    job = case.job(1)
    hollow = tmp_path / "environments" / "textbrewer" / "bin"
    hollow.mkdir(parents=True)
    (hollow / "python").symlink_to(sys.executable)
    found = peers.session(job, ["plain", "edgekd", "edgekd-online", "textbrewer"], tmp_path / "environments", 7)
    assert set(found["failed"]) == {"textbrewer"}
    assert found["failed"]["textbrewer"].startswith("ModuleNotFoundError")
    steps = json.loads((job / "job.json").read_text(encoding="utf-8"))["steps"]
    assert steps == 29
    assert {method: len(turns) for method, turns in found["turns"].items()} == dict.fromkeys(
        ("plain", "edgekd", "edgekd-online"), 4
    )
    answers = found["answers"]
    assert set(answers) == {"plain", "edgekd", "edgekd-online"}
    assert answers["edgekd"] == answers["edgekd-online"] != answers["plain"]
    result = table.outcome([found], case.labels, {})
    assert result.right["edgekd"].mean() > 0.2
    assert len(result.speed_up) == 2
