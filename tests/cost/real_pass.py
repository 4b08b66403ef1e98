"""What a real forward pass and a real exported file say, to hold the counts against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from edgekd.export.onnx import export_onnx
from edgekd.export.variants import write_variant

# Dropout does nothing; batch norm and padding become a part of their convolution.
NO_TENSOR = (torch.nn.Dropout, torch.nn.BatchNorm2d, torch.nn.ZeroPad2d)

UNFUSED = ("fp32", "fp16", "int8", "int4")


def flops(model: Any, **inputs: Any) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def written_and_read(model: Any, **inputs: Any) -> tuple[int, int]:
    """Elements that leaf modules write, and elements of the distinct tensors that linear layers read."""
    outputs: list[int] = []
    read: dict[int, torch.Tensor] = {}

    def written(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output.numel())

    def reads(_module: Any, arguments: Any) -> None:
        read[id(arguments[0])] = arguments[0]

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(reads)
        if not list(module.children()) and not isinstance(module, NO_TENSOR):
            module.register_forward_hook(written)
    with torch.no_grad():
        model(**inputs)
    return sum(outputs), sum(tensor.numel() for tensor in read.values())


def exported_image_model(model: Any, folder: Path) -> dict[str, int]:
    """Bytes of the weights in the files of UNFUSED."""
    export_onnx(model, folder / "fp32.onnx", kind="image")
    for precision in UNFUSED[1:]:
        write_variant(folder / "fp32.onnx", folder / f"{precision}.onnx", precision)
    return {precision: stored_bytes(folder / f"{precision}.onnx") for precision in UNFUSED}


def stored_bytes(path: Path) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)


def attention_elements(model: Any, output_projections: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Elements of scores and of context of each attention; both lists are filled by the next forward pass."""
    scores: list[int] = []
    context: list[int] = []

    def mixes(_module: Any, arguments: Any) -> None:
        context.append(arguments[0].numel())

    def attends(_module: Any, _inputs: Any, output: Any) -> None:
        scores.append(output[-1].numel())

    for name, module in model.named_modules():
        if name.endswith(output_projections):
            module.register_forward_pre_hook(mixes)
            model.get_submodule(name.rpartition(".")[0]).register_forward_hook(attends)
    return scores, context
