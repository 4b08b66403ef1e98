from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from edgekd.errors import InputError, SecurityError, SpecError, ToolError
from edgekd.pooling import Pooling, embedded, is_encoder, pooling_of
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec
from edgekd.students.sentence import write_sentence_files
from edgekd.students.source import load_classifier, load_config, load_encoder, load_model

torch.set_num_threads(1)

TEXT: dict[str, Any] = {"layers": 2, "hidden": 16, "heads": 2, "ffn": 24, "vocabulary": 40, "positions": 20}
SPECS = {
    "bert": StudentSpec(architecture="bert", token_types=2, labels=3, **TEXT),
    "roberta": StudentSpec(architecture="roberta", token_types=2, labels=3, **TEXT),
    "gpt2": StudentSpec(architecture="gpt2", labels=3, **TEXT),
    "llama": StudentSpec(architecture="llama", labels=3, **TEXT),
    "vit": StudentSpec(
        architecture="vit", layers=2, hidden=16, heads=2, ffn=24, labels=3, image_size=8, patch_size=4, channels=1
    ),
}
NAMES = ["low", "middle", "high"]


def saved(name: str, folder: Path, labels: list[str] | None = None) -> Any:
    """A classifier with a bias that tells its outputs apart, saved in `folder`."""
    config = config_from_spec(SPECS[name])
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    model: Any = build(SPECS[name], config, seed=7)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        if model.config.model_type == "vit":
            return model(pixel_values=torch.ones(2, 1, 8, 8)).logits
        return model(input_ids=torch.tensor([[5, 6, 7], [8, 9, 3]])).logits


@pytest.mark.parametrize("name", SPECS)
def test_a_saved_classifier_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path, NAMES)
    loaded = load_classifier(str(tmp_path), NAMES, seed=0)
    assert not loaded.fresh_head
    assert loaded.note == ""
    assert not loaded.model.training
    assert loaded.model.config._attn_implementation == "sdpa"
    assert loaded.model.config.id2label == dict(enumerate(NAMES))
    assert torch.allclose(logits(loaded.model), logits(model), atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_outputs_in_another_order_are_put_in_the_order_of_the_data(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path, ["High", "LOW", "middle"])
    loaded = load_classifier(str(tmp_path), NAMES, seed=0)
    assert not loaded.fresh_head
    assert "order" in loaded.note
    assert torch.allclose(logits(loaded.model), logits(model)[:, [1, 2, 0]], atol=1e-6)


@pytest.mark.parametrize(("names", "order"), [(["A", "a", "b"], [0, 1, 2]), (["b", "a", "A"], [2, 1, 0])])
def test_labels_that_differ_in_case_alone_are_told_apart(names: list[str], order: list[int], tmp_path: Path) -> None:
    model = saved("bert", tmp_path, names)
    loaded = load_classifier(str(tmp_path), ["A", "a", "b"], seed=0)
    assert not loaded.fresh_head
    assert torch.allclose(logits(loaded.model), logits(model)[:, order], atol=1e-6)


def test_numbered_labels_are_taken_by_position(tmp_path: Path) -> None:
    model = saved("bert", tmp_path)
    loaded = load_classifier(str(tmp_path), NAMES, seed=0)
    assert not loaded.fresh_head
    assert loaded.by_position
    assert torch.allclose(logits(loaded.model), logits(model), atol=1e-6)
    own = [f"LABEL_{number}" for number in range(3)]
    assert not load_classifier(str(tmp_path), own, seed=0).by_position


@pytest.mark.parametrize("name", SPECS)
def test_a_head_for_other_labels_is_drawn_anew_and_said_so(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path, ["cat", "dog", "owl"])
    first, again, other = (load_classifier(str(tmp_path), NAMES, seed=seed) for seed in (1, 1, 2))
    assert first.fresh_head
    assert first.lost_head
    assert "the labels cat, dog, owl, the data has high, low, middle" in first.note
    assert torch.equal(logits(first.model), logits(again.model))
    assert not torch.equal(logits(first.model), logits(other.model))


@pytest.mark.parametrize("name", SPECS)
def test_a_head_for_more_labels_is_drawn_anew_and_the_body_kept(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path, NAMES)
    loaded = load_classifier(str(tmp_path), [*NAMES, "top"], seed=1)
    assert loaded.fresh_head
    assert loaded.lost_head
    assert "gives 3 labels (high, low, middle), the data has 4 (high, low, middle, top)" in loaded.note
    assert logits(loaded.model).shape == (2, 4)
    kept = dict(model.base_model.named_parameters())
    assert all(torch.equal(kept[key], value) for key, value in loaded.model.base_model.named_parameters())


@pytest.mark.parametrize("name", SPECS)
def test_a_backbone_gets_a_head_drawn_from_the_seed_whatever_the_random_state(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path).base_model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = load_classifier(str(tmp_path), NAMES, seed=3)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    again = load_classifier(str(tmp_path), NAMES, seed=3)
    assert torch.equal(torch.rand(1), expected)
    assert first.fresh_head
    assert not first.lost_head
    assert "no classification head for 3 labels" in first.note
    weights = first.model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in again.model.state_dict().items())
    assert all(value.isfinite().all() for value in weights.values())


