"""Small models with weights that matter, and ragged batches for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from edgekd.export.onnx import export_onnx

Batches = list[dict[str, np.ndarray[Any, Any]]]

WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {**WIDTH, "vocab_size": 97, "num_labels": 3}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 97, "n_positions": 40}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {**TEXT, **SPECIAL, "num_key_value_heads": 2, "max_position_embeddings": 40}
IMAGE = {**WIDTH, "image_size": 16, "patch_size": 4, "num_channels": 3, "num_labels": 5}

# The class of the model, that of its configuration, and the dimensions.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", {**TEXT, "max_position_embeddings": 40}),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", {**TEXT, "max_position_embeddings": 42}),
    "vit": ("ViTForImageClassification", "ViTConfig", IMAGE),
    "gpt2_lm": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, **SPECIAL}),
    "gpt2": ("GPT2ForSequenceClassification", "GPT2Config", {**GPT2, **SPECIAL, "num_labels": 3}),
    "llama_lm": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama": ("LlamaForSequenceClassification", "LlamaConfig", LLAMA),
}


def untrained_model(name: str, **changes: Any) -> Any:
    """The model as its configuration makes it."""
    model_class, config_class, dimensions = MODELS[name]
    torch.manual_seed(11)
    return getattr(transformers, model_class)(getattr(transformers, config_class)(**{**dimensions, **changes}))


def lively_model(name: str, **changes: Any) -> Any:
    """The model with all parameters moved, so that biases and norms matter as in a trained one."""
    model = untrained_model(name, **changes)
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model


def ragged_batches(name: str, sizes: tuple[tuple[int, int], ...] = ((1, 1), (4, 9), (3, 40), (2, 16))) -> Batches:
    """One batch per (examples, sequence), padded on the right to different lengths."""
    rng = np.random.default_rng(13)
    if name == "vit":
        return [{"pixel_values": rng.normal(size=(count, 3, 16, 16)).astype(np.float32)} for count, _ in sizes]
    padding = 1 if name == "roberta" else 0
    batches = []
    for count, length in sizes:
        mask = (np.arange(length) < rng.integers(1, length + 1, size=(count, 1))).astype(np.int64)
        ids = np.where(mask == 1, rng.integers(3, 97, size=(count, length)), padding).astype(np.int64)
        segments = (mask * (np.arange(length) > length // 2)).astype(np.int64)
        batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": segments})
        if name != "bert":
            del batches[-1]["token_type_ids"]
    return batches


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Any]:
    return untrained_model


@pytest.fixture(scope="session")
def lively() -> Callable[..., Any]:
    return lively_model


@pytest.fixture(scope="session")
def ragged() -> Callable[..., Batches]:
    return ragged_batches


@pytest.fixture(scope="session")
def bert() -> Any:
    return lively_model("bert")


@pytest.fixture(scope="session")
def bert_file(bert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("bert") / "bert.onnx"
    export_onnx(bert, path, kind="text")
    return path
