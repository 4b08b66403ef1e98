from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    BartConfig,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

from edgekd.errors import SpecError
from edgekd.student import StudentSpec
from edgekd.students.families import config_from_spec, spec_from_config

TEXT = {"layers": 2, "hidden": 16, "heads": 2, "ffn": 24, "vocabulary": 40, "positions": 20}
SPECS = [
    StudentSpec(architecture="bert", token_types=2, labels=3, **TEXT),
    StudentSpec(architecture="roberta", token_types=1, labels=5, **TEXT),
    StudentSpec(architecture="gpt2", labels=2, **TEXT),
    StudentSpec(architecture="gpt2", tied=False, **TEXT),
    StudentSpec(architecture="llama", labels=4, kv_heads=1, head_dim=6, **TEXT),
    StudentSpec(architecture="llama", tied=True, **TEXT),
    StudentSpec(
        architecture="vit", layers=1, hidden=16, heads=4, ffn=20, labels=3, image_size=8, patch_size=4, channels=1
    ),
    StudentSpec(architecture="t5", decoder_layers=3, head_dim=6, **TEXT),
    StudentSpec(architecture="t5", gated=True, **TEXT),
    StudentSpec(architecture="bart", decoder_layers=1, **TEXT),
]


def test_the_defaults_of_an_encoder_decoder_are_those_of_its_paper() -> None:
    small = spec_from_config(T5Config(), head="language")
    assert (small.name, small.gated, small.tied) == ("L6.6-H512-A8-F2048", False, True)
    assert spec_from_config(T5Config(feed_forward_proj="gated-gelu"), head="language").gated
    assert spec_from_config(BartConfig(), head="language").name == "L12.12-H1024-A16-F4096"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (T5Config(), "a t5 is counted as a language model, found 2 labels"),
        (BartConfig(decoder_ffn_dim=64), "feed-forward width of"),
        (BartConfig(decoder_attention_heads=8), "number of heads of"),
        (BartConfig(tie_word_embeddings=False), "tie_word_embeddings = False"),
    ],
)
def test_an_encoder_decoder_that_is_counted_otherwise_is_refused(config: PreTrainedConfig, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_config(config, head="sequence" if "labels" in message else "language")


def test_a_student_without_a_gate_cannot_take_its_options_from_a_teacher_with_one() -> None:
    gated = T5Config(feed_forward_proj="gated-gelu", vocab_size=40)
    with pytest.raises(SpecError, match="gated = False, expected what its teacher has: True"):
        config_from_spec(StudentSpec(architecture="t5", **TEXT), gated)
    kept = config_from_spec(StudentSpec(architecture="t5", gated=True, **TEXT), gated)
    assert (kept.feed_forward_proj, kept.dense_act_fn, kept.num_layers) == ("gated-gelu", "gelu_new", 2)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.architecture}-{spec.labels}")
def test_a_spec_survives_the_way_through_a_configuration(spec: StudentSpec) -> None:
    assert spec_from_config(config_from_spec(spec), head="sequence" if spec.labels else "language") == spec


def teacher_configs() -> list[PreTrainedConfig]:
    names = {"id2label": {0: "no", 1: "yes", 2: "perhaps"}, "label2id": {"no": 0, "yes": 1, "perhaps": 2}}
    text = {
        "vocab_size": 40,
        "initializer_range": 0.07,
        "pad_token_id": 3,
        "bos_token_id": 4,
        "eos_token_id": 5,
        **names,
    }
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
    encoder = {"hidden_act": "relu", "layer_norm_eps": 1e-3, "hidden_dropout_prob": 0.25, "max_position_embeddings": 20}
    rotary = {"rope_type": "linear", "factor": 2.0, "rope_theta": 777.0}
    return [
        BertConfig(**sizes, **text, **encoder),
        RobertaConfig(**sizes, **text, **encoder),
        GPT2Config(n_embd=32, n_layer=4, n_head=4, n_positions=20, activation_function="relu", resid_pdrop=0.3, **text),
        LlamaConfig(**sizes, **text, hidden_act="gelu", rms_norm_eps=1e-3, rope_parameters=rotary, head_dim=6),
        ViTConfig(
            **sizes, **names, image_size=[8, 8], patch_size=2, hidden_act="relu", layer_norm_eps=1e-3, num_channels=1
        ),
    ]


