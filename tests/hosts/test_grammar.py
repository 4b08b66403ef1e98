from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.hosts.grammar import (
    SshAddress,
    checked_host_name,
    checked_program,
    holds_password,
    ssh_address_from_url,
)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi@raspberrypi.local:2222", SshAddress("raspberrypi.local", 2222, "pi")),
        ("ssh://pi@10.0.0.7", SshAddress("10.0.0.7", 22, "pi")),
        ("ssh://BOARD:22", SshAddress("board", 22)),
        ("ssh://u@[::1]:2200/", SshAddress("::1", 2200, "u")),
        ("ssh://u@[FE80::1%usb0]", SshAddress("fe80::1%usb0", 22, "u")),
        ("ssh://u@my_board.lan.", SshAddress("my_board.lan.", 22, "u")),
        (f"ssh://u@{'a' * 63}.lan", SshAddress("a" * 63 + ".lan", 22, "u")),
    ],
)
def test_address_is_read_from_a_url(url: str, address: SshAddress) -> None:
    assert ssh_address_from_url(url) == address


def test_entry_names_the_port_even_when_it_is_the_usual_one() -> None:
    assert ssh_address_from_url("ssh://pi@board").entry == "[board]:22"


def test_ipv6_url_keeps_its_brackets() -> None:
    assert ssh_address_from_url("ssh://u@[::1]:2200").name == "u@[::1]:2200"


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://u@",
        "ssh://u@-oProxyCommand=touch",
        "ssh://-l@host",
        "ssh://@host",
        "ssh://u@host:0",
        "ssh://u@host:65536",
        "ssh://u@host:x",
        "ssh://u@host/path",
        "ssh://u@ho st",
        "ssh://u@host\n",
        "ssh://u@[fe80::1",
        "ssh://u@[not-an-address]",
        "ssh://u@[fe80::1%]",
        "ssh://u@[fe80::1%a b]",
        "ssh://u@board..lan",
        "ssh://u@.lan",
        "ssh://u@" + "a" * 64,
        "ssh://u;id@host",
        "ssh://u:word@host",
    ],
)
def test_url_outside_the_grammar_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError):
        ssh_address_from_url(url)


def test_password_in_a_url_is_not_repeated_in_the_message() -> None:
    for url in ("ssh://u:hunter2@host", "ssh://u:hunter2@more@host:22", "ssh://:hunter2@host", "ssh://u:hunter2@"):
        assert holds_password(url)
        with pytest.raises(InputError, match="password") as caught:
            ssh_address_from_url(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["ssh://u@host:22", "ssh://u@[::1]:22", "adb:1.2.3.4:5555", "a:b@c", "local"])
def test_url_without_a_password_is_not_taken_for_one(url: str) -> None:
    assert not holds_password(url)


@pytest.mark.parametrize("name", ["pi5", "Pi-5.lan", "1"])
def test_board_may_be_called_so(name: str) -> None:
    assert checked_host_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", "local", "a,b", "a b", "a/b", "a" * 65, "ssh://b", "\u202e"])
def test_board_may_not_be_called_so(name: str) -> None:
    with pytest.raises(InputError, match="found the name"):
        checked_host_name(name)


@pytest.mark.parametrize("word", ["python", "python3.11", "/opt/py/bin/python3", "venv/bin/python", "./p"])
def test_program_may_be_named_so(word: str) -> None:
    assert checked_program(word) == word


@pytest.mark.parametrize("word", ["", "-c", "py x", "py;x", "$PY", "~/py", "a\nb"])
def test_program_may_not_be_named_so(word: str) -> None:
    with pytest.raises(InputError, match="plain name or path"):
        checked_program(word)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_whatever_is_taken_as_an_address_holds_no_word_that_begins_like_an_option(text: str) -> None:
    for prefix in ("", "ssh://", "ssh://u@"):
        try:
            address = ssh_address_from_url(prefix + text)
        except InputError:
            continue
        assert not address.host.startswith("-")
        assert not (address.user or "").startswith("-")
