from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language import byte_tokenizer, save_language_model, stories, tiny_gpt2, tiny_llama

from edgekd.errors import InputError, SecurityError, SpecError
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.language import load_language_model
from edgekd.students.source import load_model


def saved(tmp_path: Path, model: Any) -> Path:
    return save_language_model(tmp_path / "model", model, byte_tokenizer(stories(3)))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(12)[None]).logits
    return found


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_says_what_it_said_before_it_was_saved(tmp_path: Path, tied: bool) -> None:
    model = tiny_llama(320, tied=tied)
    loaded: Any = load_language_model(str(saved(tmp_path, model)))
    assert not loaded.training
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    torch.testing.assert_close(logits(loaded), logits(model))


def test_a_gpt2_says_what_it_said_before_it_was_saved(tmp_path: Path) -> None:
    model = tiny_gpt2(320)
    torch.testing.assert_close(logits(load_language_model(str(saved(tmp_path, model)))), logits(model))


def test_other_models_and_code_are_refused(tmp_path: Path) -> None:
    bert = build(
        StudentSpec(architecture="bert", layers=1, hidden=16, heads=2, ffn=16, vocabulary=50, positions=16, token_types=2, labels=2),
        seed=0,
    )  # fmt: skip
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(SpecError, match="predicts no next token"):
        load_language_model(str(tmp_path / "bert"))
    folder = saved(tmp_path, tiny_llama(320))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(SecurityError):
        load_language_model(str(folder))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, tiny_llama(320, tied=False))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: w for n, w in weights.items() if n != "lm_head.weight"}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lack lm_head\.weight"):
        load_language_model(str(folder))


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, tiny_llama(320))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    with pytest.raises(InputError, match="another shape"):
        load_language_model(str(folder))


def test_a_model_is_loaded_by_its_head(tmp_path: Path) -> None:
    loaded = load_model(str(saved(tmp_path, tiny_llama(320))), "language", ["document"], seed=0)
    assert not loaded.fresh_head
    assert "CausalLM" in type(loaded.model).__name__
