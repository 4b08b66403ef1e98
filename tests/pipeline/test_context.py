"""What identifies inputs: content where it is local, settings always."""

import os
from pathlib import Path

import pytest
from tiny_recipe import TINY

from edgekd.errors import InputError, ProfileError, RecordError
from edgekd.files import write_json
from edgekd.host_choice import HostChoice
from edgekd.pipeline import context as module
from edgekd.pipeline.context import (
    Context,
    Silent,
    data_facts,
    file_facts,
    inputs_hash,
    machine_facts,
    model_facts,
    open_choice,
)
from edgekd.recipe import Data, load_recipe


def test_the_hash_of_inputs_depends_on_each_of_them_and_on_their_order() -> None:
    assert inputs_hash([1, "a"]) == inputs_hash([1, "a"])
    assert len({inputs_hash([1, "a"]), inputs_hash(["a", 1]), inputs_hash([1]), inputs_hash([1, "b"])}) == 4


def test_the_hash_of_inputs_depends_on_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = inputs_hash("a")
    monkeypatch.setattr(module, "__version__", "0.0.0")
    assert inputs_hash("a") != before


def test_a_file_is_its_name_and_content_and_a_huge_one_its_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one")
    before = file_facts(path)
    path.write_text("two")
    assert file_facts(path) != before
    monkeypatch.setattr(module, "MAX_HASHED_BYTES", 2)
    assert file_facts(path) == ["a.csv", 3, path.stat().st_mtime_ns]
    with pytest.raises(InputError, match=r"b\.csv: no such file"):
        file_facts(tmp_path / "b.csv")


