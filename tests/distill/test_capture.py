from typing import Any

import numpy as np
import pytest
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from transformers import GPT2Config, GPT2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from edgekd.distill.capture import IMPLEMENTATION, capturable, capturing, layers_of
from edgekd.distill.collate import Collator, model_inputs
from edgekd.errors import InputError, TrainingError


def sentences(count: int = 6) -> dict[str, Any]:
    return model_inputs(Collator(PAD)(list(digit_sequences(0, count))))


def pixels() -> dict[str, Any]:
    return {"pixel_values": torch.tensor(np.asarray(digit_images(0, 6).with_format("numpy")["pixel_values"][:]))}


def gpt2() -> Any:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=50, n_embd=32, n_layer=3, n_head=2, n_positions=32, num_labels=10, pad_token_id=PAD,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2ForSequenceClassification(config)


def llama() -> Any:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, max_position_embeddings=32, num_labels=10, pad_token_id=PAD,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return LlamaForSequenceClassification(config)


def text(of: Any) -> dict[str, Any]:
    kept = dict(sentences())
    if of is not tiny_bert:
        kept.pop("token_type_ids")
    return kept


MODELS = pytest.mark.parametrize("make", [tiny_bert, gpt2, llama, tiny_vit], ids=["bert", "gpt2", "llama", "vit"])


@MODELS
def test_captured_models_answer_as_before_and_everything_is_heard(make: Any) -> None:
    model = make().eval()
    inputs = pixels() if make is tiny_vit else text(make)
    before, implementation = model(**inputs).logits, model.config._attn_implementation
    layers = len(layers_of(model))
    with capturable(model):
        with capturing(model, hidden=range(layers), attention=range(layers)) as seen:
            found = model(**inputs).logits
        assert IMPLEMENTATION not in model.config.to_json_string()
    torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-6)
    assert implementation == model.config._attn_implementation == "sdpa"
    assert list(seen.hidden) == list(seen.attention) == list(range(layers))
    tokens = seen.hidden[0].shape[1]
    heads, kv_heads = (4, 2) if make is llama else (2, 2)
    for query, key, value in seen.attention.values():
        assert query.shape == (6, heads, tokens, 32 // heads)
        assert key.shape == value.shape == (6, kv_heads, tokens, 32 // heads)
    assert not any(part._forward_hooks for part in layers_of(model))


def test_queries_keys_values_and_hidden_states_are_the_models_own() -> None:
    model = tiny_bert().eval()
    with capturable(model), capturing(model, hidden=[0], attention=[1]) as seen:
        model(**sentences())
    attention = model.bert.encoder.layer[1].attention.self
    for part, found in zip((attention.query, attention.key, attention.value), seen.attention[1], strict=True):
        expected = part(seen.hidden[0]).unflatten(-1, (2, -1)).transpose(1, 2)
        torch.testing.assert_close(found, expected)
    assert list(seen.hidden) == [0]
    assert list(seen.attention) == [1]


def test_the_hidden_states_of_the_last_layer_come_before_the_final_norm() -> None:
    model = tiny_vit().eval()
    with capturing(model, hidden=[1]) as seen:
        last = model.vit(**pixels()).last_hidden_state
    assert not torch.allclose(seen.hidden[1], last, atol=0.1)
    torch.testing.assert_close(model.vit.layernorm(seen.hidden[1]), last)


def test_gradients_pass_through_what_was_captured() -> None:
    model = tiny_vit().train()
    with capturable(model), capturing(model, attention=[1]) as seen:
        model(**pixels())
    seen.attention[1][0].sum().backward()
    weight = layers_of(model)[0].attention.q_proj.weight
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


def test_attention_that_is_not_heard_is_an_error_and_not_nothing() -> None:
    model = tiny_vit().eval()
    silent = pytest.raises(TrainingError, match="found 0 attentions in one pass through 2 layers")
    with silent, capturing(model, attention=[0]):
        model(**pixels())
    skipped = pytest.raises(TrainingError, match="the hidden states of 0 layers, expected 1")
    with skipped, capturing(model, hidden=[0]):
        pass


def test_outside_nothing_is_kept_also_after_an_error() -> None:
    model = tiny_vit().eval()
    with capturable(model):
        with pytest.raises(ZeroDivisionError), capturing(model, hidden=[0], attention=[0]) as seen:
            raise ZeroDivisionError
        model(**pixels())
    assert not seen.hidden
    assert not seen.attention


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    model = tiny_vit()
    model.config.num_hidden_layers = 7
    with pytest.raises(InputError, match="without a list of its layers"):
        layers_of(model)


def test_a_model_whose_attention_cannot_be_exchanged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_vit()
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", classmethod(lambda _cls: False))
    with pytest.raises(InputError, match="cannot be exchanged"), capturable(model):
        pass
