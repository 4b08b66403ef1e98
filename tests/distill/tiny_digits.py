"""Real data in a small size (sklearn's 8 x 8 digits, as images and as token sequences) and models that fit it."""

import datasets
import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

PAD = 0
FIRST, OTHER = 1, 2


def digit_images(start: int, stop: int) -> datasets.Dataset:
    digits = load_digits()
    pixels = (digits.images[start:stop] / 8.0 - 1.0).astype(np.float32)[:, None]
    columns = {
        "pixel_values": list(pixels),
        "labels": digits.target[start:stop].tolist(),
        "row": list(range(start, stop)),
    }
    features = datasets.Features(
        {
            "pixel_values": datasets.Array3D((1, 8, 8), "float32"),
            "labels": datasets.Value("int64"),
            "row": datasets.Value("int64"),
        }
    )
    return datasets.Dataset.from_dict(columns, features=features)


def digit_sequences(start: int, stop: int) -> datasets.Dataset:
    """Every digit as a sentence: one word per inked cell of a 4 x 4 grid, saying which cell and how dark."""
    digits = load_digits()
    found: dict[str, list] = {"input_ids": [], "attention_mask": [], "token_type_ids": [], "labels": [], "row": []}
    for number in range(start, stop):
        cells = digits.images[number].reshape(4, 2, 4, 2).mean(axis=(1, 3)).reshape(-1)
        darkness = np.digitize(cells, (2, 6, 11))
        words = [FIRST, *(OTHER + 3 * np.flatnonzero(darkness) + darkness[darkness > 0] - 1).tolist()]
        found["input_ids"].append(words)
        found["attention_mask"].append([1] * len(words))
        found["token_type_ids"].append([0] * len(words))
        found["labels"].append(int(digits.target[number]))
        found["row"].append(number)
    return datasets.Dataset.from_dict(found)


def tiny_vit(seed: int = 1, *, layers: int = 2, hidden: int = 32, dropout: float = 0.0) -> ViTForImageClassification:
    torch.manual_seed(seed)
    return ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=4,
            num_channels=1,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * hidden,
            num_labels=10,
            hidden_dropout_prob=dropout,
        )
    )


def tiny_bert(
    seed: int = 1, *, layers: int = 2, hidden: int = 32, dropout: float = 0.0
) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=OTHER + 3 * 16,
            initializer_range=0.1,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * hidden,
            max_position_embeddings=32,
            num_labels=10,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )
