"""A phone through adb; the stand-in runs commands on this machine, and goes away when it is told to."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from edgekd.errors import ConnectError, HostError, HostTimeout, InputError, LinkLost, ToolError
from edgekd.hosts import upload
from edgekd.hosts.adb import AdbHost
from edgekd.hosts.grammar import adb_serial_from_url
from edgekd.hosts.open import ADB_WORKSPACE, open_host


@pytest.fixture
def phone(adb: Path, tmp_path: Path) -> AdbHost:
    return AdbHost("PHONE1", workspace=str(tmp_path / "work"))


def calls(adb: Path) -> list[list[str]]:
    return [json.loads(line) for line in (adb / "calls").read_text().splitlines()]


def test_every_call_names_the_phone_and_no_word_of_ours_begins_like_an_option(
    adb: Path, phone: AdbHost, tmp_path: Path
) -> None:
    local = tmp_path / "-s x; touch y"
    local.write_bytes(b"data")
    phone.put(local, "blobs/a")
    phone.run(["-n", "--help", "$HOME"], timeout_s=10)
    for call in calls(adb):
        assert call[:2] == ["-s", "PHONE1"]
        assert [word for word in call[2:] if word.startswith("-")] in ([], ["--"])
    assert {call[2] for call in calls(adb)} == {"get-state", "exec-out", "push"}


def test_second_put_pushes_nothing(adb: Path, phone: AdbHost, tmp_path: Path) -> None:
    local = tmp_path / "model"
    local.write_bytes(random.Random(1).randbytes(100_000))
    assert phone.put(local, "blobs/m") is True
    assert phone.put(local, "blobs/m") is False
    assert [call[2] for call in calls(adb)].count("push") == 1
    (tmp_path / "work" / "blobs" / "m").write_bytes(bytes(100_000))
    assert phone.put(local, "blobs/m") is True
    assert [path.name for path in (tmp_path / "work" / "blobs").iterdir()] == ["m"]


@pytest.mark.parametrize("after", [0, 10, 40, 60, 75, 100])
def test_phone_that_goes_away_in_a_command_is_a_lost_link_and_never_a_short_answer(
    after: int, adb: Path, phone: AdbHost
) -> None:
    (adb / "cut").write_text(str(after))
    with pytest.raises(LinkLost):
        phone.run(["sh", "-c", "echo all of it; exit 0"], timeout_s=10)


def test_phone_that_goes_away_in_a_read_gives_no_part_of_a_file(adb: Path, phone: AdbHost) -> None:
    phone.write("runs/samples", b"x" * 1000)
    (adb / "cut").write_text("600")
    with pytest.raises(LinkLost, match="cut off"):
        phone.read("runs/samples", max_bytes=5000)


def test_broken_push_leaves_the_old_file_and_is_tried_again(
    adb: Path, phone: AdbHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    local = tmp_path / "model"
    local.write_bytes(b"old")
    phone.put(local, "blobs/m")
    local.write_bytes(b"new content")
    (adb / "cut").write_text("4000")  # enough for what a command says, not for the end of a push
    local.write_bytes(random.Random(2).randbytes(9000))
    before = len(calls(adb))
    with pytest.raises(LinkLost, match=r"sending blobs/m.*device offline"):
        phone.put(local, "blobs/m")
    assert [call[2] for call in calls(adb)[before:]].count("push") == upload.ATTEMPTS
    assert (tmp_path / "work" / "blobs" / "m").read_bytes() == b"old"
    (adb / "cut").unlink()
    assert phone.put(local, "blobs/m") is True
    assert (tmp_path / "work" / "blobs" / "m").read_bytes() == local.read_bytes()


def test_push_that_the_phone_refuses_is_not_tried_again(adb: Path, phone: AdbHost, tmp_path: Path) -> None:
    local = tmp_path / "model"
    local.write_bytes(b"data")
    (adb / "refuses").write_text("adb: error: failed to copy: remote couldn't create file: Permission denied")
    with pytest.raises(HostError, match=r"cannot be written there; adb said: .*Permission denied"):
        phone.put(local, "blobs/m")
    assert [call[2] for call in calls(adb)].count("push") == 1


def test_push_past_its_deadline_is_stopped(adb: Path, phone: AdbHost, tmp_path: Path) -> None:
    local = tmp_path / "model"
    local.write_bytes(b"data")
    (adb / "slow").touch()
    start = time.monotonic()
    with pytest.raises(HostTimeout):
        phone.put(local, "blobs/m", timeout_s=1.5)
    assert time.monotonic() - start < 10


def test_stopped_command_leaves_no_output_files(phone: AdbHost, tmp_path: Path) -> None:
    with pytest.raises(HostTimeout):
        phone.run(["sh", "-c", "echo x; sleep 60"], timeout_s=0.7)
    phone.run(["true"], timeout_s=10)
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [("unauthorized", "Allow this computer on the screen"), ("offline", "does not reach this phone")],
)
def test_phone_that_is_not_ready_is_a_connect_error_with_the_way_out(state: str, said: str, adb: Path) -> None:
    (adb / "state").write_text(state)
    with pytest.raises(ConnectError, match=said):
        AdbHost("PHONE1")


def test_unknown_serial_and_absent_program_are_told(adb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectError, match=r"device 'OTHER' not found.*adb devices"):
        AdbHost("OTHER")
    monkeypatch.setenv("PATH", str(adb))
    with pytest.raises(ToolError, match="adb is not installed") as caught:
        AdbHost("PHONE1")
    assert caught.value.exit_code == 4


def test_workspace_that_cannot_be_made_is_told(adb: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"workspace .* cannot be made"):
        AdbHost("PHONE1", workspace=str(tmp_path / "file" / "work"))


def test_url_opens_the_phone_in_the_folder_for_programs(adb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("edgekd.hosts.adb.AdbHost.__init__", lambda self, serial, **said: made.append((serial, said)))
    open_host("adb:PHONE1")
    assert made == [("PHONE1", {"python": "python3", "workspace": ADB_WORKSPACE})]
    assert ADB_WORKSPACE.startswith("/data/local/tmp/")


@pytest.mark.parametrize("url", ["adb:", "adb:-s", "adb:a b", "adb:a;b", "adb:a\n", "adb:../x", "adb://x", "adb:$(x)"])
def test_serial_outside_the_grammar_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="serial number"):
        adb_serial_from_url(url)


@pytest.mark.parametrize("serial", ["R58M123ABC", "emulator-5554", "192.168.1.5:5555", "adb-X_y._adb-tls-connect._tcp"])
def test_serials_that_adb_shows_are_taken(serial: str) -> None:
    assert adb_serial_from_url(f"adb:{serial}") == serial
