"""Teachers and saved students as models: from a located source to a classifier with the labels of the data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from edgekd.errors import EdgekdError, InputError, ToolError
from edgekd.pooling import PoolingMode, set_pooling
from edgekd.student import Head
from edgekd.students.build import auto_class
from edgekd.students.families import spec_from_config
from edgekd.students.locate import check_folder, locate_model
from edgekd.students.padding import DECODERS
from edgekd.students.sentence import pooling_for
from edgekd.text import listing, printable

__all__ = [
    "LoadedClassifier", "load_classifier", "load_config", "load_encoder", "load_model", "load_with_report",
    "locate_model",
]  # fmt: skip

# Typed loosely: its functions carry no annotations.
_library_log: Any = logging
_NUMBERED = re.compile(r"LABEL_[0-9]+")
_LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)


@dataclass(frozen=True, slots=True)
class LoadedClassifier:
    """A classifier in evaluation mode. `fresh_head` means that its head knows nothing yet; `note` says why or what.

    `lost_head`: there was a head, but for other labels. `by_position`: its labels have no names, only numbers.
    """

    model: PreTrainedModel
    fresh_head: bool
    note: str
    lost_head: bool = False
    by_position: bool = False


def load_config(name: str) -> PreTrainedConfig:
    """The configuration of the located model `name`, of a family we support; code that comes with it is not run.

    Errors: InputError, SecurityError or SpecError for a local model, ToolError when the hub cannot be reached.
    """
    if Path(name).is_dir():
        check_folder(Path(name))
    with _quiet():
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False)
        except _LOAD_ERRORS as error:
            raise _load_error(name, error) from None
    spec_from_config(config)
    return config


def load_model(name: str, head: Head, labels: list[str], *, seed: int) -> LoadedClassifier:
    """The located model `name` with this `head`; see load_classifier and load_encoder. Errors: as there."""
    if head == "none":
        return load_encoder(name)
    if head == "language":
        from edgekd.students.language import load_language_model

        return LoadedClassifier(load_language_model(name), fresh_head=False, note="")
    if head not in ("sequence", "tokens"):
        raise InputError(f"{name}: a model with the head {head} is no classifier, expected one")
    return load_classifier(name, labels, seed=seed, head=head)


def load_classifier(name: str, labels: list[str], *, seed: int, head: Head = "sequence") -> LoadedClassifier:
    """The located model `name` as a classifier into `labels`, in this order, in fp32, attention through SDPA.

    A head that the weights lack, or that was made for other labels, is drawn anew from `seed`. A head whose labels are
    the same in another order is put in order; numbered labels (LABEL_0) are taken by position.
    Errors: InputError, SecurityError or SpecError for a model that does not fit, ToolError when the hub is unreachable.
    """
    if not labels or len(set(labels)) != len(labels):
        raise InputError(f"found the labels {labels}, expected at least one and each once")
    config = load_config(name)
    saved = [label for _, label in sorted((config.id2label or {}).items())]
    _set_labels(config, labels)
    model, info = load_with_report(name, config, head)
    other_shape = {item[0] for item in info["mismatched_keys"]}
    missing = set(info["missing_keys"]) | other_shape
    foreign = sorted(key for key in missing if not _in_head(model, key))
    if foreign:
        raise InputError(f"{name}: its weights do not fit its config.json: {listing(foreign, limit=3)}")
    _initialise(model, missing, seed)
    if other_shape:
        note = f"the head gives {len(saved)} labels ({listing(saved)}), the data has {len(labels)} ({listing(labels)})"
        return LoadedClassifier(model, fresh_head=True, note=f"{note}; a fresh one was drawn", lost_head=True)
    if missing:
        note = f"the weights have no classification head for {len(labels)} labels; a fresh one was drawn"
        return LoadedClassifier(model, fresh_head=True, note=note)
    return _with_label_order(LoadedClassifier(model, fresh_head=False, note=""), saved, labels, seed)


def load_encoder(name: str, *, mode: PoolingMode | None = None, normalised: bool | None = None) -> LoadedClassifier:
    """The located model `name` without a head, as a sentence encoder that says how it pools; see pooling_for.

    In fp32, attention through SDPA. Errors: as load_classifier, and InputError for a pooling that is not its own.
    """
    config = load_config(name)
    spec_from_config(config, head="none")
    set_pooling(config, pooling_for(name, config, mode=mode, normalised=normalised))
    model, info = load_with_report(name, config, "none")
    foreign = sorted({*info["missing_keys"], *(item[0] for item in info["mismatched_keys"])})
    if foreign:
        raise InputError(f"{name}: its weights do not fit its config.json: {listing(foreign, limit=3)}")
    return LoadedClassifier(model, fresh_head=False, note="")


def _set_labels(config: PreTrainedConfig, labels: list[str]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if config.model_type in DECODERS and config.pad_token_id is None:
        # A decoder classifies at the last token that is no padding, so it must know what padding is.
        end = config.eos_token_id
        config.pad_token_id = end[0] if isinstance(end, list) else end


def load_with_report(
    name: str, config: PreTrainedConfig, head: Head = "sequence"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model `name` with this `head`, in evaluation mode, and what transformers says of its weights.

    Errors: InputError for a local model, ToolError when the hub cannot be reached.
    """
    auto = auto_class(head, "vit" if config.model_type == "vit" else "other")
    options = {"add_pooling_layer": False} if head == "none" else {}
    # Missing weights are drawn by the library before we draw them ourselves; the caller's random state stays.
    with _quiet(), torch.random.fork_rng(devices=[]):
        try:
            model, info = auto.from_pretrained(
                name,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        except _LOAD_ERRORS as error:
            raise _load_error(name, error) from None
    _refuse_no_numbers(name, model, {item[0] for item in info["mismatched_keys"]} | set(info["missing_keys"]))
    return model.eval(), info


def _refuse_no_numbers(name: str, model: PreTrainedModel, drawn: set[str]) -> None:
    """Refuse weights that were read and hold NaN or infinity: no answer of theirs would be a number."""
    for key, weight in model.named_parameters():
        if key not in drawn and not bool(torch.isfinite(weight).all()):
            raise InputError(
                f"{name}: its weights hold NaN or infinity ({key}), expected numbers. Get the weights anew"
            )


def _in_head(model: PreTrainedModel, key: str) -> bool:
    prefix = f"{model.base_model_prefix}."
    return not key.startswith(prefix) or key.startswith(f"{prefix}pooler.")


def _initialise(model: PreTrainedModel, names: set[str], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = dict(model.named_parameters())
    with torch.no_grad():
        for name in sorted(names):
            if name.endswith("bias"):
                table[name].zero_()
            else:
                table[name].normal_(0.0, model.config.initializer_range, generator=generator)


def _with_label_order(loaded: LoadedClassifier, saved: list[str], labels: list[str], seed: int) -> LoadedClassifier:
    if saved == labels:
        return loaded
    if all(_NUMBERED.fullmatch(label) for label in saved):
        return replace(loaded, by_position=True)
    known = {label: index for index, label in enumerate(_comparable(saved))}
    wanted = _comparable(labels)
    if sorted(known) != sorted(wanted):
        names = {
            key for key, _ in loaded.model.named_parameters() if not key.startswith(loaded.model.base_model_prefix)
        }
        _initialise(loaded.model, names, seed)
        note = f"the head was trained for the labels {listing(saved)}, the data has {listing(labels)}"
        return LoadedClassifier(loaded.model, fresh_head=True, note=f"{note}; a fresh one was drawn", lost_head=True)
    order = [known[label] for label in wanted]
    if order == sorted(order):
        return loaded
    output = _output_layer(loaded.model)
    with torch.no_grad():
        output.weight.copy_(output.weight[order].clone())
        if output.bias is not None:
            output.bias.copy_(output.bias[order].clone())
    return LoadedClassifier(loaded.model, fresh_head=False, note="the outputs of the head were put in the data's order")


def _comparable(labels: list[str]) -> list[str]:
    """`labels` without regard to case, unless case is all that tells two of them apart."""
    folded = [label.casefold() for label in labels]
    return folded if len(set(folded)) == len(folded) else labels


def _output_layer(model: PreTrainedModel) -> torch.nn.Linear:
    head: Any = getattr(model, "score", None)
    if head is None:
        head = model.classifier
    layer: torch.nn.Linear = getattr(head, "out_proj", head)
    return layer


def _load_error(name: str, error: Exception) -> EdgekdError:
    reason = printable(" ".join(str(error).split()), limit=300)
    if Path(name).is_dir():
        return InputError(f"{name}: transformers cannot load it ({reason})")
    return ToolError(
        f"{name}: cannot be fetched from the hub ({reason}). Check the name and the connection, or give a local folder"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers without progress bars and reports on what it loaded; we say ourselves what matters."""
    verbosity, bar = _library_log.get_verbosity(), _library_log.is_progress_bar_enabled()
    _library_log.set_verbosity_error()
    _library_log.disable_progress_bar()
    try:
        yield
    finally:
        _library_log.set_verbosity(verbosity)
        if bar:
            _library_log.enable_progress_bar()
