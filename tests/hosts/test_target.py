from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.hosts.secret import Secret
from edgekd.hosts.target import Login

SECRET = Secret("env:X", Path())


@pytest.mark.parametrize("login", [Login(key=Path("k")), Login(agent=True), Login(password=SECRET)])
def test_one_way_to_log_in_is_enough(login: Login) -> None:
    assert login.checked("pi@b:22") is login


def test_no_way_to_log_in_says_how_to_name_one() -> None:
    with pytest.raises(InputError, match=r"pi@b:22: no key file was named.*--key"):
        Login().checked("pi@b:22")


@pytest.mark.parametrize(
    "login", [Login(Path("k"), agent=True), Login(Path("k"), password=SECRET), Login(agent=True, password=SECRET)]
)
def test_two_ways_to_log_in_are_one_too_many(login: Login) -> None:
    with pytest.raises(InputError, match="expected one way to log in"):
        login.checked("pi@b:22")
