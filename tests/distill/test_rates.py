"""What each parameter learns at, in every family whose students we build."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_digits import PAD, digit_sequences, tiny_bert, tiny_vit
from transformers import TrainingArguments

from edgekd.distill.rates import FAMILIES, distances, parameter_groups
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError
from edgekd.student import StudentSpec
from edgekd.students.build import build

TEXT = {"vocabulary": 64, "positions": 32}
SIZES: dict[str, dict[str, int]] = {
    "bert": {**TEXT, "token_types": 2},
    "roberta": {**TEXT, "token_types": 1},
    "gpt2": TEXT,
    "llama": {**TEXT, "kv_heads": 1},
    "vit": {"image_size": 8, "patch_size": 4, "channels": 1},
}
EMBEDDINGS = {
    "bert": "bert.embeddings.",
    "roberta": "roberta.embeddings.",
    "gpt2": ("transformer.wte.", "transformer.wpe."),
    "llama": "model.embed_tokens.",
    "vit": "vit.embeddings.",
}
STACKS = {"bert": "bert.encoder.layer.", "roberta": "roberta.encoder.layer.", "gpt2": "transformer.h.",
          "llama": "model.layers.", "vit": "vit.layers."}  # fmt: skip
TOPS = {
    "bert": {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"},
    "roberta": {f"classifier.{part}.{kind}" for part in ("dense", "out_proj") for kind in ("weight", "bias")},
    "gpt2": {"transformer.ln_f.weight", "transformer.ln_f.bias", "score.weight"},
    "llama": {"model.norm.weight", "score.weight"},
    "vit": {"vit.layernorm.weight", "vit.layernorm.bias", "classifier.weight", "classifier.bias"},
}


def model_of(family: str) -> Any:
    spec = StudentSpec(architecture=family, layers=12, hidden=16, heads=2, ffn=32, labels=10, **SIZES[family])
    return build(spec, seed=1)


def trainer_of(model: Any, folder: Path, layer_decay: float, **changes: Any) -> DistillationTrainer:
    given = {"output_dir": str(folder), "learning_rate": 0.01, "weight_decay": 0.1, "report_to": [], "use_cpu": True,
             "disable_tqdm": True, "dataloader_pin_memory": False, "save_strategy": "no", "logging_strategy": "no"}  # fmt: skip
    arguments = TrainingArguments(**{**given, **changes})
    return DistillationTrainer(
        model, arguments, train_dataset=digit_sequences(0, 8), layer_decay=layer_decay, pad_token_id=PAD
    )


def settings_of(model: Any, optimizer: Any) -> dict[str, tuple[float, float]]:
    """Rate and weight decay of each parameter; every one is in one group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    told = [
        (names[id(parameter)], (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(told) == len(dict(told)) == len(names)
    return dict(told)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_has_the_full_rate_and_the_embeddings_the_lowest(family: str, tmp_path: Path) -> None:
    model = model_of(family)
    found = settings_of(model, trainer_of(model, tmp_path, 0.8).create_optimizer())
    for name, (rate, _) in found.items():
        if name in TOPS[family]:
            distance = 0
        elif name.startswith(EMBEDDINGS[family]):
            distance = 13
        else:
            assert name.startswith(STACKS[family]), name
            distance = 12 - int(name.removeprefix(STACKS[family]).split(".")[0])
        assert rate == pytest.approx(0.01 * 0.8**distance), name
    assert len({rate for rate, _ in found.values()}) == 14


@pytest.mark.parametrize("family", FAMILIES)
def test_what_decays_is_what_decays_without_layer_wise_rates(family: str, tmp_path: Path) -> None:
    model = model_of(family)
    plain = settings_of(model, trainer_of(model, tmp_path, 1.0).create_optimizer())
    found = settings_of(model, trainer_of(model, tmp_path, 0.8).create_optimizer())
    assert {name: decay for name, (_, decay) in found.items()} == {name: decay for name, (_, decay) in plain.items()}
    assert {rate for rate, _ in plain.values()} == {0.01}
    assert {decay for _, decay in plain.values()} == {0.0, 0.1}


def test_the_first_group_has_the_full_rate_so_that_it_is_the_one_that_is_told(tmp_path: Path) -> None:
    trainer = trainer_of(tiny_bert(), tmp_path, 0.5, max_steps=1, lr_scheduler_type="constant")
    trainer.train()
    assert trainer._get_learning_rate() == 0.01


def test_a_step_moves_each_layer_by_its_own_rate(tmp_path: Path) -> None:
    # The first step of Adam moves every weight that has a gradient by the rate itself.
    model = tiny_bert(layers=3)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    below = distances(model)
    trainer_of(model, tmp_path, 0.5, max_steps=1, weight_decay=0.0, lr_scheduler_type="constant").train()
    for name, weight in model.named_parameters():
        if name.endswith("key.bias"):
            continue  # it shifts all scores of a query alike, so it has no gradient
        moved = float((weight.detach() - before[name]).abs().max())
        assert moved == pytest.approx(0.01 * 0.5 ** below[name], rel=0.02), name


def test_weights_without_a_gradient_are_in_no_group() -> None:
    model = tiny_vit()
    model.vit.embeddings.requires_grad_(False)
    groups = parameter_groups(model, learning_rate=1.0, layer_decay=0.5, weight_decay=0.1, decayed=())
    assert min(group["lr"] for group in groups) == 0.25
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])


def test_a_model_whose_layers_are_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="layer_decay and a model of type Linear, expected one of bert"):
        distances(torch.nn.Linear(2, 2))
    spec = StudentSpec(architecture="t5", layers=1, decoder_layers=1, hidden=16, heads=2, head_dim=8, ffn=32,
                       vocabulary=64, positions=32)  # fmt: skip
    with pytest.raises(InputError, match="a model of type t5"):
        distances(build(spec, seed=1))


def test_an_encoder_without_a_head_has_its_embeddings_lowest_and_its_last_layer_next_to_the_top() -> None:
    spec = StudentSpec(
        architecture="bert",
        layers=2,
        hidden=16,
        heads=2,
        ffn=24,
        vocabulary=40,
        positions=20,
        token_types=2,
        head="none",
    )
    found = distances(build(spec, seed=0))
    assert {found[name] for name in found if name.startswith("embeddings.")} == {3}
    assert {found[name] for name in found if name.startswith("encoder.layer.1.")} == {1}
    assert {found[name] for name in found if name.startswith("encoder.layer.0.")} == {2}
