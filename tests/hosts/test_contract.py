"""What every host promises, tried on each kind of host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekd.errors import HostError, HostTimeout, InputError
from edgekd.hosts.base import Host
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host

WORDS = ("plain", "two words", "it's", '"', "$HOME", "a;b", "*", "ünï", "-n", "`id`", "line\nbreak", "")
ECHO = ("python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *WORDS)
STREAMS = ("python3", "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
KILLED = ("python3", "-c", "import os; os.kill(os.getpid(), 9)")
MISSING = ("edgekd-no-such-program", "x")
WRITES = ("python3", "-c", "open('made.txt', 'wb').write(b'by the command')")
READS_INPUT = ("python3", "-c", "import sys; print(len(sys.stdin.read()))")
LONG = ("python3", "-c", "print('x' * 5000 + 'end', end='')")
SLEEPS = ("sh", "-c", "echo $$ > pid.txt; sleep 60 & sleep 60")
FLOOD_BYTES = 8 * 2**20
FLOOD = (
    "python3",
    "-c",
    f"import os\nfor _ in range({FLOOD_BYTES // 65536}): os.write(1, b'o' * 65536); os.write(2, b'e' * 65536)",
)

SCRIPT = {
    ECHO: Answer(stdout=(ascii(list(WORDS)) + "\n").encode()),
    STREAMS: Answer(7, b"out\n", b"err\n"),
    KILLED: Answer(None),
    WRITES: Answer(files={"made.txt": b"by the command"}),
    READS_INPUT: Answer(stdout=b"0\n"),
    LONG: Answer(stdout=b"x" * 5000 + b"end"),
    SLEEPS: Answer(takes_s=60),
    FLOOD: Answer(0, b"o" * FLOOD_BYTES, b"e" * FLOOD_BYTES),
}


@pytest.fixture(params=["local", "ssh", "ssh-without-sftp", "adb", "fake"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param == "local":
        with LocalHost(tmp_path / "work") as local:
            yield local
    elif request.param == "fake":
        with FakeHost(SCRIPT) as fake:
            yield fake
    elif request.param == "adb":
        request.getfixturevalue("adb")
        with open_host("adb:PHONE1", workspace=str(tmp_path / "work")) as phone:
            yield phone
    else:
        board = request.getfixturevalue("board" if request.param == "ssh" else "bare_board")
        known = board.known_hosts(tmp_path / "known_hosts")
        with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as ssh:
            yield ssh


def test_command_gives_status_and_both_streams_apart(host: Host) -> None:
    done = host.run(STREAMS, timeout_s=20)
    assert (done.exit_status, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_words_arrive_as_they_were_given(host: Host) -> None:
    assert host.run(ECHO, timeout_s=20).stdout == ascii(list(WORDS)) + "\n"


def test_command_ended_by_a_signal_has_no_status(host: Host) -> None:
    assert host.run(KILLED, timeout_s=20).exit_status is None


def test_missing_program_ends_with_127_and_is_named(host: Host) -> None:
    done = host.run(MISSING, timeout_s=20)
    assert done.exit_status == 127
    assert MISSING[0] in done.stderr


def test_command_runs_in_the_workspace(host: Host) -> None:
    host.run(WRITES, timeout_s=20)
    assert host.read("made.txt", max_bytes=100) == b"by the command"


def test_command_finds_its_input_empty(host: Host) -> None:
    assert host.run(READS_INPUT, timeout_s=20).stdout == "0\n"


def test_only_the_last_part_of_a_long_output_is_kept(host: Host) -> None:
    assert host.run(LONG, timeout_s=20, max_output_bytes=10).stdout == "x" * 7 + "end"


def test_eight_megabytes_on_both_streams_do_not_block(host: Host) -> None:
    done = host.run(FLOOD, timeout_s=60, max_output_bytes=2 * FLOOD_BYTES)
    assert (len(done.stdout), len(done.stderr)) == (FLOOD_BYTES, FLOOD_BYTES)


def test_command_past_its_deadline_is_stopped_with_its_children_and_the_host_goes_on(host: Host) -> None:
    start = time.monotonic()
    with pytest.raises(HostTimeout, match=r"did not end within 1\.00 s"):
        host.run(SLEEPS, timeout_s=1.0)
    assert time.monotonic() - start < 10
    if not isinstance(host, FakeHost):
        assert _living_session_of(int(host.read("pid.txt", max_bytes=20))) == []
    assert host.run(STREAMS, timeout_s=20).exit_status == 7


def _living_session_of(leader: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(leader) and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def test_impossible_command_is_refused(host: Host) -> None:
    for argv in ([], [""], ["echo", "a\0b"]):
        with pytest.raises(InputError):
            host.run(argv, timeout_s=5)


def test_file_comes_back_as_it_was_put_and_is_sent_once(host: Host, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    local = tmp_path / "local.bin"
    local.write_bytes(data)
    assert host.put(local, "blobs/a.bin") is True
    assert host.read("blobs/a.bin", max_bytes=len(data)) == data
    assert host.put(local, "blobs/a.bin") is False
    local.write_bytes(data[:-1] + b"!")
    assert host.put(local, "blobs/a.bin") is True
    assert host.read("blobs/a.bin", max_bytes=len(data))[-1:] == b"!"


def test_file_that_shrinks_well_arrives_whole_and_is_sent_once(host: Host, tmp_path: Path) -> None:
    data = bytes(range(251)) * 10_000
    local = tmp_path / "local.bin"
    local.write_bytes(data)
    assert host.put(local, "blobs/a.bin") is True
    assert host.read("blobs/a.bin", max_bytes=len(data)) == data
    assert host.put(local, "blobs/a.bin") is False


def test_missing_local_file_is_an_input_error(host: Host, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        host.put(tmp_path / "absent", "blobs/absent")


def test_written_bytes_are_read_back_and_replaced(host: Host) -> None:
    host.write("runs/one/spec.json", b"first")
    host.write("runs/one/spec.json", b"")
    assert host.read("runs/one/spec.json", max_bytes=0) == b""


def test_reading_stops_at_its_bound(host: Host) -> None:
    host.write("long", b"x" * 100_001)
    with pytest.raises(HostError, match="longer than the 100000 bytes"):
        host.read("long", max_bytes=100_000)
    assert len(host.read("long", max_bytes=100_001)) == 100_001


def test_missing_file_cannot_be_read(host: Host) -> None:
    with pytest.raises(HostError, match="absent"):
        host.read("absent", max_bytes=10)


def test_pipe_is_not_read_since_it_could_hold_up_for_ever(host: Host) -> None:
    if isinstance(host, FakeHost):
        host.write("pipe", b"too long")  # a board of files alone has no pipes
    else:
        host.run(["mkfifo", "pipe"], timeout_s=10)
    with pytest.raises(HostError, match="pipe is "):
        host.read("pipe", max_bytes=1)


def test_removing_takes_a_file_a_folder_or_nothing(host: Host) -> None:
    host.write("runs/one/a", b"a")
    host.write("runs/two", b"b")
    for remote in ("runs/one", "runs/two", "runs/absent"):
        host.remove(remote)
    for remote in ("runs/one/a", "runs/two"):
        with pytest.raises(HostError):
            host.read(remote, max_bytes=10)


OUTSIDE = ("", "/etc/passwd", "..", "a/../../b", "a//b", ".", "-rf", "a b", "a\nb", "~", "$HOME")


def test_path_out_of_the_workspace_is_refused_by_every_operation(host: Host, tmp_path: Path) -> None:
    local = tmp_path / "local.bin"
    local.write_bytes(b"x")
    operations: tuple[Callable[[str], object], ...] = (
        lambda remote: host.put(local, remote),
        lambda remote: host.write(remote, b"x"),
        lambda remote: host.read(remote, max_bytes=10),
        host.remove,
    )
    for remote in OUTSIDE:
        for operation in operations:
            with pytest.raises(InputError, match="inside the workspace"):
                operation(remote)
