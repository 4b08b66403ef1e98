"""From a PyTorch model to an ONNX file: the same weights give the same bytes, whatever the machine, folder or hour.

The TorchScript exporter is used (`dynamo=False`): it takes a small part of the other's time, so many untrained
candidates can be exported. benchmarks/graph_variants.py compares it with the other one, and the speed of their graphs.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import ExportError, MissingExtra
from edgekd.export.check import MAX_MODEL_BYTES, ModelDescription, description
from edgekd.export.libraries import library
from edgekd.files import write_bytes
from edgekd.pooling import OUTPUT, embedded, is_encoder
from edgekd.text import printable
from edgekd.units import text_from_bytes

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "export") from None

OPSET = 17  # the first with LayerNormalization as one operator; every runtime since 2022 reads it

_ROOT = "model"
GRAPH_BYTES = 16 * 2**20  # room for everything in the file that is not weights

# What the exporter says about code that was looked at: the branches compare shapes and settings, never values.
_EXPECTED_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    (r"You are using the legacy TorchScript-based ONNX export", DeprecationWarning, ""),
    (r"The feature will be removed. Please remove usage of this function", DeprecationWarning, r"torch\.onnx\."),
    (r"Exporting aten::index operator of advanced indexing", UserWarning, r"torch\.onnx\."),
    (r"Converting a tensor to a Python boolean", Warning, r"transformers\.masking_utils"),
    (r"Converting a tensor to a Python boolean", Warning, r"transformers\.cache_utils"),
    (r"Converting a tensor to a Python boolean", Warning, r"transformers\.models\.vit\.modeling_vit"),
    (r"Converting a tensor to a Python boolean", Warning, r"torch\.nn\.functional"),
    # Whether a cache is empty: the branches give the same number.
    (r"Converting a tensor to a Python boolean", Warning, r"transformers\.cache_utils"),
    # MobileNetV2 pads by the side of the image, which is fixed; the exporter leaves a slice of constants unfolded.
    (r"Converting a tensor to a Python integer", Warning, r"transformers\.models\.mobilenet_v2"),
    (r"Constant folding - Only steps=1 can be constant folded", UserWarning, r"torch\.onnx\."),
)


def export_onnx(
    model: torch.nn.Module,
    path: Path,
    *,
    kind: Literal["text", "image"],
    inputs: Sequence[str] | None = None,
    opset: int = OPSET,
) -> ModelDescription:
    """Write `model`, a transformers model with a `config`, to `path` as ONNX; what the file takes and gives.

    The graph ends in `logits`, that of a sentence encoder (see edgekd.pooling) in `embedding`, pooled. Text models take
    `inputs` (see input_names), images pixel_values. Attention is exported in its eager form; attention form and
    training mode of `model` are as before afterwards.

    Shapes: text inputs int64 (batch, sequence), pixel_values float32 (batch, channels, height, width); logits (batch,
    labels), or (batch, sequence, vocabulary) of a language model, without a cache; embedding (batch, width). batch and
    sequence are free.
    Errors: ExportError when the model cannot be exported; InputError or StorageError when `path` cannot be written.
    """
    if kind not in ("text", "image"):
        raise ExportError(f"{path}: found the kind {kind!r}, expected text or image")
    require_exportable(model, path)
    names = tuple(inputs) if inputs is not None else input_names(model, kind)
    return write_traced(model, path, lambda: _traced(model, names, kind, opset))


def write_traced(model: torch.nn.Module, path: Path, trace: Callable[[], Any]) -> ModelDescription:
    """Write what `trace`, a use of traced on `model`, gives to `path`; what the file takes and gives.

    Meanwhile `model` is in evaluation mode with eager attention.
    Errors: as export_onnx.
    """
    with evaluating(model, attention="eager"), exporting(model, path):
        proto = trace()
    write_bytes(path, checked_bytes(proto, path))
    return description(proto)


def input_names(model: torch.nn.Module, kind: Literal["text", "image"]) -> tuple[str, ...]:
    """The inputs of an exported `model` unless told otherwise.

    token_type_ids are among them when the model tells segments apart; RoBERTa has the table but no use for it.
    """
    if kind == "image":
        return ("pixel_values",)
    config: Any = model.config
    segments = getattr(config, "type_vocab_size", 0) > 1 and config.model_type != "roberta"
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    return ("input_ids", "attention_mask", *(("token_type_ids",) if segments and takes else ()))


def checked_bytes(proto: Any, path: Path) -> bytes:
    """`proto` as bytes for `path`: without doc strings, equal for equal models. Errors: ExportError when invalid."""
    onnx = library("onnx")
    strip(proto)
    try:
        onnx.checker.check_model(proto)
        data: bytes = proto.SerializeToString(deterministic=True)
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = printable(str(error).strip().splitlines()[0], 300)
        raise ExportError(f"{path}: the exported graph is not valid ONNX ({reason})") from error
    return data


def strip(proto: Any) -> None:
    """Take out of `proto` what says nothing about the model: doc strings, which may name files, and inferred shapes.

    Shapes of inner values are left out on purpose: they let onnxruntime 1.32 fuse Add and LayerNormalization into
    SkipLayerNormalization. benchmarks/graph_variants.py times files with and without them.
    """
    proto.doc_string = ""
    del proto.graph.value_info[:]
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.doc_string = ""
        for node in graph.node:
            node.doc_string = ""
            graphs += [inner for item in node.attribute for inner in (item.g, *item.graphs) if inner.ByteSize()]


def require_exportable(model: torch.nn.Module, path: Path) -> None:
    """Refuse a `model` that is none of transformers, not fp32, or too large for one file. Errors: ExportError."""
    if getattr(model, "config", None) is None:
        raise ExportError(f"{path}: {type(model).__name__} has no config, expected a model of transformers")
    weights = [weight for _, weight in model.named_parameters(remove_duplicate=False)]
    other = next((w.dtype for w in weights if w.is_floating_point() and w.dtype != torch.float32), None)
    if other is not None:
        raise ExportError(f"{path}: the weights are {other}, expected torch.float32. Convert them: model.float()")
    size_bytes = sum(w.numel() * w.element_size() for w in (*weights, *model.buffers()))
    if size_bytes + GRAPH_BYTES > MAX_MODEL_BYTES:
        raise ExportError(
            f"{path}: the weights take {text_from_bytes(size_bytes)}, an ONNX file holds at most 2 GiB."
            " Choose a smaller model; weights in separate files are not written"
        )


@contextlib.contextmanager
def evaluating(model: torch.nn.Module, attention: str | None = None) -> Iterator[None]:
    """`model` in evaluation mode, with that form of attention when one is named; all as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    handle: Any = model
    before = getattr(handle.config, "_attn_implementation", None)
    change = attention is not None and before not in (None, attention)
    model.eval()
    try:
        if change:
            handle.set_attn_implementation(attention)
        yield
    finally:
        if change:
            handle.set_attn_implementation(before)
        for module, mode in modes:
            module.training = mode


