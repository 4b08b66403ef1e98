"""Untrained students as ONNX files without exporting each: the graph is learned once per teacher and then filled in.

Two small students of the teacher, with other dimensions and other numbers of layers, go through the exporter and the
quantiser that every student goes through (int4 and fp16 are made of a filled-in fp32 graph). What differs between the
two files is traced to dimensions and to layers (edgekd/export/trace.py), and a third student of one layer is compared
with its own export. From then on a student takes as long as writing its file. The graph is that of the export, node by
node; the weights are drawn anew.
benchmarks/predictor/template.py compares times and latencies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgekd.cost.count import weight_bytes
from edgekd.cost.limits import SAME
from edgekd.errors import ExportError
from edgekd.export.check import MAX_MODEL_BYTES, ModelDescription, description, parsed_model
from edgekd.export.decoder import export_decode, export_prefill
from edgekd.export.dimensions import is_grouped, probes
from edgekd.export.fuse import fused, fused_eight_bits
from edgekd.export.half import half
from edgekd.export.onnx import GRAPH_BYTES, checked_bytes, export_onnx
from edgekd.export.order import sort_as_quantised, unsort
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.repeat import renumber
from edgekd.export.signature import first_difference, graph_signature
from edgekd.export.skeleton import Skeleton
from edgekd.export.trace import Export, Pair, learned_skeleton
from edgekd.export.weight_only import four_bits
from edgekd.export.wire import model_bytes
from edgekd.files import write_bytes
from edgekd.student import PRECISIONS, StudentSpec
from edgekd.units import text_from_bytes

Kind = Literal["text", "image", "prefill", "decode"]
"""Which graph: of text or an image with `logits` at the end, or one of the two of a causal language model."""

# Precisions whose files are made of the fp32 graph of the same student: their sizes follow from it in other ways than
# by a dimension here and there.
_MADE_OF_FP32: dict[str, Callable[[Any, str], Any]] = {
    "fp16": half,
    "int4": four_bits,
    "fp32-fused": fused,
    "int8-fused": fused_eight_bits,
}


@dataclass(frozen=True, slots=True)
class _Variant:
    """Students whose graphs differ by numbers only. `layers` is 0 where all numbers of layers are alike."""

    head_dim: int
    grouped: bool
    layers: int = 0


@dataclass
class GraphTemplate:
    """The graph of all students of `teacher` in one precision; `learn` makes one.

    `build` gives the untrained model of a spec. A student with another head_dim, or the first with fewer key heads than
    query heads, has another graph: it is learned when such a student is asked for.
    """

    teacher: StudentSpec
    build: Callable[[StudentSpec], Any]
    kind: Kind
    precision: str
    known: dict[_Variant, Skeleton] = field(default_factory=dict)

    def write(self, spec: StudentSpec, path: Path, *, seed: int = 0) -> ModelDescription:
        """Write the untrained student `spec` to `path` as ONNX; what the file takes and gives.

        Weights are drawn from those of a small student: of the same scale, not all equal. Equal seeds give equal bytes.
        Errors: ExportError when `spec` is no student of this teacher, or its graph does not follow from what was
        learned; InputError or StorageError when `path` cannot be written.
        """
        size_bytes = weight_bytes(spec, self.precision)
        if size_bytes + GRAPH_BYTES > MAX_MODEL_BYTES:
            raise ExportError(
                f"{path}: the weights take {text_from_bytes(size_bytes)}, an ONNX file holds at most 2 GiB."
                " Choose a smaller model; weights in separate files are not written"
            )
        if self.precision in _MADE_OF_FP32:
            proto = self.proto(spec, seed=seed)
            write_bytes(path, checked_bytes(proto, path))
            return description(proto)
        model, values = self._filled(spec, seed)
        told = description(model)
        write_bytes(path, model_bytes(model, values))
        return told

    def proto(self, spec: StudentSpec, *, seed: int = 0) -> Any:
        """The ModelProto of `spec`. Errors: ExportError."""
        model, values = self._filled(spec, seed)
        found = type(model).FromString(model_bytes(model, values))
        return _MADE_OF_FP32[self.precision](found, spec.name) if self.precision in _MADE_OF_FP32 else found

    def exported(self, spec: StudentSpec) -> Any:
        """The ModelProto of `spec` as the exporter, and the quantiser, write it. Errors: ExportError."""
        found = self._exported(spec, raw=False)
        return _MADE_OF_FP32[self.precision](found, spec.name) if self.precision in _MADE_OF_FP32 else found

    def _filled(self, spec: StudentSpec, seed: int) -> tuple[Any, list[bytes]]:
        self._require_student(spec)
        variant = _Variant(spec.head_dim, is_grouped(spec))
        if variant not in self.known:
            self._learn(variant, spec)
        skeleton = self.known.get(replace(variant, layers=spec.layers), self.known[variant])
        model, values = skeleton.filled(spec, seed)
        if self.precision == "int8":
            sort_as_quantised(model)
        return model, values

    def _learn(self, variant: _Variant, like: StudentSpec) -> None:
        first, second, third = probes(self.teacher, like)
        self.known[variant] = self._learned(first, second)
        try:
            if _difference(self, third):
                # A single layer is first and last at once, and may be written in another way than either.
                alone = replace(variant, layers=third.layers)
                self.known[alone] = self._learned(*(replace(spec, layers=third.layers) for spec in (first, second)))
                verify(self, third)
        except ExportError:
            del self.known[variant]  # nobody shall be given what was not confirmed
            raise

    def _learned(self, first: StudentSpec, second: StudentSpec) -> Skeleton:
        exports = [Export(spec, self._exported(spec, raw=True)) for spec in (first, second)]
        return learned_skeleton(Pair(*exports))

    def _exported(self, spec: StudentSpec, *, raw: bool) -> Any:
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            plain, quantised = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            self._export(self.build(spec), plain)
            if self.precision == "int8":
                quantize_dynamic(plain, quantised)
            proto = parsed_model(quantised if self.precision == "int8" else plain)
            if raw and self.precision == "int8":
                unsort(proto, parsed_model(plain))
        if raw:
            renumber(proto)
        return proto

    def _export(self, model: Any, path: Path) -> None:
        if self.kind == "prefill":
            export_prefill(model, path)
        elif self.kind == "decode":
            export_decode(model, path)
        else:
            export_onnx(model, path, kind=self.kind)

    def _require_student(self, spec: StudentSpec) -> None:
        for name in SAME:
            found, expected = getattr(spec, name), getattr(self.teacher, name)
            if found != expected:
                raise ExportError(
                    f"the student {spec.name} has {name} {found!r}, but the template is of a teacher with {expected!r}."
                    " Learn a template of that teacher"
                )


def learn(teacher: StudentSpec, build: Callable[[StudentSpec], Any], *, kind: Kind, precision: str) -> GraphTemplate:
    """The template for the students of `teacher`, learned from three small ones that `build` makes, in about a second.

    Errors: ExportError when the exports of small students do not tell how those of others look.
    """
    if kind not in get_args(Kind):
        raise ExportError(f"found the kind {kind!r}, expected one of {', '.join(get_args(Kind))}")
    if precision not in PRECISIONS:
        raise ExportError(f"found the precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    template = GraphTemplate(teacher, build, kind, precision)
    template.proto(replace(teacher, layers=2))
    return template


def verify(template: GraphTemplate, spec: StudentSpec) -> None:
    """Nothing, when the template's graph of `spec` equals that of its export. Errors: ExportError where it does not."""
    difference = _difference(template, spec)
    if difference:
        raise ExportError(
            f"the graph of {spec.name} in {template.precision} is not that of its export: {difference}."
            " Export each student instead"
        )


def _difference(template: GraphTemplate, spec: StudentSpec) -> str:
    try:
        found = template.proto(spec)
    except ExportError as error:
        return str(error)
    return first_difference(graph_signature(found), graph_signature(template.exported(spec)))
