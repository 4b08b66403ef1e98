"""Small language models with tokenizers of their own, and texts that they learn in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

END = "<|endoftext|>"
SUBJECTS = ("the cat", "the dog", "a bird", "my aunt", "the mayor", "a sailor", "our cook", "the judge")
VERBS = ("sees", "hears", "finds", "follows", "paints", "forgets")
OBJECTS = ("the moon", "a boat", "the river", "an apple", "two hats", "the letter", "a door", "some rain")


def stories(count: int, sentences: int = 12, start: int = 0) -> list[str]:
    """Documents of simple sentences in which the verb follows from the subject, and the object from both."""
    found = []
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        lines: list[str] = []
        for _ in range(sentences):
            subject = int(rng.integers(len(SUBJECTS)))
            verb = (subject * 5 + int(rng.integers(2))) % len(VERBS)
            thing = (subject + 3 * verb) % len(OBJECTS)
            lines.append(
                f"{SUBJECTS[subject]} {VERBS[verb]} {OBJECTS[thing]} on day {number * sentences + len(lines)}."
            )
        found.append("\n".join(lines))
    return found


def byte_tokenizer(texts: Sequence[str], vocabulary: int = 320, *, end: str | None = END, most: int = 64) -> Any:
    """A byte-level BPE of `vocabulary` tokens trained on `texts`, for models that read `most` tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[end] if end else [], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    pieces.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=pieces, eos_token=end, model_max_length=most)


def tiny_llama(vocabulary: int, *, tied: bool = True, seed: int = 0, layers: int = 2, **sizes: int) -> Any:
    """An untrained Llama with grouped key heads."""
    from edgekd.student import StudentSpec
    from edgekd.students.build import build

    dimensions: dict[str, Any] = {"hidden": 32, "heads": 4, "kv_heads": 2, "ffn": 64, "positions": 64, **sizes}
    spec = StudentSpec(
        architecture="llama", layers=layers, vocabulary=vocabulary, labels=0, tied=tied, **dimensions
    )  # fmt: skip
    return build(spec, seed=seed)


def tiny_gpt2(vocabulary: int, *, seed: int = 0, layers: int = 2, **sizes: int) -> Any:
    """An untrained GPT-2."""
    from edgekd.student import StudentSpec
    from edgekd.students.build import build

    dimensions: dict[str, Any] = {"hidden": 32, "heads": 4, "ffn": 64, "positions": 64, **sizes}
    return build(
        StudentSpec(architecture="gpt2", layers=layers, vocabulary=vocabulary, labels=0, **dimensions), seed=seed
    )


def save_language_model(folder: Path, model: Any, tokenizer: Any) -> Path:
    """`model` and its tokenizer as a plain checkpoint."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
