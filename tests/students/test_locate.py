from __future__ import annotations

import json
import pickle
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgekd.errors import InputError, SecurityError, ToolError
from edgekd.students.locate import locate_model


def model_folder(folder: Path, *, weights: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if weights:
        save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    return folder


def package(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "__init__.py").write_text("raise RuntimeError('this package must not be imported')\n")
    monkeypatch.syspath_prepend(root)
    return root / name


def test_a_local_folder_is_found_relative_to_the_base(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "models" / "teacher")
    assert locate_model("models/teacher", tmp_path) == str(folder)
    assert locate_model(str(folder), Path("/")) == str(folder)


@pytest.mark.parametrize("place", [".", "model", "data/model"])
def test_the_model_inside_a_package_is_found_without_importing_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = package(tmp_path, "carrier_of_a_model", monkeypatch)
    (root / place).mkdir(parents=True, exist_ok=True)
    (root / place / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({"a": torch.zeros(2)}, root / place / "model.safetensors")
    assert locate_model("package:carrier-of-a-model", tmp_path) == str((root / place).resolve())
    assert "carrier_of_a_model" not in sys.modules


def test_a_configuration_that_is_no_model_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = package(tmp_path, "carrier_with_pooling", monkeypatch)
    (root / "1_Pooling").mkdir()
    (root / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    expected = model_folder(root / "model")
    assert locate_model("package:carrier_with_pooling", tmp_path) == str(expected)


def test_a_package_three_levels_deep_or_with_two_models_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = package(tmp_path, "carrier_too_deep", monkeypatch)
    model_folder(deep / "a" / "b" / "c")
    with pytest.raises(InputError, match=r"no folder with the config\.json"):
        locate_model("package:carrier_too_deep", tmp_path)
    both = package(tmp_path, "carrier_of_two", monkeypatch)
    model_folder(both / "a")
    model_folder(both / "b")
    with pytest.raises(InputError, match="several models"):
        locate_model("package:carrier_of_two", tmp_path)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="pip install no_such_package_anywhere"):
        locate_model("package:no_such_package_anywhere", tmp_path)


@pytest.mark.parametrize("name", ["package:", "package:a.b", "package:../x", "package:a b"])
def test_a_package_name_that_could_mean_more_than_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="package:NAME"):
        locate_model(name, tmp_path)


def test_a_module_without_a_spec_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odd_module", types.ModuleType("odd_module"))
    with pytest.raises(ToolError, match="not installed"):
        locate_model("package:odd_module", tmp_path)


@pytest.mark.parametrize("name", ["bert-base-uncased", "owner/name", "owner_1/name.v2-x", "a"])
def test_hub_ids_are_left_to_transformers(name: str, tmp_path: Path) -> None:
    assert locate_model(name, tmp_path) == name


@pytest.mark.parametrize(
    "name",
    ["", "a/b/c", "../up", "./here", "/abs/olute", "a//b", "a..b", "a--b", "-a", "a.", "o/\nname", "é", "a" * 97],
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(name: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty" / "deep"
    empty.mkdir(parents=True)
    with pytest.raises(InputError):
        locate_model(name, empty)


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x")
    with pytest.raises(InputError, match="this is a file"):
        locate_model("weights", tmp_path)


def test_a_folder_without_configuration_or_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        locate_model("bare", tmp_path)
    model_folder(tmp_path / "light", weights=False)
    with pytest.raises(InputError, match="no weights"):
        locate_model("light", tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_alone_are_refused(name: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "old", weights=False)
    (folder / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(SecurityError, match=f"pickled .{name}"):
        locate_model("old", tmp_path)


def test_pickles_beside_safetensors_are_left_closed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "both")
    (folder / "training_args.bin").write_bytes(pickle.dumps({"a": 1}))
    assert locate_model("both", tmp_path) == str(folder)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_a_safetensors_name_is_refused(protocol: int, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "trap")
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": [1] * 50}, protocol=protocol))
    with pytest.raises(SecurityError, match="pickle or zip"):
        locate_model("trap", tmp_path)


def test_a_torch_archive_under_a_safetensors_name_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "trap")
    torch.save({"a": torch.zeros(3)}, folder / "model.safetensors")
    assert zipfile.is_zipfile(folder / "model.safetensors")
    with pytest.raises(SecurityError, match="pickle or zip"):
        locate_model("trap", tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 40, b"version https://git-lfs", (10**6).to_bytes(8, "little") + b"{}"]
)
def test_a_broken_or_truncated_weights_file_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a safetensors file"):
        locate_model("broken", tmp_path)


def test_an_adapter_is_refused_because_it_names_another_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(InputError, match="adapter"):
        locate_model("adapter", tmp_path)


@pytest.mark.parametrize(
    ("shard", "error", "message"),
    [
        ("../other/model.safetensors", SecurityError, "same folder"),
        ("pytorch_model.bin", SecurityError, "expected safetensors"),
        ("model-2.safetensors", InputError, "which is missing"),
    ],
)
def test_an_index_may_only_name_safetensors_of_its_folder(
    shard: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "sharded")
    table = {"weight_map": {"a": "model.safetensors", "b": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(error, match=message):
        locate_model("sharded", tmp_path)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(InputError, match="no weight_map"):
        locate_model("sharded", tmp_path)
