"""A board's answer is checked before it is believed; asked over the real ways to reach one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged_boards import pi_facts

from edgekd.errors import HostError, MeasureError
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host
from edgekd.probe.facts import ask, facts_from_json, require_python, restore


def _answering(answer: bytes, exit_status: int = 0, stderr: bytes = b"") -> FakeHost:
    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        return Answer(exit_status, stderr=stderr, files={argv[3]: answer} if answer else {})

    return FakeHost(respond=respond)


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_this_machine_says_what_it_is_however_it_is_reached(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "local":
        host: Any = LocalHost(tmp_path / "work")
    else:
        board = request.getfixturevalue("board")
        known = board.known_hosts(tmp_path / "known_hosts")
        work = str(tmp_path / "work")
        host = open_host(board.url, key=board.key, known_hosts=known, workspace=work, python=sys.executable)
    with host:
        require_python(host)
        facts = ask(host)
        assert restore(host) == []
    assert facts.python.number == sys.version_info[:2]
    assert facts.cores >= 1
    assert facts.runtimes["onnxruntime"].state == "fine"
    assert facts.workspace.folder == str((tmp_path / "work").resolve())
    assert list((tmp_path / "work" / "runs").iterdir()) == []


def test_a_whole_answer_is_facts() -> None:
    facts = ask(_answering(json.dumps({**pi_facts(), "format": 1}).encode()))
    assert (facts.cores, facts.python.number) == (4, (3, 11))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"{", "is not valid JSON"),
        (b"[]", "another format than 1"),
        (b'{"format": 2}', "another format than 1"),
        (b'{"format": 1}', "cannot be true: hardware: Field required"),
        (json.dumps({**pi_facts(), "format": 1, "extra": 1}).encode(), "extra: Extra inputs"),
        (json.dumps({**pi_facts(sensors={"temperature_c": "hot"}), "format": 1}).encode(), "sensors.temperature_c"),
        (json.dumps({**pi_facts(hardware={"model": "x" * 401}), "format": 1}).encode(), "hardware.model"),
        (json.dumps({**pi_facts(workspace={"disk_free_bytes": True}), "format": 1}).encode(), "disk_free_bytes"),
    ],
)
def test_an_impossible_answer_is_a_measure_error_that_names_the_place(answer: bytes, said: str) -> None:
    with pytest.raises(MeasureError, match=r"^fake") as caught:
        ask(_answering(answer))
    assert said in str(caught.value)


def test_a_failure_there_is_a_host_error_in_its_words() -> None:
    busy = json.dumps({"format": 1, "error": {"kind": "busy", "message": "another \x1b[2J runs"}}).encode()
    with pytest.raises(HostError, match=r"^fake: another \\x1b\[2J runs$"):
        restore(_answering(busy, exit_status=3))
    with pytest.raises(HostError, match="failed with 1; the last it said: SyntaxError"):
        ask(_answering(b"", exit_status=1, stderr=b"SyntaxError\n"))
    with pytest.raises(HostError, match="longer than"):
        ask(_answering(b" " * (1 << 19)))
    with pytest.raises(MeasureError, match="could not be put back"):
        restore(_answering(b'{"format": 1}'))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(127, stderr=b"python3: not found"), "fake: has no python3. Name its Python: --python PATH"),
        (Answer(0, stdout=b"Python 2.7.18"), "is Python 2.7, expected 3.8 or newer"),
        (Answer(0, stdout=b"Python 3.7.9"), "is Python 3.7, expected 3.8 or newer"),
        (Answer(1, stderr=b"Illegal\ninstruction"), "said Illegal instruction"),
        (Answer(0, stdout=b"MicroPython"), "--version said MicroPython"),
    ],
)
def test_a_python_that_cannot_answer_is_named(answer: Answer, said: str) -> None:
    with pytest.raises(HostError) as caught:
        require_python(FakeHost({("python3", "--version"): answer}))
    assert said in str(caught.value)


def test_a_python_of_a_later_time_is_fine() -> None:
    require_python(FakeHost({("python3", "--version"): Answer(0, stdout=b"Python 3.14.0rc1\n")}))


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["hardware", "system", "python", "sensors", "runtimes", "trtexec", "workspace"]), _JUNK, st.data()
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_junk_anywhere_gives_facts_or_a_typed_error(part: str, junk: Any, data: Any) -> None:
    table = pi_facts()
    if isinstance(table[part], dict) and data.draw(st.booleans()):
        table[part][data.draw(st.sampled_from(sorted(table[part])))] = junk
    else:
        table[part] = junk
    try:
        facts_from_json(table, "fake")
    except MeasureError as error:
        assert "\n" not in str(error)
