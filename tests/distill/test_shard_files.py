"""The files of a cache are the same whoever writes them. Two real processes are started twice, for all tests here."""

from pathlib import Path
from typing import Any

import cache_processes as driver
import numpy as np
import pytest
from launching import launched, left_by

from edgekd.distill.shard_files import INDEX, Plan, Shard, shard_files, usual_shard_rows
from edgekd.errors import RecordError


def plan_of(home: Path, asked: list[Shard], rows: int = 10) -> Plan:
    def content(shard: Shard) -> bytes:
        asked.append(shard)
        return f"{shard.start} to {shard.stop}".encode()

    return Plan(home, {"of": "numbers"}, np.arange(rows, dtype=np.int64), 4, content)


def test_shards_are_written_once_and_in_the_order_of_the_rows(tmp_path: Path) -> None:
    asked: list[Shard] = []
    heard: list[tuple[int, int]] = []
    paths = shard_files(plan_of(tmp_path, asked), lambda done, rows: heard.append((done, rows)))
    assert [path.read_text() for path in paths] == ["0 to 4", "4 to 8", "8 to 10"]
    assert heard == [(4, 10), (8, 10), (10, 10)]
    assert shard_files(plan_of(tmp_path, asked)) == paths
    assert len(asked) == 3


def test_a_shard_that_is_there_counts_only_if_it_is_of_these_rows(tmp_path: Path) -> None:
    asked: list[Shard] = []
    paths = shard_files(plan_of(tmp_path, asked))
    (tmp_path / INDEX).unlink()
    paths[1].unlink()
    assert shard_files(plan_of(tmp_path, asked)) == paths
    assert [shard.start for shard in asked] == [0, 4, 8, 4]
    (tmp_path / INDEX).unlink()
    longer = shard_files(plan_of(tmp_path, asked, rows=12))
    assert [shard.start for shard in asked[4:]] == [8]
    assert longer[:2] == paths[:2]


@pytest.mark.parametrize(
    "index", ["{}", "[]", '{"of": "letters", "shards": {"a": "b"}}', '{"of": "numbers", "shards": {}}']
)
def test_an_index_of_something_else_is_refused(index: str, tmp_path: Path) -> None:
    shard_files(plan_of(tmp_path, []))
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(RecordError, match="does not describe this teacher"):
        shard_files(plan_of(tmp_path, []))


def test_many_rows_make_shards_for_several_processes_and_few_rows_one() -> None:
    assert [usual_shard_rows(rows) for rows in (1, 256, 8192, 16_384, 10**6)] == [256, 256, 256, 512, 1024]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[Any]:
    run = launched(driver.__file__, folder, "whole")
    assert run.returncode == 0, run.stderr
    return left_by(folder, "whole")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*/*") if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What one process hears and writes."""
    home = tmp_path_factory.mktemp("alone")
    return driver.asked(home), files_in(home)


def test_each_process_asks_about_its_share_and_the_files_are_those_of_one(
    folder: Path, whole: list[Any], alone: tuple[dict[str, Any], dict[str, bytes]]
) -> None:
    first, second = (told["first"] for told in whole)
    assert (first["asked"], second["asked"]) == (40, 30)
    assert first["logits"] == second["logits"] == alone[0]["logits"]
    assert first["rows"] == list(range(driver.ROWS))
    assert files_in(folder / "whole") == alone[1]
    assert len(alone[1]) == 8


def test_the_first_process_alone_tells_how_far_all_have_come(whole: list[Any]) -> None:
    first, second = (told["first"]["heard"] for told in whole)
    assert second == []
    assert len(first) == 4
    done = [rows for rows, _ in first]
    assert done == sorted(done)
    assert min(done) >= 10
    assert {rows for _, rows in first} == {driver.ROWS}


def test_what_is_there_is_not_asked_again(whole: list[Any]) -> None:
    for told in whole:
        assert told["again"]["asked"] == 0
        assert told["again"]["logits"] == told["first"]["logits"]
        assert told["all"] == [0, 1]


def test_what_one_process_meets_is_refused_by_all(whole: list[Any]) -> None:
    first, second = (told["refusals"] for told in whole)
    assert first == second
    assert first["other"].startswith("InputError: teacher cache: the processes were given different teachers or data")
    assert "is not there for process 0, expected a folder that all processes see" in first["apart"]
    assert first["nan"].startswith("Diverged: prediction: found logits that are NaN")
    assert (first["written"], first["indexed"]) == ("2", "0")
    assert first["changed"].startswith("RecordError")
    assert "has changed since it was written" in first["changed"]


def test_after_a_kill_another_number_of_processes_goes_on_to_the_same_files(
    folder: Path, alone: tuple[dict[str, Any], dict[str, bytes]]
) -> None:
    killed = launched(driver.__file__, folder, "killed")
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert not list(folder.glob("killed-*.json"))
    left = files_in(folder / "killed")
    assert INDEX not in left
    assert 2 <= len(left) <= 6
    resumed = driver.asked(folder / "killed")
    assert resumed["asked"] == driver.ROWS - driver.SHARD_ROWS * len(left)
    assert resumed["logits"] == alone[0]["logits"]
    assert files_in(folder / "killed") == alone[1]
