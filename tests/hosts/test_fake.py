from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import HostTimeout, InputError
from edgekd.hosts.fake import Answer, FakeHost


def test_what_was_asked_of_the_board_can_be_told(tmp_path: Path) -> None:
    local = tmp_path / "a"
    local.write_bytes(b"a")
    host = FakeHost({("true",): Answer()})
    host.run(["true"], timeout_s=1)
    host.put(local, "blobs/a")
    host.put(local, "blobs/a")
    assert (host.runs, host.sent) == ([("true",)], ["blobs/a"])


def test_response_may_depend_on_the_files_of_the_board() -> None:
    host = FakeHost(respond=lambda board, argv: Answer(stdout=board.files[argv[1]]))
    host.write("note", b"hello")
    assert host.run(["cat", "note"], timeout_s=1).stdout == "hello"


def test_command_that_takes_too_long_writes_nothing() -> None:
    host = FakeHost({("slow",): Answer(files={"made": b"x"}, takes_s=2.0)})
    with pytest.raises(HostTimeout):
        host.run(["slow"], timeout_s=1)
    assert host.files == {}


def test_scripted_command_cannot_write_out_of_the_workspace() -> None:
    host = FakeHost({("bad",): Answer(files={"../out": b"x"})})
    with pytest.raises(InputError):
        host.run(["bad"], timeout_s=1)
