"""What a caller's own data set may hold that no model can be trained on."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from tasks_data import model, several, tagged
from tiny_digits import digit_images, tiny_vit
from transformers import RobertaConfig, RobertaForSequenceClassification

from edgekd.distill.cache import cached_logits
from edgekd.distill.columns import check_columns, check_labels_column
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.train import train
from edgekd.errors import DataError, EdgekdError

IDS = [[1, 2, 3]] * 4 + [[4, 5]] * 4
SETTINGS = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=4)


def rows(**changed: Any) -> datasets.Dataset:
    table = {"input_ids": IDS, "attention_mask": [[1] * len(ids) for ids in IDS], "labels": [0, 1] * 4}
    table |= {"row": list(range(8)), **changed}
    return datasets.Dataset.from_dict({name: values for name, values in table.items() if values is not None})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": None}, "the training part: has no column 'labels', found input_ids, attention_mask, row"),
        ({"labels": ["a", "b"] * 4}, "the column 'labels' holds string, expected numbers"),
        ({"labels": [0.0, 1.0] * 4}, "the column 'labels' holds float64, expected whole numbers"),
        ({"labels": [None, 1] * 4}, r"the column 'labels' lacks a number \(None\)"),
        ({"input_ids": [[1, None, 3]] * 4 + [[4, 5]] * 4}, "the column 'input_ids' lacks a number"),
        ({"input_ids": [None] * 4 + [[4, 5]] * 4}, "the column 'input_ids' lacks a number"),
        ({"text": ["one"] * 8}, "the column 'text' holds string, expected numbers. Encode or remove it"),
        ({"teacher_logits": [[0.5, None, 1.0]] * 8}, "the column 'teacher_logits' lacks a number"),
        ({"input_ids": [[1, 2, 20]] * 4 + [[4, 5]] * 4}, "found tokens 1 to 20, expected 0 to 19"),
        ({"input_ids": [[1, 2, -1]] * 4 + [[4, 5]] * 4}, "found tokens -1 to 5, expected 0 to 19"),
        ({"input_ids": [[1] * 17] * 8, "attention_mask": [[1] * 17] * 8}, "a row of 17 tokens, expected at most 16"),
    ],
)
def test_a_data_set_that_cannot_be_learned_from_is_refused_before_the_first_step(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        train(model("sequence"), rows(**changed), rows(), SETTINGS, tmp_path, pad_token_id=0)
    assert not list(tmp_path.iterdir())


def test_the_validation_part_is_looked_at_as_well(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the validation part: the column 'labels' lacks a number"):
        train(model("sequence"), rows(), rows(labels=[None, 1] * 4), SETTINGS, tmp_path, pad_token_id=0)


@pytest.mark.parametrize("changed", [{"input_ids": [[99]] * 8, "attention_mask": [[1]] * 8}, {"text": ["one"] * 8}])
def test_the_teacher_is_not_asked_about_such_rows(changed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="teacher cache: "):
        cached_logits(model("sequence"), rows(**changed), tmp_path, batch_size=4, pad_token_id=0)
    with pytest.raises(DataError, match="teacher cache: the data set has no rows"):
        cached_logits(model("sequence"), rows().select([]), tmp_path, batch_size=4, pad_token_id=0)
    assert not list(tmp_path.iterdir())


def test_whatever_a_model_can_read_passes() -> None:
    check_columns(model("sequence"), rows(labels=[True, False] * 4, teacher_logits=[[0.5, 1.0]] * 8), "rows")
    check_columns(model("tokens"), tagged(), "rows")
    check_columns(model("sequence"), several(), "rows")
    check_columns(tiny_vit(), digit_images(0, 8), "rows")
    check_labels_column(tagged(), "rows", whole=True)
    check_labels_column(rows(labels=[[0.0, 1.0]] * 8), "rows", whole=False)


def test_of_a_roberta_the_positions_up_to_its_padding_do_not_count() -> None:
    config = RobertaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    roberta = RobertaForSequenceClassification(config)
    for length in (10, 11):
        long = rows(input_ids=[[4] * length] * 8, attention_mask=[[1] * length] * 8)
        if length == 10:
            check_columns(roberta, long, "rows")
            continue
        with pytest.raises(DataError, match="a row of 11 tokens, expected at most 10"):
            check_columns(roberta, long, "rows")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"accumulation": -1}, "accumulation is -1, expected at least 1"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected a number above 0"),
        ({"task": "sentence-embedding", "accumulation": 2}, "found parts of a step of 2 texts, expected at least 3"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0, expected a number above 0"),
    ],
)
def test_numbers_under_which_there_is_no_training_are_refused(
    numbers: dict[str, Any], said: str, tmp_path: Path
) -> None:
    settings = TrainingSettings(**{"epochs": 1, "learning_rate": 1e-3, "batch_size": 4, **numbers})
    with pytest.raises(EdgekdError, match=said):
        train(model("sequence"), rows(), rows(), settings, tmp_path, pad_token_id=0)
