"""Between a StudentSpec and the configuration class of transformers, for the families we count exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import (
    BartConfig,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

from edgekd.cost.operators import check_buildable
from edgekd.errors import SpecError
from edgekd.student import ARCHITECTURES, Head, StudentSpec

CONFIGS: dict[str, type[PreTrainedConfig]] = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "gpt2": GPT2Config,
    "llama": LlamaConfig,
    "vit": ViTConfig,
    "t5": T5Config,
    "bart": BartConfig,
}

# Options under which a model is another one than we count and copy, with the value they must have (None: be absent).
_EVERYWHERE: dict[str, Any] = {
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "encoder_hidden_size": None,
    "chunk_size_feed_forward": 0,
    "quantization_config": None,
    "pruned_heads": None,
}
_REQUIRED: dict[str, dict[str, Any]] = {
    "bert": {"position_embedding_type": "absolute", "embedding_size": None},
    "roberta": {"position_embedding_type": "absolute", "embedding_size": None},
    "gpt2": {"scale_attn_by_inverse_layer_idx": False},
    "llama": {"attention_bias": False, "mlp_bias": False},
    "vit": {"qkv_bias": True},
    "t5": {"is_encoder_decoder": True},
    "bart": {"is_encoder_decoder": True, "tie_word_embeddings": True},
}


def spec_from_config(config: PreTrainedConfig, *, head: Head = "sequence") -> StudentSpec:
    """The dimensions of the model that `config` describes, with the `head` that the caller knows it to have.

    A classification head has config.num_labels labels.
    Errors: SpecError for a family or an option that we do not count exactly.
    """
    architecture = getattr(config, "model_type", "")
    if architecture not in ARCHITECTURES:
        raise SpecError(f"found a model of type {architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
    _check_options(config, architecture)
    sizes = _READ[architecture](config)
    labels = len(config.id2label or {}) if head in ("sequence", "tokens") else 0
    tied = bool(getattr(config, "tie_word_embeddings", True)) if labels == 0 else True
    spec = StudentSpec(architecture=architecture, labels=labels, head=head, tied=tied, **sizes)
    check_buildable(spec)
    return spec


def config_from_spec(spec: StudentSpec, teacher_config: PreTrainedConfig | None = None) -> PreTrainedConfig:
    """The configuration of a model with the dimensions of `spec`.

    Everything that is no dimension (activation, epsilon, dropout, label names, special tokens, rotary settings) is the
    teacher's, or the default of transformers without one.
    Errors: SpecError when the two do not go together.
    """
    check_buildable(spec)
    kept = _teacher_options(spec, teacher_config) if teacher_config is not None else _default_options(spec)
    if spec.labels == 0:
        kept["tie_word_embeddings"] = spec.tied
    try:
        return CONFIGS[spec.architecture](**{**kept, **_WRITE[spec.architecture](spec)})
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"transformers cannot configure the student {spec.name}: {reason}") from None


def _teacher_options(spec: StudentSpec, teacher_config: PreTrainedConfig) -> dict[str, Any]:
    if teacher_config.model_type != spec.architecture:
        found = teacher_config.model_type
        raise SpecError(f"a student of type {spec.architecture} cannot take its options from a teacher of type {found}")
    _check_options(teacher_config, spec.architecture)
    if getattr(teacher_config, "is_gated_act", spec.gated) != spec.gated:
        raise SpecError(f"the student has gated = {spec.gated}, expected what its teacher has: {not spec.gated}")
    kept: dict[str, Any] = teacher_config.to_dict()
    for name in ("architectures", "dtype", "_name_or_path", "transformers_version", "model_type"):
        kept.pop(name, None)
    if spec.labels and spec.labels != teacher_config.num_labels:
        kept = {key: value for key, value in kept.items() if key not in ("id2label", "label2id")}
        kept |= _numbered_labels(spec.labels)
    return kept


def _default_options(spec: StudentSpec) -> dict[str, Any]:
    kept = _numbered_labels(spec.labels) if spec.labels else {}
    if spec.family == "decoder":
        # The defaults of transformers name tokens that a small vocabulary does not have; a classifier pads with 0.
        kept |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0 if spec.labels else None}
    if spec.family == "encoder-decoder":
        kept |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0, "decoder_start_token_id": 0}
        kept |= {"feed_forward_proj": "gated-gelu" if spec.gated else "relu"} if spec.architecture == "t5" else {}
        kept |= {"forced_eos_token_id": None} if spec.architecture == "bart" else {}
    return kept


def _numbered_labels(labels: int) -> dict[str, Any]:
    names = {index: f"LABEL_{index}" for index in range(labels)}
    return {"id2label": names, "label2id": {name: index for index, name in names.items()}}


def _check_options(config: PreTrainedConfig, architecture: str) -> None:
    for name, required in (_EVERYWHERE | _REQUIRED[architecture]).items():
        found = getattr(config, name, required)
        if found != required and not (required is None and not found):
            expected = "it to be absent" if required is None else repr(required)
            raise SpecError(f"the {architecture} has {name} = {found!r}, which is not supported; expected {expected}")
    rotary = getattr(config, "rope_parameters", None)
    if isinstance(rotary, Mapping) and rotary.get("partial_rotary_factor", 1.0) != 1.0:
        raise SpecError(f"the {architecture} has partial_rotary_factor in rope_parameters, which is not supported")
    if architecture == "vit" and getattr(config, "head_dim", None) is not None:
        raise SpecError("the vit has head_dim, which is not supported; expected hidden_size / num_attention_heads")


def _bert_sizes(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "ffn": config.intermediate_size,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "token_types": config.type_vocab_size,
    }


def _bert_fields(spec: StudentSpec) -> dict[str, int]:
    return {
        "num_hidden_layers": spec.layers,
        "hidden_size": spec.hidden,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "type_vocab_size": spec.token_types,
    }


def _gpt2_sizes(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "layers": config.n_layer,
        "hidden": config.n_embd,
        "heads": config.n_head,
        "ffn": 4 * config.n_embd if config.n_inner is None else config.n_inner,
        "vocabulary": config.vocab_size,
        "positions": config.n_positions,
    }


def _gpt2_fields(spec: StudentSpec) -> dict[str, int]:
    return {
        "n_layer": spec.layers,
        "n_embd": spec.hidden,
        "n_head": spec.heads,
        "n_inner": spec.ffn,
        "vocab_size": spec.vocabulary,
        "n_positions": spec.positions,
    }


def _llama_sizes(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "ffn": config.intermediate_size,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }


def _llama_fields(spec: StudentSpec) -> dict[str, int]:
    # head_dim is always written: left out, transformers derives it from hidden and silently changes the rotation.
    return {
        "num_hidden_layers": spec.layers,
        "hidden_size": spec.hidden,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "intermediate_size": spec.ffn,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
    }


def _vit_sizes(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "ffn": config.intermediate_size,
        "image_size": _side("image_size", config.image_size),
        "patch_size": _side("patch_size", config.patch_size),
        "channels": config.num_channels,
    }


def _vit_fields(spec: StudentSpec) -> dict[str, int]:
    return {
        "num_hidden_layers": spec.layers,
        "hidden_size": spec.hidden,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn,
        "pooler_output_size": spec.hidden,
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "num_channels": spec.channels,
    }


def _t5_sizes(config: PreTrainedConfig) -> dict[str, Any]:
    return {
        "layers": config.num_layers,
        "decoder_layers": config.num_decoder_layers,
        "hidden": config.d_model,
        "heads": config.num_heads,
        "head_dim": config.d_kv,
        "ffn": config.d_ff,
        "gated": config.is_gated_act,
        "vocabulary": config.vocab_size,
        "positions": config.relative_attention_num_buckets,
    }


def _t5_fields(spec: StudentSpec) -> dict[str, int]:
    return {
        "num_layers": spec.layers,
        "num_decoder_layers": spec.decoder_layers,
        "d_model": spec.hidden,
        "num_heads": spec.heads,
        "d_kv": spec.head_dim,
        "d_ff": spec.ffn,
        "vocab_size": spec.vocabulary,
        "relative_attention_num_buckets": spec.positions,
    }


def _bart_sizes(config: PreTrainedConfig) -> dict[str, int]:
    for inside, name in (("ffn_dim", "feed-forward width"), ("attention_heads", "number of heads")):
        of_both = {getattr(config, f"{stack}_{inside}") for stack in ("encoder", "decoder")}
        if len(of_both) > 1:
            raise SpecError(f"the bart has a {name} of {sorted(of_both)} in encoder and decoder, expected one for both")
    return {
        "layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "hidden": config.d_model,
        "heads": config.encoder_attention_heads,
        "ffn": config.encoder_ffn_dim,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }


def _bart_fields(spec: StudentSpec) -> dict[str, int]:
    return {
        "encoder_layers": spec.layers,
        "decoder_layers": spec.decoder_layers,
        "d_model": spec.hidden,
        "encoder_attention_heads": spec.heads,
        "decoder_attention_heads": spec.heads,
        "encoder_ffn_dim": spec.ffn,
        "decoder_ffn_dim": spec.ffn,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
    }


def _side(name: str, value: Any) -> int:
    sides = [value, value] if isinstance(value, int) else list(value)
    if len(sides) != 2 or sides[0] != sides[1]:
        raise SpecError(f"the vit has {name} = {value!r}, which is not supported; expected a square")
    return int(sides[0])


_READ: dict[str, Callable[[PreTrainedConfig], dict[str, Any]]] = {
    "bert": _bert_sizes,
    "roberta": _bert_sizes,
    "gpt2": _gpt2_sizes,
    "llama": _llama_sizes,
    "vit": _vit_sizes,
    "t5": _t5_sizes,
    "bart": _bart_sizes,
}
_WRITE: dict[str, Callable[[StudentSpec], dict[str, int]]] = {
    "bert": _bert_fields,
    "roberta": _bert_fields,
    "gpt2": _gpt2_fields,
    "llama": _llama_fields,
    "vit": _vit_fields,
    "t5": _t5_fields,
    "bart": _bart_fields,
}
