from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.hosts.known_hosts import known_hosts_path
from edgekd.hosts.resolve import target_from_text, targets_from_text
from edgekd.hosts.target import Login

HOSTS = """
hosts:
  pi5: {url: "ssh://pi@pi5.lan:22", key: keys/pi, python: /opt/py/bin/python3, workspace: work, device: raspberry-pi-5}
  far:
    url: ssh://u@10.0.0.9
    key: /abs/far
    known_hosts: far_known
    jump:
      - {url: "ssh://me@bastion.example:2222", key: keys/jump}
      - {url: "ssh://me@inner", agent: true, known_hosts: inner_known}
  phone: {url: "adb:R58M123"}
  vault: {url: "ssh://u@vault", password: "env:VAULT_WORD"}
  here: {url: local}
groups: {lab: [pi5, phone], one: [pi5]}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yaml"
    path.write_text(HOSTS)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("url", ["local", "ssh://pi@b:22", "adb:R58M123"])
def test_url_needs_no_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = target_from_text(url, key=Path("k"), python="py")
    assert (found.name, found.url, found.login, found.python) == (url, url, Login(Path("k")), "py")


def test_name_stands_for_all_that_is_said_of_it(hosts: Path, tmp_path: Path) -> None:
    found = target_from_text("pi5", hosts=hosts)
    assert (found.name, found.url) == ("pi5", "ssh://pi@pi5.lan:22")
    assert found.login == Login(tmp_path / "keys" / "pi")
    assert (found.python, found.workspace, found.device) == ("/opt/py/bin/python3", "work", "raspberry-pi-5")


def test_file_of_a_device_stands_where_hosts_yaml_does(tmp_path: Path) -> None:
    path = tmp_path / "h.yaml"
    path.write_text("hosts: {a: {url: local, device: boards/pi5/profile.yaml}, b: {url: local, device: jetson}}")
    path.chmod(0o600)
    assert target_from_text("a", hosts=path).device == str(tmp_path / "boards" / "pi5" / "profile.yaml")
    assert target_from_text("b", hosts=path).device == "jetson"


def test_jumps_have_logins_and_trusted_keys_of_their_own(hosts: Path, tmp_path: Path) -> None:
    found = target_from_text("far", hosts=hosts)
    first, second = found.jump
    assert (first.address.name, first.login) == ("me@bastion.example:2222", Login(tmp_path / "keys" / "jump"))
    assert first.known_hosts == found.known_hosts == tmp_path / "far_known"
    assert (second.login, second.known_hosts) == (Login(agent=True), tmp_path / "inner_known")


def test_jump_of_a_board_with_the_usual_keys_uses_them_too(tmp_path: Path) -> None:
    path = tmp_path / "h.yaml"
    path.write_text('hosts: {a: {url: "ssh://u@a", key: k, jump: [{url: "ssh://u@j", key: k}]}}')
    path.chmod(0o600)
    assert target_from_text("a", hosts=path).jump[0].known_hosts == known_hosts_path()


def test_flags_go_before_the_file(hosts: Path) -> None:
    found = target_from_text("vault", hosts=hosts, key=Path("other"), known_hosts=Path("known"), python="py")
    assert (found.login, found.known_hosts, found.python) == (Login(Path("other")), Path("known"), "py")


def test_several_boards_come_in_their_order(hosts: Path) -> None:
    names = [target.name for target in targets_from_text("here, lab,ssh://u@other", hosts=hosts)]
    assert names == ["here", "pi5", "phone", "ssh://u@other"]


def test_group_of_one_is_one_board(hosts: Path) -> None:
    assert target_from_text("one", hosts=hosts).name == "pi5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lab", "this command works on one board at a time"),
        ("pi6", r"pi6.*hosts\.yaml has far, here, .*Did you mean 'pi5'"),
        ("", "expected 'local', ssh://"),
        ("pi5,", "expected 'local', ssh://"),
        ("-oProxyCommand=x", "oProxyCommand"),
        ("pi5,ssh://root@pi5.lan", r"pi5 and ssh://root@pi5\.lan are one board"),
        ("one,lab", "pi5 and pi5 are one board"),
    ],
)
def test_what_names_no_single_board_is_an_input_error(text: str, said: str, hosts: Path) -> None:
    with pytest.raises(InputError, match=said):
        target_from_text(text, hosts=hosts)


def test_file_is_found_by_the_environment_or_in_the_home(
    hosts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_HOSTS", str(hosts))
    assert target_from_text("here").url == "local"
    monkeypatch.delenv("EDGEKD_HOSTS")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no .*\.config/edgekd/hosts\.yaml"):
        target_from_text("here")
    usual = tmp_path / ".config" / "edgekd" / "hosts.yaml"
    usual.parent.mkdir(parents=True)
    hosts.rename(usual)
    assert target_from_text("here").url == "local"


def test_named_file_that_is_absent_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such file"):
        target_from_text("pi5", hosts=tmp_path / "absent")


@pytest.mark.parametrize("text", ["http://u:hunter2@b", "ssh//u:hunter2@b", "u:hunter2@b", "local, ssh:/u:hunter2@b"])
def test_password_is_not_repeated_whatever_it_stands_in(text: str, hosts: Path) -> None:
    with pytest.raises(InputError, match="found a password in the host") as caught:
        targets_from_text(text, hosts=hosts)
    assert "hunter2" not in str(caught.value)


def test_colon_and_at_sign_alone_are_no_password(hosts: Path) -> None:
    text = "adb:1.2.3.4:5555,ssh://u@[::1]:22,ssh://v@[::2]:23"
    assert [target.url for target in targets_from_text(text, hosts=hosts)] == text.split(",")
