"""From the agent's answer to a conclusion: frames, states and the rules for what nobody says any more."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from fake_agent import told
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.bench.states import FAILED, GOING, SAID, Answer, answer_from_output, conclusion, failure
from edgekd.errors import EXIT_INFRASTRUCTURE, HostError, RunError

RUN, NONCE = "a" * 26, "0123456789abcdef"
ARGV = ("python3", "agent.pyz", "state", RUN, NONCE, "0")


def _read(said: bytes | str) -> Answer:
    text = said if isinstance(said, str) else said.decode("utf-8", errors="backslashreplace")
    return answer_from_output(text, nonce=NONCE, run=RUN, where="pi: tiny")


def _answer(state: str | None = "RUNNING", answer: dict[str, Any] | None = None, **stated: Any) -> Answer:
    return _read(told(ARGV, state, answer=answer, **stated))


def test_an_answer_is_found_in_whatever_a_login_shell_says() -> None:
    framed = told(ARGV).decode()
    for said in (framed, f"Welcome!\nEDGEKD1 {NONCE} 5 {'0' * 64}\nhello\n{framed}bye\n", f"EDGEKD1\n{framed}"):
        assert _read(said).state.state == "DONE"  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["", "nothing at all", "short", "flipped", "other nonce"])
def test_an_answer_that_is_not_whole_or_not_ours_is_none(damage: str) -> None:
    framed = told(ARGV).decode()
    said = {
        "short": framed[:-3],
        "flipped": framed.replace('"DONE"', '"done"'),
        "other nonce": framed.replace(NONCE, NONCE[::-1]),
    }.get(damage, damage)
    with pytest.raises(HostError, match="pi: tiny: the agent's answer did not arrive"):
        _read(said)


@pytest.mark.parametrize(
    "changed",
    [
        {"surprise": 1}, {"format": 2}, {"alive": "yes"}, {"left": -1}, {"run": "b" * 26}, {"state": []}, {"now_ns": 1.5},
        {"state": {"format": 1}},
    ],
)  # fmt: skip
def test_an_answer_of_another_version_is_no_answer(changed: dict[str, Any]) -> None:
    with pytest.raises(RunError) as caught:
        _answer(answer=changed)
    assert caught.value.state == "UNKNOWN"


@pytest.mark.parametrize(
    ("answer", "quiet_s", "concluded"),
    [
        (_answer("PREPARED"), 0, None),
        (_answer("RUNNING"), 30, None),
        (_answer("RUNNING"), 31, "HUNG"),
        (_answer("RUNNING", {"alive": False}), 99, "LOST"),
        (_answer("RUNNING", {"alive": False, "lock_free": False}), 0, "LOST"),
        (_answer("RUNNING", {"alive": False, "left": 1}), 0, "ORPHAN"),
        (_answer("RUNNING", {"alive": False, "boot_id": "b"}), 0, "REBOOTED"),
        (_answer("PREPARED", {"alive": False, "boot_id": "b", "left": 1}), 0, "REBOOTED"),
        (_answer("DONE", {"boot_id": "b"}), 99, "DONE"),
        (_answer(None), 0, "LOST"),
        (_answer(None, {"damaged": "no JSON", "alive": True}), 0, "CORRUPT"),
        *((_answer(state), 99, state) for state in SAID),
    ],
)
def test_a_conclusion_follows_from_the_facts(answer: Answer, quiet_s: float, concluded: str | None) -> None:
    assert conclusion(answer, quiet_s=quiet_s, where="pi") == concluded


@pytest.mark.parametrize("state", ["FINISHED", "done", "", "DONE ", "PASS\x1b[2J"])
def test_a_state_that_is_unknown_here_is_an_error_and_no_success(state: str) -> None:
    with pytest.raises(RunError, match="unknown here") as caught:
        conclusion(_answer(state), quiet_s=0, where="pi")
    assert caught.value.state == "UNKNOWN"
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("state", FAILED)
def test_every_state_has_an_error_that_says_where_what_and_what_to_do(state: str) -> None:
    answer = _answer(state if state in SAID else "RUNNING", exit_status=7, signal=9)
    error = failure(state, answer, where="pi: tiny", log="first\nlast \x1b[2J words\n\n")
    text = str(error)
    assert isinstance(error, HostError)
    assert (error.state, error.exit_code) == (state, EXIT_INFRASTRUCTURE)
    assert text.startswith("pi: tiny: ")
    assert "last \\x1b[2J words" in text
    assert "run again" in text.lower() or "finds it again" in text or "smaller" in text or "Measure" in text
    assert len({str(failure(one, answer, where="", log="")) for one in FAILED}) == len(FAILED)


def test_errors_say_what_is_special_about_the_state() -> None:
    assert "possibly out of memory" in str(failure("SIGNALED", _answer("SIGNALED", signal=9), where="pi"))
    assert "possibly" not in str(failure("SIGNALED", _answer("SIGNALED", signal=11), where="pi"))
    assert "status 7" in str(failure("EXITED", _answer("EXITED", exit_status=7), where="pi"))
    assert "No space" in str(failure("DISK_FULL", _answer("DISK_FULL", message="No space left"), where="pi"))


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        (None, "measurement runs there. Run"),
        ({"user": "ann", "host": "ci", "run": "r", "age_s": 20.0}, "of ann on ci for 20.0 s (run r)"),
        ({"user": "\x1b[2J", "age_s": "x"}, "of \\x1b[2J on ? (run ?)"),
        ({"user": ["a"], "age_s": float(10**300)}, "of ['a'] on ? (run ?)"),
    ],
)
def test_who_has_the_board_is_told_whatever_the_board_says(holder: dict[str, Any] | None, said: str) -> None:
    text = str(failure("BUSY", _answer("BUSY", holder=holder), where="pi"))
    assert said in text
    assert "\x1b" not in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["format", "run", "boot_id", "now_ns", "state", "damaged", "alive", "left", "lock_free", "x"])
STATED = st.sampled_from(
    ["format", "run", "state", "beat", "boot_id", "pid", "session", "starttime", "error", "signal"]
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    st.dictionaries(KEYS, JSON, max_size=2), st.dictionaries(STATED, JSON, max_size=2), st.sampled_from([*GOING, *SAID])
)
def test_whatever_a_state_holds_it_ends_in_a_conclusion_or_an_error_of_ours(
    answer: dict[str, Any], stated: dict[str, Any], state: str
) -> None:
    try:
        found = _read(told(ARGV, state, answer=answer, **stated))
        concluded = conclusion(found, quiet_s=0, where="pi")
    except HostError:
        return
    if concluded == "DONE":
        assert found.state is not None
        assert found.state.state == "DONE"
        assert found.run == found.state.run == RUN


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.binary(max_size=400) | st.text(string.printable, max_size=400).map(str.encode), st.booleans())
def test_whatever_is_said_it_is_no_answer_of_ours(said: bytes, framed: bool) -> None:
    from hashlib import sha256

    if framed:
        said = f"EDGEKD1 {NONCE} {len(said)} {sha256(said).hexdigest()}\n".encode() + said
    with pytest.raises(HostError):
        _read(said)


def test_a_truncated_answer_is_never_one() -> None:
    framed = told(ARGV)
    whole = json.loads(framed.split(b"\n")[2])
    for end in range(len(framed) - 1):
        with pytest.raises(HostError):
            _read(framed[:end])
    assert whole["run"] == RUN
