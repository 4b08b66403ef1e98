from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import InputError, SecurityError
from edgekd.export.check import check_model_file, describe, safe_model

Entries = list[tuple[str, str]]


def external_tensor(entries: Entries, name: str = "w") -> Any:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    return tensor


def save_model(path: Path, tensor: Any = None, *, node: Any = None, ir_version: int = 8) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("x", "logits"))
    weights = [tensor if tensor is not None else numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")]
    nodes = [node] if node is not None else [helper.make_node("MatMul", ["x", "w"], ["logits"])]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir_version)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "weights.bin").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    return inside


def test_plain_model_names_no_other_file(folder: Path) -> None:
    path = save_model(folder / "m.onnx")
    assert check_model_file(path) == ()
    assert safe_model(path) == (path.read_bytes(), ())


def test_weights_in_a_plain_file_beside_the_model_are_found(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "w.data").write_bytes(bytes(40))
    path = save_model(
        folder / "m.onnx", external_tensor([("location", "sub/w.data"), ("offset", "24"), ("length", "16")])
    )
    assert check_model_file(path) == (folder / "sub" / "w.data",)


HOSTILE = {
    "absolute": "/etc/passwd",
    "climbing": "../secret",
    "climbing inside": "sub/../../secret",
    "backslash": "..\\secret",
    "empty part": "sub//weights.bin",
    "here": "./weights.bin",
    "nothing": "",
    "memory address": "*/_ORT_MEM_ADDR_/*",
    "end of string": "weights.bin\0.txt",
    "escape": "\x1b[2Jweights.bin",
    "right to left": "\u202eweights.bin",
}


@pytest.mark.parametrize("location", HOSTILE.values(), ids=HOSTILE.keys())
def test_location_outside_the_folder_is_refused(location: str, folder: Path) -> None:
    path = save_model(folder / "m.onnx", external_tensor([("location", location)]))
    with pytest.raises(SecurityError, match="expected a plain relative path") as refused:
        check_model_file(path)
    assert "\x1b" not in str(refused.value)
    assert "\u202e" not in str(refused.value)


def test_memory_address_marker_is_refused_even_when_such_a_file_exists(folder: Path) -> None:
    (folder / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / "*" / "_ORT_MEM_ADDR_" / "*").write_bytes(bytes(16))
    path = save_model(folder / "m.onnx", external_tensor([("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "0")]))
    with pytest.raises(SecurityError):
        check_model_file(path)


def test_symbolic_link_is_refused_as_file_and_as_folder(folder: Path) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret")
    with pytest.raises(SecurityError, match="symbolic link"):
        check_model_file(save_model(folder / "m.onnx", external_tensor([("location", "link.bin")])))
    (folder / "up").symlink_to(folder.parent)
    with pytest.raises(SecurityError, match="symbolic link"):
        check_model_file(save_model(folder / "m.onnx", external_tensor([("location", "up/secret")])))


def test_hard_link_is_refused(folder: Path) -> None:
    os.link(folder.parent / "secret", folder / "hard.bin")
    with pytest.raises(SecurityError, match="hard link"):
        check_model_file(save_model(folder / "m.onnx", external_tensor([("location", "hard.bin")])))


def test_folder_and_pipe_are_no_weights(folder: Path) -> None:
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    for name in ("sub", "pipe"):
        with pytest.raises(SecurityError, match="no regular file"):
            check_model_file(save_model(folder / "m.onnx", external_tensor([("location", name)])))


def test_link_to_a_model_with_outside_weights_is_refused(folder: Path) -> None:
    path = save_model(folder / "m.onnx", external_tensor([("location", "weights.bin"), ("length", "16")]))
    (folder / "link.onnx").symlink_to(path)
    with pytest.raises(SecurityError, match="is a link"):
        check_model_file(folder / "link.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        [("location", "weights.bin"), ("location", "../secret")],
        [("location", "weights.bin"), ("basepath", "/etc")],
        [("location", "weights.bin"), ("offset", "-1")],
        [("location", "weights.bin"), ("length", "0x10")],
        [("location", "weights.bin"), ("offset", "9" * 40)],
    ],
)
def test_unusual_description_of_the_file_is_refused(entries: Entries, folder: Path) -> None:
    with pytest.raises(SecurityError):
        check_model_file(save_model(folder / "m.onnx", external_tensor(entries)))


def test_short_or_missing_weights_are_named(folder: Path) -> None:
    entries = [("location", "weights.bin"), ("offset", "1"), ("length", "16")]
    with pytest.raises(InputError, match=r"ends at byte 17 of 'weights\.bin', which has 16"):
        check_model_file(save_model(folder / "m.onnx", external_tensor(entries)))
    with pytest.raises(InputError, match=r"needs the file 'gone\.bin'"):
        check_model_file(save_model(folder / "m.onnx", external_tensor([("location", "gone.bin")])))


def test_hostile_tensor_is_found_in_constants_subgraphs_functions_and_by_its_entries_alone(folder: Path) -> None:
    hostile = external_tensor([("location", "../secret")])
    constant = helper.make_node("Constant", [], ["logits"], value=hostile)
    inner = helper.make_graph(
        [constant], "inner", [], [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2])]
    )
    for node in (constant, helper.make_node("If", ["x"], ["logits"], then_branch=inner, else_branch=inner)):
        with pytest.raises(SecurityError):
            check_model_file(save_model(folder / "m.onnx", node=node))
    model = onnx.load(save_model(folder / "m.onnx"))
    model.functions.append(helper.make_function("d", "f", [], ["logits"], [constant], [helper.make_opsetid("", 17)]))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SecurityError):
        check_model_file(folder / "m.onnx")
    hostile.data_location = TensorProto.DEFAULT
    with pytest.raises(SecurityError):
        check_model_file(save_model(folder / "m.onnx", hostile))


