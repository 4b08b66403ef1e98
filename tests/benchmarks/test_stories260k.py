"""The pretrained stories260K: converted, it tells the story that its authors document, and teaches."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from stories260k import CHECKPOINT, TOKENIZER, continued, convert, converted, pieces_in, spec_in, tokenizer_in

from edgekd.data.blocks import blocks
from edgekd.data.encode import Preprocessing
from edgekd.data.examples import Examples
from edgekd.distill.language import perplexity
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.tasks import task_of
from edgekd.distill.train import train
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.initialise import initialise
from edgekd.students.language import load_language_model
from edgekd.students.weights import spec_of

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "stories260k"
OPENING = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
LENGTH, SHA256 = 565, "30b2ffb07967932a88bfdf5e23b517a6f4cfcf7231db9e537360d3c12a4e4d10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not SOURCE.is_dir():
        pytest.skip("the pretrained model is not beside this repository (../shared/data/stories260k)")
    return convert(SOURCE, tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Any:
    return load_language_model(str(folder))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from edgekd.data.encode import load_tokenizer

    return load_tokenizer(folder)


def test_the_converted_model_tells_the_documented_story(teacher: Any, tokenizer: Any) -> None:
    """The whole sample that its README counts: 565 characters, always the most probable token."""
    story = continued(teacher, tokenizer, 257)[:LENGTH]
    assert story.startswith(OPENING)
    assert len(story) == LENGTH
    assert hashlib.sha256(story.encode()).hexdigest() == SHA256


def test_rows_in_the_order_of_llama2c_would_tell_no_story(teacher: Any, tokenizer: Any) -> None:
    """What a converter that forgets the order of the rows gives: the same model but for its positions."""
    other = converted((SOURCE / CHECKPOINT).read_bytes())
    with torch.no_grad():
        for layer in other.model.layers:
            rows = layer.self_attn.q_proj.weight
            layer.self_attn.q_proj.weight.copy_(rows.reshape(8, 2, 4, 64).transpose(1, 2).reshape(64, 64))
    assert not continued(other, tokenizer, 60).startswith(OPENING)


def test_texts_survive_the_tokenizer_and_begin_with_its_mark(tokenizer: Any) -> None:
    for text in (OPENING, "Tom said, \"It's 7 o'clock!\"\nHe ran.", "a naïve café, 12 €", " two  spaces "):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_tokenizer_merges_the_highest_score_first(tokenizer: Any) -> None:
    """As llama2.c does: join the neighbours that make the token of the highest score, until none make one."""
    pieces = pieces_in((SOURCE / TOKENIZER).read_bytes())
    numbers = {piece: number for number, (piece, _) in enumerate(pieces)}
    for text in (OPENING, "The friendly elephant wandered happily.", "xylophone zzz"):
        ids = [numbers[char.encode()] for char in f" {text}"]
        while True:
            pairs = [
                (pieces[merged][1], -at, merged)
                for at in range(len(ids) - 1)
                if (merged := numbers.get(pieces[ids[at]][0] + pieces[ids[at + 1]][0])) is not None
            ]
            if not pairs:
                break
            _, place, merged = max(pairs)
            ids[-place : -place + 2] = [merged]
        assert tokenizer(text)["input_ids"][1:] == ids


def test_its_header_holds_the_documented_sizes(teacher: Any) -> None:
    if not SOURCE.is_dir():
        pytest.skip("the pretrained model is not beside this repository (../shared/data/stories260k)")
    spec, _ = spec_in((SOURCE / CHECKPOINT).read_bytes())
    assert spec == spec_of(teacher)
    assert spec == StudentSpec(
        architecture="llama", layers=5, hidden=64, heads=8, kv_heads=4, ffn=172, vocabulary=512, positions=512, labels=0
    )


def own_stories(teacher: Any, tokenizer: Any, count: int, seed: int) -> list[str]:
    """Stories that the teacher makes up, which give any amount of text like that it was trained on."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((count, 1), tokenizer.bos_token_id)
    with torch.no_grad():
        for _ in range(95):
            chances = torch.softmax(teacher(input_ids=ids, use_cache=False).logits[:, -1], dim=-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator)], dim=1)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids.tolist()]


def test_a_student_of_half_its_layers_learns_from_its_stories(
    teacher: Any, tokenizer: Any, folder: Path, tmp_path: Path
) -> None:
    task, made = task_of("causal-lm"), Preprocessing(kind="text", tokenizer=str(folder), max_length=96)

    def part(count: int, seed: int) -> Any:
        texts = own_stories(teacher, tokenizer, count, seed)
        return blocks(Examples("stories", np.zeros(count, dtype=np.int64), texts), made, tokenizer)

    train_set, validation = part(64, 1), part(24, 2)
    spec = StudentSpec.from_dict({**spec_of(teacher).to_dict(), "layers": 3})
    student = build(spec, teacher.config, seed=0)
    initialise(student, teacher, "uniform")
    first = perplexity(task.answers(student, validation, 16).losses)
    taught = task.cached(
        teacher, train_set, tmp_path, key="stories", batch_size=16, pad_token_id=None, on_rows=None, top_k=64
    )  # fmt: skip
    settings = TrainingSettings(
        task="causal-lm", epochs=3, learning_rate=2e-3, batch_size=16, temperature=1.0, alpha=0.9
    )  # fmt: skip
    train(student, taught, validation, settings, tmp_path)
    found, its = (perplexity(task.answers(model, validation, 16).losses) for model in (student, teacher))
    assert its < found < first / 2


def test_tokenizers_of_this_format_are_read_whole() -> None:
    if not SOURCE.is_dir():
        pytest.skip("the pretrained model is not beside this repository (../shared/data/stories260k)")
    data = (SOURCE / TOKENIZER).read_bytes()
    assert len(pieces_in(data)) == 512
    assert len(tokenizer_in(data, 512)) == 512