DIMENSIONS = {
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "pooler_output_size",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
}


@pytest.mark.parametrize("config", teacher_configs(), ids=lambda config: config.model_type)
def test_a_student_keeps_every_option_of_its_teacher_but_the_dimensions(config: PreTrainedConfig) -> None:
    teacher = spec_from_config(config)
    smaller = {"layers": 1, "hidden": teacher.hidden // 2, "heads": 2, "kv_heads": 2, "ffn": 11}
    student = StudentSpec(**(teacher.to_dict() | smaller))
    made = config_from_spec(student, config)
    assert spec_from_config(made) == student
    before, after = config.to_dict(), made.to_dict()
    if config.model_type == "vit":
        before["image_size"] = 8
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing <= DIMENSIONS
    assert made.id2label == {0: "no", 1: "yes", 2: "perhaps"}


def test_the_head_dim_of_a_llama_is_written_down() -> None:
    made = config_from_spec(SPECS[4])
    assert made.head_dim == 6
    assert made.head_dim != made.hidden_size // made.num_attention_heads


def test_other_labels_than_the_teachers_are_numbered() -> None:
    made = config_from_spec(SPECS[0], BertConfig(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}))
    assert made.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


def test_gpt2_without_inner_size_has_four_times_its_width() -> None:
    assert spec_from_config(GPT2Config(n_embd=24, n_head=2)).ffn == 96


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (DistilBertConfig(), "'distilbert', expected one of bert"),
        (BertConfig(is_decoder=True), "is_decoder = True"),
        (BertConfig(position_embedding_type="relative_key"), "position_embedding_type"),
        (BertConfig(chunk_size_feed_forward=2), "chunk_size_feed_forward"),
        (BertConfig(pruned_heads={0: [1]}), "pruned_heads"),
        (BertConfig(embedding_size=64), "embedding_size"),
        (RobertaConfig(encoder_hidden_size=64), "encoder_hidden_size"),
        (GPT2Config(add_cross_attention=True), "add_cross_attention"),
        (GPT2Config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
        (LlamaConfig(attention_bias=True), "attention_bias"),
        (LlamaConfig(mlp_bias=True), "mlp_bias"),
        (LlamaConfig(quantization_config={"quant_method": "none"}), "quantization_config"),
        (
            LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (ViTConfig(qkv_bias=False), "qkv_bias = False"),
        (ViTConfig(head_dim=32), "head_dim"),
        (ViTConfig(image_size=[224, 192]), "image_size"),
    ],
)
def test_models_that_we_do_not_count_exactly_are_refused_by_name(config: Any, option: str) -> None:
    with pytest.raises(SpecError, match=option):
        spec_from_config(config)


@pytest.mark.parametrize("changes", [{"pruned_heads": {}}, {"position_embedding_type": "absolute"}])
def test_harmless_options_of_older_configurations_are_accepted(changes: dict[str, Any]) -> None:
    assert spec_from_config(BertConfig(**changes)).layers == 12


def test_an_encoder_without_labels_is_refused() -> None:
    with pytest.raises(SpecError, match="no labels"):
        spec_from_config(BertConfig(), head="language")


def test_a_teacher_of_another_family_is_refused() -> None:
    with pytest.raises(SpecError, match="of type roberta"):
        config_from_spec(SPECS[0], RobertaConfig())


def test_a_configuration_that_transformers_refuses_is_reported_in_one_line() -> None:
    broken = BertConfig()
    object.__setattr__(broken, "hidden_dropout_prob", "much")
    with pytest.raises(SpecError, match="hidden_dropout_prob") as caught:
        config_from_spec(SPECS[0], broken)
    assert "\n" not in str(caught.value)
