"""Saved models: complete, silent, and safe against kills and damage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from transformers.utils import logging

from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, sha256_of_file
from edgekd.pipeline.saved import publish, read_preprocessing, read_trained, save_model, trained

DIGITS = [str(digit) for digit in range(10)]


def test_saving_is_silent_and_leaves_the_librarys_bars_as_they_were(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = read_trained(root / "student", DIGITS, "image-classification")
    log: Any = logging
    capfd.readouterr()
    for shown in (True, False):
        (log.enable_progress_bar if shown else log.disable_progress_bar)()
        save_model(model, None, read_preprocessing(root / "student"), tmp_path / f"saved-{shown}")
        assert log.is_progress_bar_enabled() is shown
    log.enable_progress_bar()
    assert capfd.readouterr() == ("", "")


def test_a_saved_model_reads_back_as_it_was(root: Path, tmp_path: Path) -> None:
    save_model(
        read_trained(root / "student", DIGITS, "image-classification"),
        None,
        read_preprocessing(root / "student"),
        tmp_path / "again",
    )
    for name in ("model.safetensors", "preprocessing.json"):
        assert sha256_of_file(tmp_path / "again" / name) == sha256_of_file(root / "student" / name)


def test_saving_where_a_file_stands_is_an_input_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        save_model(
            read_trained(root / "student", DIGITS, "image-classification"),
            None,
            read_preprocessing(root / "student"),
            tmp_path / "file",
        )


@pytest.mark.parametrize("damage", ["no head", "other labels"])
def test_a_model_whose_head_is_not_trained_is_a_damaged_one(root: Path, damage: str) -> None:
    folder = root / "student"
    if damage == "no head":
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
        safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        labels = DIGITS
    else:
        labels = [f"label {digit}" for digit in DIGITS]
    with pytest.raises(RecordError, match=r"this folder is damaged .* Delete it and run again"):
        read_trained(folder, labels, "image-classification")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"kind": "sound"}', "{", '{"kind": "image", "image_size": "x", "mean": [0.1], "std": [1.0]}']
)
def test_damaged_preprocessing_is_a_record_error(root: Path, text: str) -> None:
    (root / "student" / "preprocessing.json").write_text(text)
    with pytest.raises(RecordError):
        read_preprocessing(root / "student")


def test_no_preprocessing_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_preprocessing(tmp_path)


def test_what_was_trained_once_is_not_trained_again(tmp_path: Path) -> None:
    calls = []

    def train(folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
        calls.append(folder)
        folder.mkdir(parents=True)
        (folder / "weights").write_text("w")
        hand_over({"number": len(calls)})

    assert trained(tmp_path / "scratch", train) == {"number": 1}
    assert trained(tmp_path / "scratch", train) == {"number": 1}
    assert len(calls) == 1


def test_a_kill_before_the_result_trains_again_from_an_empty_folder(tmp_path: Path) -> None:
    def killed(folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
        folder.mkdir(parents=True)
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    def train(folder: Path, hand_over: Callable[[dict[str, Any]], None]) -> None:
        assert not folder.exists()
        hand_over({})

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, killed)
    assert trained(tmp_path, train) == {}


def test_publishing_replaces_the_target_and_may_be_repeated(tmp_path: Path) -> None:
    for name in ("scratch/saved", "target"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scratch" / "saved" / "new").write_text("")
    (tmp_path / "target" / "old").write_text("")
    for _ in range(2):
        publish(tmp_path / "scratch", tmp_path / "target")
        assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"]


def test_a_tokenizer_is_saved_with_its_model(root: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "[PAD]": 1, "a": 2}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")
    save_model(
        read_trained(root / "student", DIGITS, "image-classification"),
        tokenizer,
        read_preprocessing(root / "student"),
        tmp_path / "with",
    )
    assert json.loads((tmp_path / "with" / "tokenizer.json").read_text())["model"]["vocab"] == vocabulary
    assert read_json(tmp_path / "with" / "preprocessing.json")["tokenizer"] == ""
    shutil.rmtree(tmp_path / "with")
