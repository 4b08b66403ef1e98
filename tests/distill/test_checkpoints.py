from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_digits import tiny_bert, tiny_vit

from edgekd.distill.checkpoints import MARKER, WEIGHTS, Checkpoint, keep_only, load_weights, newest, save_weights, seal
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.settings import EpochRecord
from edgekd.errors import EdgekdError, StorageError


def make(home: Path, epochs: int, *, sealed: bool = True, stopped: Any = None) -> Any:
    folder = home / f"checkpoint-{epochs}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"x" * 100)
    history = tuple(EpochRecord(number, number, 1.0, 0.5, 0.8, 0.9, 1e-3, 0.1, 0.05) for number in range(1, epochs + 1))
    if sealed:
        seal(Checkpoint(folder, history, stopped, 2.5))
    return folder


def test_the_newest_whole_checkpoint_is_read_back_as_it_was_sealed(tmp_path: Path) -> None:
    make(tmp_path, 9, stopped="early")
    folder = make(tmp_path, 10)
    found = newest(tmp_path)
    assert found.folder == folder
    assert [record.epoch for record in found.history] == list(range(1, 11))
    assert (found.stopped, found.seconds) == (None, 2.5)


def test_a_checkpoint_without_its_marker_does_not_count_and_is_removed(tmp_path: Path) -> None:
    whole, cut = make(tmp_path, 1), make(tmp_path, 2, sealed=False)
    assert newest(tmp_path).folder == whole
    assert not cut.exists()


def damage_file_size(folder: Path) -> None:
    (folder / "weights").write_bytes(b"x" * 99)


def damage_missing_file(folder: Path) -> None:
    (folder / "weights").unlink()


def damage_marker(folder: Path) -> None:
    (folder / MARKER).write_text("{")


def damage_marker_shape(folder: Path) -> None:
    (folder / MARKER).write_text("[]")


@pytest.mark.parametrize("damage", [damage_file_size, damage_missing_file, damage_marker, damage_marker_shape])
def test_a_damaged_checkpoint_does_not_count(tmp_path: Path, damage: Any) -> None:
    whole = make(tmp_path, 1)
    damage(make(tmp_path, 2))
    assert newest(tmp_path).folder == whole


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest(tmp_path) is None


def test_only_the_named_checkpoints_are_kept(tmp_path: Path) -> None:
    folders = [make(tmp_path, number) for number in (1, 2, 3)]
    keep_only(tmp_path, [folders[0], folders[2]])
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_weights_come_back_bit_by_bit(tmp_path: Path) -> None:
    model, other = tiny_bert(1), tiny_bert(2)
    save_weights(model, tmp_path / WEIGHTS)
    load_weights(other, tmp_path / WEIGHTS)
    assert weights_hash(other) == weights_hash(model)


def test_tied_weights_come_back_tied(tmp_path: Path) -> None:
    def tied(seed: int) -> Any:
        torch.manual_seed(seed)
        first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        second.weight = first.weight
        return torch.nn.Sequential(first, second)

    model, other = tied(1), tied(2)
    save_weights(model, tmp_path / WEIGHTS)
    load_weights(other, tmp_path / WEIGHTS)
    assert weights_hash(other) == weights_hash(model)
    assert other[0].weight is other[1].weight


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(tiny_vit(), tmp_path / WEIGHTS)
    with pytest.raises(StorageError, match="cannot be read back"):
        load_weights(tiny_bert(), tmp_path / WEIGHTS)


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgekdError, match="file"):
        save_weights(tiny_vit(), tmp_path / "file" / WEIGHTS)
