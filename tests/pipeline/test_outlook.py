"""What a dry run tells of the data."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_recipe import TINY, run_tiny
from tiny_text import texts, write_recipe, write_texts

from edgekd.errors import DataError, MissingExtra, RecordError
from edgekd.files import read_json, sha256_of_file, write_json
from edgekd.pipeline import context as module
from edgekd.pipeline.context import Context
from edgekd.pipeline.ledger import Ledger
from edgekd.pipeline.outlook import data_outlook
from edgekd.pipeline.run import describe, plan
from edgekd.recipe import load_recipe


def _recipe(folder: Path) -> str:
    train = texts(60)
    return write_recipe(folder, train=train, validation=texts(20, start=3000), test=[*texts(19, start=1000), train[0]])


def test_counts_classes_and_leaks_are_told_before_anything_runs(tmp_path: Path) -> None:
    found = data_outlook(Context(load_recipe(_recipe(tmp_path)), tmp_path / "run", Path.cwd()), current=False)
    head, columns, train, validation, test, warning = found.lines
    assert head == "data"
    assert columns.split()[:5] == ["part", "examples", "classes", "smallest", "largest"]
    assert train.split() == ["train", "60", "2", "30", "30", "-", "-", "0", "-"]
    assert validation.split() == ["validation", "20", "2", "10", "10", "0", "-", "0", "-"]
    assert test.split() == ["test", "20", "2", "9", "11", "1", "(5.0", "%)", "0", "0", "-"]
    assert warning.startswith("  warning: 1 of 20 test examples (5.0 %) also stand in train")
    assert found.refusal is None
    assert not (tmp_path / "run").exists()


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    recipe = load_recipe(_recipe(tmp_path), ["data.drop_leaked=true"])
    found = data_outlook(Context(recipe, tmp_path / "run", Path.cwd()), current=False)
    assert found.lines[0] == "data, 1 training examples left out (data.drop_leaked)"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.max_leakage=0", r"1 of 20 test examples \(5\.0 %\) also stand in the training part"),
        ("data.labels=[bad, good, fair]", None),
        ("data.source=nowhere", "no such file or folder"),
    ],
)
def test_what_a_run_would_refuse_is_the_refusal_of_the_plan(tmp_path: Path, override: str, said: str | None) -> None:
    planned = plan(_recipe(tmp_path), [override], tmp_path / "run")
    if said is None:
        planned.refuse()
        assert "  warning: train has no example of fair: no model can learn that" in planned.data
        return
    assert describe(planned).endswith("data refused")
    with pytest.raises(DataError, match=said):
        planned.refuse()


def test_data_on_the_hub_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    recipe = load_recipe(_recipe(tmp_path), ["data={source: hub:nobody/nothing}"])
    found = data_outlook(Context(recipe, tmp_path / "run", Path.cwd()), current=False)
    assert found.lines == ("data not looked at: hub:nobody/nothing is on the hub, and a dry run fetches nothing",)


def test_a_missing_library_is_said_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingExtra("numpy", "train")

    context = Context(load_recipe(_recipe(tmp_path)), tmp_path / "run", Path.cwd())
    monkeypatch.setattr(module.Context, "splits", property(missing))
    (line,) = data_outlook(context, current=False).lines
    assert line.startswith("data not looked at: this step needs numpy")


def test_what_a_run_has_found_is_read_and_not_searched_again(
    root: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the data was read")

    monkeypatch.setattr(module.Context, "splits", property(refuse))
    assert data_outlook(context, current=True).lines[2].split()[:2] == ["train", "600"]
    table = read_json(root / "data.json")
    write_json(root / "data.json", {part: table[part] for part in ("train", "validation", "test")})
    with pytest.raises(AssertionError, match="the data was read"):
        data_outlook(context, current=True)
    write_json(root / "data.json", table | {"classes": 3})
    with pytest.raises(RecordError, match=r"data\.json: classes"):
        data_outlook(context, current=True)


def test_a_tighter_limit_refuses_a_kept_teacher_without_losing_it(root: Path) -> None:
    table = read_json(root / "data.json")
    table["leakage"][1] |= {"same": 20, "share": 0.06}
    write_json(root / "data.json", table)
    ledger = Ledger(root)
    entry = ledger.entry("teacher")
    assert entry is not None
    ledger.record("teacher", entry.inputs, [root / name for name in ("teacher", "teacher.json", "data.json")])
    before = sha256_of_file(root / "teacher" / "model.safetensors")
    assert run_tiny(root, only="teacher")[1].current == ["teacher"]
    with pytest.raises(
        DataError, match=r"data\.json: 6\.0 % of the test part also .* at most 5\.0 % \(data\.max_leakage"
    ):
        run_tiny(root, "data.max_leakage=5 %", only="teacher")
    planned = plan("quickstart", [*TINY, "data.max_leakage=5 %"], root, only="teacher")
    with pytest.raises(DataError, match=r"at most 5\.0 %"):
        planned.refuse()
    assert run_tiny(root, only="teacher")[1].current == ["teacher"]
    assert sha256_of_file(root / "teacher" / "model.safetensors") == before


def test_only_a_plan_with_the_step_teacher_looks_at_the_data(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    assert plan(recipe, [], tmp_path / "run", only="size").data == ()
    assert plan(recipe, [], tmp_path / "run", only="teacher").data


def test_neither_torch_nor_transformers_is_loaded_for_it(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'transformers', 'onnx', 'onnxruntime', 'datasets'):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
sys.argv = ['edgekd', 'run', {recipe!r}, '--dry-run']
from edgekd.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning: 1 of 20 test examples (5.0 %) also stand in train" in done.stdout
    write_texts(tmp_path / "data" / "test.csv", texts(20))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout.endswith("data refused\n")
    assert "20 of 20 test examples (100.0 %) also stand in the training part" in done.stderr