def test_data_changes_with_its_content_and_its_settings(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    train, rest = tmp_path / "d" / "train.csv", tmp_path / "d" / "test.csv"
    train.write_text("text,label\n")
    facts = [data_facts(Data(source="d"), tmp_path), data_facts(Data(source="d", max_length=64), tmp_path)]
    rest.write_text("text,label\n")
    facts.append(data_facts(Data(source="d"), tmp_path))
    train.write_text("text,label\nx,1\n")
    facts.append(data_facts(Data(source="d"), tmp_path))
    facts.append(data_facts(Data(source="d", train="train.csv"), tmp_path))
    facts.append(data_facts(Data(source="d/train.csv"), tmp_path))
    facts.append(data_facts(Data(source="d", drop_leaked=True), tmp_path))
    assert len({inputs_hash(each) for each in facts}) == len(facts)
    assert data_facts(Data(source="d", max_leakage=0.5), tmp_path) == facts[3]


def test_unnamed_files_beside_the_named_parts_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n")
    named = Data(source=str(tmp_path), train="train.csv")
    before = data_facts(named, tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert data_facts(named, tmp_path) == before


def test_every_image_of_a_folder_counts_under_its_class(tmp_path: Path) -> None:
    source = tmp_path / "d"
    for name in ("train/cat", "train/dog", "../far/cat", "../near/cat"):
        (source / name).mkdir(parents=True)
        (source / name / "1.png").write_bytes(b"one")
    (source / "test").symlink_to(tmp_path / "near")
    asked = Data(source="d", train="train", validation="../far", test="test")
    seen = [inputs_hash(data_facts(asked, tmp_path))]

    def changed(data: Data = asked) -> bool:
        seen.append(inputs_hash(data_facts(data, tmp_path)))
        return seen[-1] not in seen[:-1]

    for place in ("d/train/cat", "far/cat", "near/cat"):
        (tmp_path / place / "1.png").write_bytes(b"three")
        assert changed()
        os.utime(tmp_path / place / "1.png", ns=(0, 0))
        assert changed()
        (tmp_path / place / "2.png").write_bytes(b"two")
        assert changed()
    (source / "train" / "cat" / "2.png").rename(source / "train" / "dog" / "2.png")
    assert changed()
    (source / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    assert not changed()
    (source / "train" / "cat" / "1.png").unlink()
    assert changed()
    (source / "train" / "cat" / os.fsdecode(b"\xe4.png")).write_bytes(b"x")
    assert changed()
    assert changed(Data(source="d"))


def test_named_files_that_lie_elsewhere_count(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "train.csv").write_text("text,label\n")
    asked = Data(source="d", train="../train.csv")
    before = data_facts(asked, tmp_path)
    (tmp_path / "train.csv").write_text("text,label\nx,1\n")
    assert data_facts(asked, tmp_path) != before


def test_the_labels_of_an_idx_folder_count(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"a")
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(b"a")
    named = Data(source=str(tmp_path), train="train-images-idx3-ubyte")
    before = data_facts(named, tmp_path)
    labels.write_bytes(b"b")
    assert data_facts(named, tmp_path) != before


def test_data_that_is_not_there_counts_as_what_is_used_otherwise(tmp_path: Path) -> None:
    other = Data(source="sklearn:digits")
    assert data_facts(Data(source="none", otherwise=other), tmp_path) == data_facts(other, tmp_path)
    (tmp_path / "none").mkdir()
    assert data_facts(Data(source="none", otherwise=other), tmp_path) != data_facts(other, tmp_path)


def test_a_local_model_is_its_files_and_another_its_name(tmp_path: Path) -> None:
    assert model_facts("org/model", tmp_path) == "org/model"
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    before = model_facts("m", tmp_path)
    (tmp_path / "m" / "config.json").write_text("{ }")
    assert model_facts("m", tmp_path) != before
    assert [item[0] for item in before] == ["config.json"]


def test_the_local_host_works_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_choice(HostChoice(), tmp_path) as host:
        host.write("a", b"1")
    assert (tmp_path / ".edgekd" / "a").read_bytes() == b"1"


def _hosts(folder: Path, text: str) -> None:
    (folder / "h.yaml").write_text(f"hosts:\n  pi: {{{text}}}\n")
    (folder / "h.yaml").chmod(0o600)


def test_a_name_of_hosts_yaml_is_what_it_stands_for(tmp_path: Path) -> None:
    choice = HostChoice(url="pi", hosts="h.yaml")
    _hosts(tmp_path, 'url: "ssh://u@b"')
    assert machine_facts(choice, tmp_path) == machine_facts(HostChoice(url="ssh://u@b"), tmp_path) == "ssh://u@b"
    _hosts(tmp_path, 'url: "ssh://u@b", jump: [{url: "ssh://me@j:23", agent: true}]')
    assert machine_facts(choice, tmp_path) == ["ssh://u@b", "me@j:23"]
    _hosts(tmp_path, "url: local")
    assert machine_facts(choice, tmp_path) == machine_facts(HostChoice(), tmp_path)


def test_a_board_that_hosts_yaml_calls_another_device_is_refused(tmp_path: Path) -> None:
    _hosts(tmp_path, "url: local, device: raspberry-pi-5")
    recipe = load_recipe("quickstart", ["host.url=pi", "host.hosts=h.yaml", "device=generic-x86-64"])
    with (
        pytest.raises(
            InputError, match=r"hosts\.yaml calls it a raspberry-pi-5, the recipe's device is generic-x86-64"
        ),
        Context(recipe, tmp_path / "run", tmp_path).open_host(),
    ):
        pass


def test_a_context_reads_the_profile_and_the_data_once(context: Context) -> None:
    assert context.profile is context.profile
    assert context.profile.name == "generic-x86-64"
    assert context.splits is context.splits
    assert context.splits.kind == "image"
    assert len(context.splits.train) <= 600


def test_a_context_knows_what_a_step_left(context: Context) -> None:
    assert "teacher/model.safetensors" in context.left_by("teacher")
    assert context.left_by("none") == {}


def test_an_unknown_device_has_no_profile(tmp_path: Path) -> None:
    context = Context(load_recipe("quickstart", [*TINY, "device=toaster"]), tmp_path, tmp_path)
    with pytest.raises(ProfileError, match="toaster"):
        _ = context.profile


def test_silence_is_progress_too() -> None:
    silent = Silent()
    silent.begin("a", current=False)
    silent.update("b", 0.5)
    silent.end("a", "c")


def test_every_file_that_is_read_counts(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "hold.csv"):
        (tmp_path / name).write_text("text,label\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    cases = {
        "guessed beside named": (Data(source=str(tmp_path), test="hold.csv"), "train.csv"),
        "beside a file": (Data(source=str(tmp_path / "train.csv"), test="hold.csv"), "hold.csv"),
        "named": (Data(source=str(tmp_path), train="train.csv", test="hold.csv"), "hold.csv"),
        "an image below": (Data(source=str(tmp_path), train="train.csv"), "images/a.png"),
        "a hub id that is a folder": (Data(source=f"hub:{tmp_path}"), "test.csv"),
    }
    for case, (data, name) in cases.items():
        before = data_facts(data, tmp_path)
        (tmp_path / name).write_text((tmp_path / name).read_text() + "more,1\n")
        assert data_facts(data, tmp_path) != before, case


def test_the_sequence_is_the_recipes_or_what_was_chosen(tmp_path: Path) -> None:
    alone = Context(load_recipe("sst2"), tmp_path, tmp_path)
    assert alone.sequence == 64
    several = Context(load_recipe("sst2", ["bench={threads: 1}", "space.sequence=[16, 64]"]), tmp_path, tmp_path)
    write_json(tmp_path / "students.json", {"sequence": 16})
    assert several.sequence == 16
    write_json(tmp_path / "students.json", {"sequence": 32})
    with pytest.raises(RecordError, match=r"sequence is 32, expected one of space\.sequence"):
        _ = several.sequence


def test_documents_in_a_folder_beside_the_training_file_count(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("one", encoding="utf-8")
    (tmp_path / "held" / "deep").mkdir(parents=True)
    story = tmp_path / "held" / "deep" / "story.txt"
    story.write_text("two", encoding="utf-8")
    data = Data(source="train.txt", validation="held", test="held")
    before = data_facts(data, tmp_path)
    assert data_facts(data, tmp_path) == before
    story.write_text("another", encoding="utf-8")
    assert data_facts(data, tmp_path) != before
