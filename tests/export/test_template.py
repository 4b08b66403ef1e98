from __future__ import annotations

import copy
import functools
import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from edgekd.errors import ExportError
from edgekd.export.onnx import export_onnx
from edgekd.export.signature import graph_signature
from edgekd.export.template import GraphTemplate, learn, verify
from edgekd.export.variants import write_variant
from edgekd.pooling import Pooling, set_pooling
from edgekd.student import PRECISIONS, StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

FAMILIES = ("bert", "roberta", "vit", "gpt2", "llama")
# The tool that fuses knows no pattern of a llama.
GRAPHS = [
    (name, precision)
    for name in FAMILIES
    for precision in PRECISIONS
    if name != "llama" or not precision.endswith("-fused")
]
HEAD_DIM = 6


def teacher_of(name: str, **changes: Any) -> StudentSpec:
    sizes: dict[str, Any] = {"layers": 4, "hidden": 4 * HEAD_DIM, "heads": 4, "ffn": 50, "labels": 3}
    if name == "vit":
        sizes |= {"image_size": 16, "patch_size": 4, "channels": 3}
    else:
        sizes |= {"vocabulary": 97, "positions": 42, "token_types": 2 if name in ("bert", "roberta") else 0}
    if name == "llama":
        sizes |= {"kv_heads": 2, "head_dim": HEAD_DIM}
    return StudentSpec(architecture=name, **{**sizes, **changes})


def kind_of(teacher: StudentSpec) -> Any:
    return "image" if teacher.family == "vit" else "text"


def model_of(spec: StudentSpec) -> Any:
    return build(spec, config_from_spec(teacher_of(spec.architecture, labels=spec.labels)), seed=0)


@functools.cache
def learned(name: str, precision: str, step: Any = "") -> GraphTemplate:
    teacher = teacher_of(name, labels=0) if step else teacher_of(name)
    return learn(teacher, model_of, kind=step or kind_of(teacher), precision=precision)


def students(name: str, layers: tuple[int, ...], seed: int) -> list[StudentSpec]:
    """Random students with those layers; odd and even widths, and for llama fewer key heads as well as as many."""
    draw = random.Random(seed)
    found = []
    for depth in layers:
        heads = draw.choice((1, 2, 3, 4, 6))
        keys, hidden = heads, heads * HEAD_DIM
        if name == "llama":
            keys, hidden = (
                draw.choice([keys for keys in (1, 2, 3, 4, 6) if heads % keys == 0]),
                heads * draw.choice((4, 7, 9)),
            )
        sizes = {"layers": depth, "heads": heads, "kv_heads": keys, "hidden": hidden, "head_dim": HEAD_DIM}
        found.append(replace(teacher_of(name), **sizes, ffn=draw.randint(5, 90)))
    return found


def inputs_of(session: Any, batch: int, sequence: int) -> dict[str, Any]:
    draw = np.random.default_rng(3)
    feeds: dict[str, Any] = {}
    for value in session.get_inputs():
        shape = [{"batch": batch, "sequence": sequence, "past": sequence}.get(size, size) for size in value.shape]
        is_float = value.type == "tensor(float)"
        feeds[value.name] = draw.normal(size=shape).astype(np.float32) if is_float else np.ones(shape, np.int64)
    return feeds


@pytest.mark.parametrize(("name", "precision"), GRAPHS)
def test_graph_of_any_student_equals_that_of_its_export_node_by_node(name: str, precision: str) -> None:
    template = learned(name, precision)
    for spec in students(name, (1, 2, 5), seed=FAMILIES.index(name)):
        found, expected = graph_signature(template.proto(spec)), graph_signature(template.exported(spec))
        assert len(expected) > (40 if precision.endswith("-fused") else 100)
        for line, other in zip(found, expected, strict=True):
            assert line == other, spec.name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "pooling"), [("bert", Pooling()), ("roberta", Pooling("cls", normalised=False))])