class _Answer(torch.nn.Module):
    """The model as a function of positional tensors that gives logits, or its embedding, and nothing else."""

    def __init__(self, model: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        caches = "use_cache" in inspect.signature(model.forward).parameters
        self.options: dict[str, Any] = {"return_dict": True, **({"use_cache": False} if caches else {})}
        self.output = OUTPUT if is_encoder(model) else "logits"

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        inputs = dict(zip(self.names, tensors, strict=True)) | self.options
        answer: torch.Tensor = embedded(self.model, inputs) if self.output == OUTPUT else self.model(**inputs).logits
        return answer


def _traced(model: torch.nn.Module, names: Sequence[str], kind: str, opset: int) -> Any:
    examples = _image_examples(model) if kind == "image" else _text_examples(model, names)
    wrapped = _Answer(model, names).eval()
    with torch.no_grad():
        shape = wrapped(*examples).shape
    free: dict[int, str] = {0: "batch"} if kind == "image" else {0: "batch", 1: "sequence"}
    axes = dict.fromkeys(names, free)
    axes[wrapped.output] = {0: "batch", 1: "sequence"} if len(shape) == 3 else {0: "batch"}
    return traced(wrapped, examples, names, (wrapped.output,), axes, opset)


def traced(
    wrapped: torch.nn.Module,
    examples: Sequence[torch.Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    opset: int,
) -> Any:
    """The ONNX graph of `wrapped`, whose attribute `model` is a model of transformers, with the given free `axes`.

    Errors: whatever the exporter raises; see exporting.
    """
    stream: Any = io.BytesIO()
    with warnings.catch_warnings():
        for message, category, module in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category, module=module)
        torch.onnx.export(
            wrapped,
            tuple(examples),
            stream,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dict(axes),
            opset_version=opset,
            dynamo=False,
        )
    proto = library("onnx").ModelProto()
    proto.ParseFromString(stream.getvalue())
    _restore_parameters(proto, wrapped.get_submodule(_ROOT))
    return proto


@contextlib.contextmanager
def exporting(model: torch.nn.Module, path: Path) -> Iterator[None]:
    """What the exporter raises about `model` made an ExportError that names `path`."""
    try:
        yield
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
        raise ExportError(f"{path}: {type(model).__name__} cannot be exported to ONNX ({reason})") from error


def _text_examples(model: torch.nn.Module, names: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Two sequences, the second one padded: all that tracing needs, and no random numbers taken from anybody."""
    config: Any = model.config
    device = next(model.parameters()).device
    length = max(2, min(16, config.max_position_embeddings // 2))
    ids = (torch.arange(2 * length, device=device) % config.vocab_size).reshape(2, length)
    mask = torch.ones_like(ids)
    mask[1, -1] = 0
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return tuple(known[name] if name in known else torch.zeros_like(ids) for name in names)


def _image_examples(model: torch.nn.Module) -> tuple[torch.Tensor, ...]:
    config: Any = model.config
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    pixels = torch.linspace(-1, 1, 2 * config.num_channels * height * width, device=next(model.parameters()).device)
    return (pixels.reshape(2, config.num_channels, height, width),)


def _restore_parameters(proto: Any, model: torch.nn.Module) -> None:
    """Give each parameter its own values again where the exporter shared those that happen to be equal.

    All biases of an untrained model are zero, so the exporter keeps one and points the others at it: the candidate
    would be smaller and built differently than the same student once trained. The same goes for the biases that batch
    norms leave behind when they are folded, which are no parameters of the model. Parameters that the model itself
    shares stay shared.
    """
    places = {f"{_ROOT}.{name}": weight.data_ptr() for name, weight in model.named_parameters(remove_duplicate=False)}
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        source = node.input[0] if node.op_type == "Identity" else ""
        name = node.output[0]
        if source in tensors and (name not in places or places[name] != places.get(source)):
            own = graph.initializer.add()
            own.CopyFrom(tensors[source])
            own.name = name
        else:
            kept.append(node)
    if len(kept) != len(graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)
