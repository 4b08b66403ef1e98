from __future__ import annotations

import random

import pytest
import torch
from transformers import BertConfig

from edgekd.cost.count import parameters
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.weights import spec_of

torch.set_num_threads(1)

CLASSES = {
    ("bert", True): "BertForSequenceClassification",
    ("roberta", True): "RobertaForSequenceClassification",
    ("vit", True): "ViTForImageClassification",
    ("gpt2", True): "GPT2ForSequenceClassification",
    ("gpt2", False): "GPT2LMHeadModel",
    ("llama", True): "LlamaForSequenceClassification",
    ("llama", False): "LlamaForCausalLM",
    ("t5", False): "T5ForConditionalGeneration",
    ("bart", False): "BartForConditionalGeneration",
}
OTHER_HEADS = {
    ("bert", "tokens"): "BertForTokenClassification",
    ("roberta", "tokens"): "RobertaForTokenClassification",
    ("gpt2", "tokens"): "GPT2ForTokenClassification",
    ("llama", "tokens"): "LlamaForTokenClassification",
    ("bert", "none"): "BertModel",
    ("roberta", "none"): "RobertaModel",
}


def drawn_spec(architecture: str, *, classifier: bool, seed: int) -> StudentSpec:
    draw = random.Random(f"{architecture} {classifier} {seed}")
    heads = draw.choice([2, 4])
    return StudentSpec(
        architecture=architecture,
        layers=draw.randint(1, 3),
        hidden=heads * draw.choice([4, 8]),
        heads=heads,
        kv_heads=draw.choice([1, 2]) if architecture == "llama" else heads,
        ffn=draw.randint(8, 40),
        labels=draw.randint(1, 5) if classifier else 0,
        tied=classifier or architecture in ("t5", "bart") or draw.random() < 0.5,
        vocabulary=0 if architecture == "vit" else draw.randint(20, 60),
        positions=0 if architecture == "vit" else 24,
        token_types=2 if architecture in ("bert", "roberta") else 0,
        image_size=8 if architecture == "vit" else 0,
        patch_size=4 if architecture == "vit" else 0,
        channels=1 if architecture == "vit" else 0,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("architecture", "classifier"), CLASSES)
def test_the_built_model_has_the_class_and_the_parameters_of_its_spec(
    architecture: str, classifier: bool, seed: int
) -> None:
    spec = drawn_spec(architecture, classifier=classifier, seed=seed)
    model = build(spec, seed=seed)
    assert type(model).__name__ == CLASSES[architecture, classifier]
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(spec)


@pytest.mark.parametrize(("architecture", "head"), OTHER_HEADS)
def test_models_for_tokens_and_without_a_head_have_the_parameters_of_their_spec(architecture: str, head: str) -> None:
    drawn = drawn_spec(architecture, classifier=True, seed=3).to_dict()
    spec = StudentSpec.from_dict({**drawn, "head": head, "labels": 0 if head == "none" else 3})
    model = build(spec, seed=0)
    assert type(model).__name__ == OTHER_HEADS[architecture, head]
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters(spec)
    assert spec_of(model) == spec


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    spec = drawn_spec("bert", classifier=True, seed=0)
    first, again, other = (build(spec, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_building_leaves_the_random_state_of_the_caller_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(drawn_spec("gpt2", classifier=False, seed=0), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_student_is_built_for_evaluation_in_fp32_with_the_options_of_the_teacher() -> None:
    spec = drawn_spec("bert", classifier=True, seed=1)
    teacher = BertConfig(hidden_act="relu", dtype="float16", attn_implementation="eager")
    model = build(spec, teacher, seed=0)
    assert not model.training
    assert model.dtype == torch.float32
    assert model.config.hidden_act == "relu"
    assert model.config._attn_implementation == "sdpa"