def test_graphs_of_a_sentence_encoder_equal_their_exports_pooling_included(
    name: str, pooling: Pooling, precision: str, tmp_path: Path
) -> None:
    teacher = teacher_of(name, labels=0, head="none")
    config = config_from_spec(teacher)
    set_pooling(config, pooling)
    template = learn(teacher, lambda spec: build(spec, config, seed=0), kind="text", precision=precision)
    for spec in students(name, (1, 2, 5), seed=1):
        verify(template, replace(spec, labels=0, head="none"))
    spec = replace(teacher, layers=3, hidden=2 * HEAD_DIM, heads=2, kv_heads=2, ffn=31)
    template.write(spec, tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    for batch, sequence in ((1, 5), (3, 17)):
        (vectors,) = session.run(None, inputs_of(session, batch, sequence))
        assert vectors.shape == (batch, 2 * HEAD_DIM)
        assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("name", "step", "precision"),
    [
        ("gpt2", "prefill", "fp32"),
        ("gpt2", "decode", "int8"),
        ("llama", "prefill", "int8"),
        ("llama", "decode", "fp32"),
    ],
)
def test_graphs_of_a_language_model_equal_their_exports_too(
    name: str, step: str, precision: str, tmp_path: Path
) -> None:
    template = learned(name, precision, step)
    sizes = {"hidden": 2 * HEAD_DIM, "heads": 2, "kv_heads": 1 if name == "llama" else 2, "head_dim": HEAD_DIM}
    spec = replace(template.teacher, layers=4, **sizes, ffn=31)
    verify(template, spec)
    template.write(spec, tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
    for batch, sequence in ((1, 5), (3, 17)):
        logits, *present = session.run(None, inputs_of(session, batch, sequence))
        assert logits.shape == (batch, 1, 97)
        assert np.isfinite(logits).all()
        assert {tensor.shape[2] for tensor in present} == {sequence + (step == "decode")}
        assert len(present) == 2 * 4


@pytest.mark.parametrize("keys", [1, 2, 4])
def test_llama_has_a_graph_for_shared_and_one_for_separate_key_heads(keys: int) -> None:
    verify(learned("llama", "fp32"), replace(teacher_of("llama"), layers=3, hidden=20, kv_heads=keys, ffn=33))


@pytest.mark.parametrize(("name", "precision"), GRAPHS)
def test_file_runs_for_inputs_of_any_size_with_finite_answers(name: str, precision: str, tmp_path: Path) -> None:
    for spec in students(name, (3,), seed=7):
        told = learned(name, precision).write(spec, tmp_path / "student.onnx", seed=5)
        assert [value.name for value in told.outputs] == ["logits"]
        onnx.checker.check_model(onnx.load(tmp_path / "student.onnx"), full_check=precision == "fp32")
        session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
        for batch, sequence in ((1, 5), (3, 17)):
            (logits,) = session.run(None, inputs_of(session, batch, sequence))
            assert logits.shape == (batch, 3)
            assert np.isfinite(logits).all()
            assert np.ptp(logits) > 0


@pytest.mark.parametrize(("name", "precision"), GRAPHS)
def test_file_is_as_large_as_that_of_the_export(name: str, precision: str, tmp_path: Path) -> None:
    spec = replace(teacher_of(name), layers=3, hidden=96, heads=16, kv_heads=16, head_dim=HEAD_DIM, ffn=401)
    learned(name, precision).write(spec, tmp_path / "template.onnx")
    export_onnx(model_of(spec), tmp_path / "real.onnx", kind=kind_of(spec))
    if precision != "fp32":
        write_variant(tmp_path / "real.onnx", tmp_path / "variant.onnx", precision)
        (tmp_path / "variant.onnx").replace(tmp_path / "real.onnx")
    real = (tmp_path / "real.onnx").stat().st_size
    assert (tmp_path / "template.onnx").stat().st_size == pytest.approx(real, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])  # the others are made of fp32
def test_weights_have_the_scale_of_untrained_ones_and_are_not_all_equal(precision: str) -> None:
    spec = replace(teacher_of("bert"), hidden=192, heads=32, kv_heads=32, head_dim=HEAD_DIM)
    found = learned("bert", precision).proto(spec)
    drawn = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    real = [numpy_helper.to_array(tensor) for tensor in learned("bert", precision).exported(spec).graph.initializer]
    matrices = [value for value in drawn.values() if value.ndim == 2]
    assert len(matrices) == 3 + 4 * 6 + 2
    for value in matrices:
        expected = np.mean([other.std() for other in real if other.shape == value.shape and other.dtype == value.dtype])
        if value.dtype == np.float32:
            assert value.std() == pytest.approx(expected, rel=0.2)
        else:  # a product with few inputs, as in the small students, makes fuller use of the 7 bits
            assert expected < value.std() < 2 * expected
            assert np.abs(value.astype(int)).max() <= 64
        assert len(np.unique(value[:2], axis=0)) == 2
    for value in drawn.values():
        if value.dtype == np.float32:
            sizes = np.abs(value[value != 0])
            assert sizes.min(initial=1) > np.finfo(np.float32).tiny
            assert np.isfinite(value).all()
    scales = [value for name, value in drawn.items() if name.endswith("_scale")]
    assert len(scales) == (4 * 6 + 2 if precision == "int8" else 0)
    assert all((value > 0).all() for value in scales)