def test_every_truncation_is_refused(folder: Path) -> None:
    whole = save_model(folder / "m.onnx").read_bytes()
    for size in range(len(whole)):
        (folder / "cut.onnx").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.onnx: is not a whole ONNX model"):
            check_model_file(folder / "cut.onnx")


def test_other_files_are_refused(folder: Path) -> None:
    (folder / "text.onnx").write_text("import os\nthis is not a model\n")
    (folder / "pickle.onnx").write_bytes(pickle.dumps({"weights": list(range(99))}))
    with zipfile.ZipFile(folder / "zip.onnx", "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 99)
    (folder / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    for name in ("text", "pickle", "zip", "pointer"):
        with pytest.raises(InputError, match="is not a whole ONNX model"):
            check_model_file(folder / f"{name}.onnx")
    with pytest.raises(InputError, match="this is a folder"):
        check_model_file(folder)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_described_and_never_crash(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError):
        describe(path)


def test_description_lists_inputs_outputs_opset_and_producer(folder: Path) -> None:
    told = describe(save_model(folder / "m.onnx"))
    assert told.model_dump() == {
        "inputs": [{"name": "x", "dtype": "float32", "dims": ["batch", 2]}],
        "outputs": [{"name": "logits", "dtype": "float32", "dims": ["batch", 2]}],
        "opset": 17,
        "producer": "unknown",
    }


def test_weights_listed_among_the_inputs_are_not_inputs(folder: Path) -> None:
    model = onnx.load(save_model(folder / "m.onnx", ir_version=3))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2]))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert [value.name for value in describe(folder / "m.onnx").inputs] == ["x"]


def test_names_from_a_file_are_made_printable(folder: Path) -> None:
    model = onnx.load(save_model(folder / "m.onnx"))
    model.producer_name = "\x1b]0;title\x07"
    model.graph.output[0].name = "a\u202eb"
    Path(folder / "m.onnx").write_bytes(model.SerializeToString())
    told = describe(folder / "m.onnx")
    assert told.producer.isprintable()
    assert "\u202e" not in told.outputs[0].name