def test_a_decoder_without_padding_pads_with_its_end_token(tmp_path: Path) -> None:
    config = config_from_spec(SPECS["llama"])
    config.pad_token_id, config.eos_token_id = None, [4, 5]
    model: Any = build(SPECS["llama"], config, seed=0)
    model.save_pretrained(tmp_path)
    assert load_classifier(str(tmp_path), NAMES, seed=0).model.config.pad_token_id == 4


def test_weights_that_lack_a_part_of_the_body_are_refused(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layer\.1\.output\.dense\.weight"):
        load_classifier(str(tmp_path), NAMES, seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    saved("bert", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.weight"][3, 1] = value
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"hold NaN or infinity \(bert\.encoder\.layer\.1\.output\.dense\.weight\)"):
        load_classifier(str(tmp_path), NAMES, seed=0)


def test_a_configuration_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    table = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(table | {"intermediate_size": 32}))
    with pytest.raises(InputError, match="do not fit"):
        load_classifier(str(tmp_path), NAMES, seed=0)


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", InputError), ('{"model_type": "no-such-type"}', InputError), ('{"model_type": "t5"}', SpecError)],
)
def test_a_configuration_we_cannot_use_is_refused_in_one_line(
    text: str, error: type[Exception], tmp_path: Path
) -> None:
    saved("bert", tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(error) as caught:
        load_config(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_loading_checks_the_folder_again(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"a": [1] * 50}))
    with pytest.raises(SecurityError):
        load_classifier(str(tmp_path), NAMES, seed=0)


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    saved("bert", tmp_path)
    table = json.loads((tmp_path / "config.json").read_text())
    table["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(table))
    (tmp_path / "evil.py").write_text("raise RuntimeError('code of the model was run')\n")
    assert type(load_classifier(str(tmp_path), NAMES, seed=0).model).__name__ == "BertForSequenceClassification"


def test_a_hub_model_without_a_connection_is_a_tool_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ToolError, match="cannot be fetched from the hub") as caught:
        load_config("no-such-owner/no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[], ["a", "a"]])
def test_labels_must_be_there_once_each(labels: list[str], tmp_path: Path) -> None:
    saved("bert", tmp_path)
    with pytest.raises(InputError, match="each once"):
        load_classifier(str(tmp_path), labels, seed=0)


def saved_encoder(folder: Path, architecture: str = "bert") -> Any:
    spec = StudentSpec(architecture=architecture, token_types=2, head="none", **TEXT)
    model: Any = build(spec, seed=7)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_an_encoder_is_loaded_without_a_head_and_says_how_it_pools(architecture: str, tmp_path: Path) -> None:
    model = saved_encoder(tmp_path, architecture)
    write_sentence_files(tmp_path, Pooling("cls"), 16, 20)
    loaded = load_model(str(tmp_path), "none", [], seed=0)
    assert is_encoder(loaded.model)
    assert pooling_of(loaded.model.config) == Pooling("cls")
    assert not loaded.model.training
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in loaded.model.state_dict().items())


def test_the_body_of_a_classifier_is_an_encoder_and_its_head_is_left_behind(tmp_path: Path) -> None:
    model = saved("bert", tmp_path)
    loaded = load_encoder(str(tmp_path), mode="last", normalised=False).model
    assert pooling_of(loaded.config) == Pooling("last", normalised=False)
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = model.bert(input_ids=tokens).last_hidden_state[:, -1]
        assert torch.allclose(embedded(loaded, {"input_ids": tokens}), expected, atol=1e-6)


def test_a_pooling_is_taken_from_the_files_then_from_the_recipe_then_the_usual_one(tmp_path: Path) -> None:
    saved_encoder(tmp_path)
    name = str(tmp_path)
    assert pooling_of(load_encoder(name).model.config) == Pooling("mean", normalised=True)
    assert pooling_of(load_encoder(name, mode="cls").model.config) == Pooling("cls", normalised=True)
    write_sentence_files(tmp_path, Pooling("mean", normalised=False), 16, 20)
    assert pooling_of(load_encoder(name).model.config) == Pooling("mean", normalised=False)
    assert pooling_of(load_encoder(name, mode="mean").model.config) == Pooling("mean", normalised=False)
    with pytest.raises(InputError, match="it pools as mean, not normalised, the recipe says mean, normalised"):
        load_encoder(name, normalised=True)


def test_an_encoder_that_lacks_weights_or_is_a_decoder_is_refused(tmp_path: Path) -> None:
    saved_encoder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(
        InputError, match=r"its weights do not fit its config.json: encoder.layer.1.output.dense.weight"
    ):
        load_encoder(str(tmp_path))
    saved("gpt2", tmp_path / "gpt2")
    with pytest.raises(SpecError, match="a gpt2 has no head; only bert and roberta"):
        load_encoder(str(tmp_path / "gpt2"))


def test_a_hub_encoder_that_cannot_be_asked_how_it_pools_is_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ToolError):
        load_encoder("nobody/no-such-encoder")