@pytest.mark.parametrize("precision", ["fp32-fused", "int8-fused"])
def test_a_family_that_cannot_be_fused_is_refused(precision: str) -> None:
    with pytest.raises(ExportError, match="no operators that could be fused"):
        learn(teacher_of("llama"), model_of, kind="text", precision=precision)


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    template, spec = learned("vit", "int8"), replace(teacher_of("vit"), layers=2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        template.write(spec, tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_another_head_dim_is_learned_when_it_is_asked_for() -> None:
    template = GraphTemplate(teacher_of("llama"), model_of, "text", "fp32")
    spec = replace(teacher_of("llama"), layers=2, hidden=40, head_dim=10)
    verify(template, spec)
    scale = [
        numpy_helper.to_array(item.t).item()
        for node in template.proto(spec).graph.node
        for item in node.attribute
        if item.name == "value" and item.t.data_type == TensorProto.FLOAT and not item.t.dims
    ]
    assert any(value == pytest.approx(10**-0.5, rel=1e-6) for value in scale)
    verify(template, replace(teacher_of("llama"), layers=2))
    assert len(template.known) == 2


def test_dimensions_that_coincide_with_each_other_or_with_constants_change_nothing() -> None:
    # hidden = ffn, labels = heads, layers = token types: the exporter shares equal weights and constants.
    verify(learned("bert", "fp32"), replace(teacher_of("bert"), layers=2, ffn=4 * HEAD_DIM))
    verify(learned("bert", "int8"), replace(teacher_of("bert"), layers=2, hidden=18, heads=3, kv_heads=3, ffn=97))


def test_a_wrong_number_in_the_template_is_noticed() -> None:
    template = copy.deepcopy(learned("gpt2", "fp32"))
    spec = replace(teacher_of("gpt2"), layers=3)
    (skeleton,) = template.known.values()
    index, form = next((index, form) for index, form in enumerate(skeleton.nodes.block) if form.slots)
    skeleton.nodes.block[index] = replace(form, slots=(form.slots[0]._replace(dimension="heads"),))
    with pytest.raises(ExportError, match=r"graph of L3-.* is not that of its export: line \d+"):
        verify(template, spec)


def test_a_lost_node_in_the_template_is_noticed() -> None:
    template = copy.deepcopy(learned("vit", "fp32"))
    (skeleton,) = template.known.values()
    del skeleton.nodes.block[10]
    with pytest.raises(ExportError, match="nothing makes"):
        template.proto(replace(teacher_of("vit"), layers=3))


def test_a_number_that_is_no_dimension_is_refused() -> None:
    def odd(spec: StudentSpec) -> Any:
        return model_of(replace(spec, ffn=2 * spec.ffn + 1))

    with pytest.raises(ExportError, match="59 in one export and 87 in another is none of the dimensions"):
        learn(teacher_of("bert"), odd, kind="text", precision="fp32")


def test_layers_that_are_not_alike_are_refused() -> None:
    def uneven(spec: StudentSpec) -> Any:
        model = model_of(spec)
        for layer in model.bert.encoder.layer[::2]:
            layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
        return model

    with pytest.raises(ExportError, match="layers"):
        learn(teacher_of("bert"), uneven, kind="text", precision="fp32")


def test_a_single_layer_that_is_written_in_another_way_is_learned_alone() -> None:
    def special(spec: StudentSpec) -> Any:
        model = model_of(spec)
        if spec.layers == 1:
            model.bert.pooler.activation = torch.nn.Sigmoid()
        return model

    template = learn(teacher_of("bert"), special, kind="text", precision="int8")
    assert len(template.known) == 2
    for layers in (1, 2):
        verify(template, replace(teacher_of("bert"), layers=layers, ffn=11))


def test_graph_that_was_not_confirmed_is_never_given_out() -> None:
    calls = itertools.count()

    def fickle(spec: StudentSpec) -> Any:
        model = model_of(spec)
        if spec.layers == 1 and next(calls) % 2 == 0:
            model.bert.pooler.activation = torch.nn.Sigmoid()
        return model

    template = GraphTemplate(teacher_of("bert"), fickle, "text", "fp32")
    with pytest.raises(ExportError, match="differ by more than layers"):
        template.proto(teacher_of("bert"))
    assert not template.known


def test_student_of_another_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has labels 2, but the template is of a teacher with 3"):
        learned("bert", "fp32").write(replace(teacher_of("bert"), labels=2), tmp_path / "student.onnx")
    assert not (tmp_path / "student.onnx").exists()


def test_file_beyond_two_gibibytes_is_refused(tmp_path: Path) -> None:
    giant = replace(teacher_of("bert"), hidden=6 * 3000, heads=3000, kv_heads=3000, head_dim=HEAD_DIM, ffn=9)
    with pytest.raises(ExportError, match="an ONNX file holds at most 2 GiB"):
        learned("bert", "fp32").write(giant, tmp_path / "student.onnx")


@pytest.mark.parametrize(
    ("changes", "message"), [({"kind": "sound"}, "kind 'sound'"), ({"precision": "int2"}, "'int2'")]
)
def test_unknown_kind_or_precision_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        learn(teacher_of("bert"), model_of, **{"kind": "text", "precision": "fp32", **changes})
