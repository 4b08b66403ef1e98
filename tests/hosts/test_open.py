from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import InputError
from edgekd.hosts.open import open_host


def test_opening_a_local_host_needs_no_paramiko_and_ssh_names_the_extra(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["paramiko"] = None
from pathlib import Path
from edgekd.errors import MissingExtra
from edgekd.hosts.open import open_host
open_host("local", workspace={str(tmp_path / "work")!r})
try:
    open_host("ssh://u@127.0.0.1:1", key=Path("k"))
except MissingExtra as error:
    assert "edgekd[ssh]" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("url", ["", "pi@board", "http://board"])
def test_host_of_no_known_kind_is_an_input_error_with_the_form(url: str) -> None:
    with pytest.raises(InputError, match="expected 'local' or ssh://"):
        open_host(url)


def test_ssh_without_a_key_file_says_how_to_name_one() -> None:
    with pytest.raises(InputError, match="--key"):
        open_host("ssh://pi@board")


def test_url_local_opens_this_machine(tmp_path: Path) -> None:
    with open_host("local", workspace=str(tmp_path / "work"), python="/usr/bin/other") as host:
        assert (host.name, host.python) == ("local", "/usr/bin/other")
