"""Options that several verbs share say the same everywhere."""

from __future__ import annotations

import typing
from pathlib import Path

import typer
from typer.models import ArgumentInfo, OptionInfo

from edgekd import options


def shared() -> dict[str, typing.Any]:
    return {name: value for name, value in vars(options).items() if typing.get_origin(value) is typing.Annotated}


def test_each_has_a_help_that_is_a_sentence() -> None:
    assert len(shared()) > 10
    for name, one in shared().items():
        (info,) = one.__metadata__
        assert isinstance(info, OptionInfo | ArgumentInfo), name
        assert info.help, name
        assert info.help[0].isupper() or info.help.split()[0] in {"fp32,", "local,"}, name
        assert info.help.endswith("."), name


def test_each_is_in_use() -> None:
    from edgekd import cli

    source = Path(cli.__file__).read_text(encoding="utf-8")
    assert [name for name in shared() if f"opt.{name}" not in source] == []
    assert isinstance(cli.app, typer.Typer)
