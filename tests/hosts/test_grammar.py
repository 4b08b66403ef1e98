from __future__ import annotations

import pytest

from edgekd.errors import InputError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi@raspberrypi.local:2222", SshAddress("raspberrypi.local", 2222, "pi")),
        ("ssh://pi@10.0.0.7", SshAddress("10.0.0.7", 22, "pi")),
        ("ssh://BOARD:22", SshAddress("board", 22)),
        ("ssh://u@[::1]:2200/", SshAddress("::1", 2200, "u")),
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
        "ssh://u;id@host",
        "ssh://u:word@host",
    ],
)
def test_url_outside_the_grammar_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError):
        ssh_address_from_url(url)


def test_password_in_a_url_is_not_repeated_in_the_message() -> None:
    with pytest.raises(InputError, match="password") as caught:
        ssh_address_from_url("ssh://u:hunter2@host")
    assert "hunter2" not in str(caught.value)
