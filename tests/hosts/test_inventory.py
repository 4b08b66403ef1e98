from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import EdgekdError, HostsError, InputError, SecurityError
from edgekd.hosts.inventory import inventory_from_text, read_inventory

GOOD = 'hosts:\n  pi5: {url: "ssh://pi@pi5.lan:22", key: k}\n  phone: {url: "adb:R58M", python: python}\ngroups: {lab: [pi5, phone]}\n'
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----"


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_file_is_read(tmp_path: Path) -> None:
    found = read_inventory(written(tmp_path, GOOD, 0o644))
    assert list(found.hosts) == ["pi5", "phone"]
    assert found.groups == {"lab": ["pi5", "phone"]}
    assert found.hosts["pi5"].agent is False


def test_example_of_the_documentation_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text()
    found = inventory_from_text(page.partition("```yaml\n")[2].partition("```")[0], "docs/hosts.md")
    assert list(found.hosts) == ["pi5", "orin", "pixel", "termux"]
    assert found.hosts["orin"].jump[0].url == "ssh://me@bastion.example:2222"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_file_that_others_may_write_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match=r"others may write it.*chmod go-w"):
        read_inventory(written(tmp_path, GOOD, mode))


def test_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SecurityError, match="belongs to the user number"):
        read_inventory(path)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("hosts:\n  a: {url: local}\n  a: {url: local}\n", 3, "stands twice"),
        ("hosts:\n  a: &x {url: local}\n", 2, "anchor or alias"),
        ("hosts:\n  a: !!map {url: local}\n", 2, "tag"),
        ("hosts:\n  a:\n    url: local\n    keys: k\n", 4, "unknown key 'keys' in hosts.a, expected one of agent, device"),
        ("hosts:\n  a:\n    key: k\n", 2, "'url' is missing"),
        ("hosts:\n  a: {url: pi@board}\n", 2, "expected ssh://USER@HOST:PORT, adb:SERIAL or local"),
        ('hosts:\n  a: {url: "ssh://u@-oProxyCommand=touch x"}\n', 2, "found the host"),
        ('hosts:\n  a: {url: "adb:-s"}\n', 2, "serial number"),
        ('hosts:\n  a: {url: "adb:R58M", key: k}\n', 2, "beside adb:R58M"),
        ('hosts:\n  a: {url: local, jump: [{url: "ssh://u@j"}]}\n', 2, "found jump beside local"),
        ('hosts:\n  a: {url: "ssh://u@b", key: k, agent: true}\n', 2, "one way to log in"),
        ("hosts:\n  a:\n    url: ssh://u@b\n    jump:\n      - url: adb:X\n", 5, "expected ssh://"),
        ('hosts:\n  a: {url: local, python: "py; rm"}\n', 2, "plain name or path"),
        ("hosts:\n  a: {url: local, python: -c}\n", 2, "plain name or path"),
        ("hosts:\n  a: {url: local, workspace: ../up}\n", 2, "inside the workspace"),
        ("hosts:\n  local: {url: local}\n", 2, "not 'local'"),
        ("hosts:\n  a,b: {url: local}\n", 2, "expected letters"),
        ("hosts:\n  a: {url: local}\ngroups:\n  g: [b]\n", 4, "which is not in hosts"),
        ("hosts:\n  a: {url: local}\ngroups:\n  a: [a]\n", 4, "called like a host"),
        ("hosts:\n  a: {url: local}\ngroups:\n  f: [a]\n  g: [a, a]\n", 5, "names a host twice"),
        ("hosts:\n  a: {url: local}\ngroups:\n  g: []\n", 4, "groups.g: found 0 entries, expected at least 1"),
        ("hosts:\n  a: local\n", 2, "hosts.a: found 'local', expected keys and values"),
        ("hosts:\n  a: {url: local, agent: yes}\n", 2, "reads as true or false"),
        ("hosts:\n  022: {url: local, key: 022}\n", 2, "octal"),
        ("hosts: [a]\n", 1, "found a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(HostsError) as caught:
        inventory_from_text(text, "hosts.yaml")
    assert str(caught.value).startswith(f"hosts.yaml:{line}: "), caught.value
    assert said in str(caught.value)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"hosts:\n  a: {{url: local, password: {SECRET}}}\n", 2),
        (f"hosts:\n  a:\n    url: local\n    password: '{SECRET}'\n", 4),
        (f"hosts:\n  a:\n    url: local\n    api_token: {SECRET}\n", 4),
        (f"hosts:\n  a:\n    passphrase:\n      deeper: [x, {SECRET}]\n", 4),
        (f"hosts:\n  a:\n    password: |\n      {SECRET}\n", 3),
        (f"hosts:\n  a:\n    password: !{SECRET} x\n", 3),
        (f"hosts:\n  a:\n    password: '!{SECRET}'\n", 3),
        (f"hosts:\n  a:\n    password: %{SECRET}\n", 3),
        (f"hosts:\n  a:\n    password: &{SECRET} x\n", 3),
        (f"hosts:\n  a:\n    - password: {SECRET}\n", 3),
        (f"hosts:\n  a: {{url: 'ssh://pi:{SECRET}@b'}}\n", 2),
        (f"hosts:\n  a: {{url: 'ssh://pi:{SECRET}@x@b'}}\n", 2),
        (f"# ssh://pi:{SECRET}@b\nhosts: {{}}\n", 1),
        (f"hosts:\n  a:\n    key: |\n      {PEM}\n      {SECRET}\n", 4),
        (f"# {PEM}\n# {SECRET}\nhosts: {{}}\n", 1),
        (f"token: {SECRET}\nhosts: [\n", 1),
    ],
)
def test_secret_in_plain_words_is_refused_with_its_line_and_not_repeated(text: str, line: int) -> None:
    with pytest.raises(SecurityError) as caught:
        inventory_from_text(text, "hosts.yaml")
    assert str(caught.value).startswith(f"hosts.yaml:{line}: "), caught.value
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("reference", ["env:PI_WORD", "file:~/.secrets/pi", "file:word with space"])
def test_reference_to_a_secret_is_taken(reference: str) -> None:
    text = f'hosts:\n  a: {{url: "ssh://u@b", password: "{reference}"}}\n'
    assert inventory_from_text(text, "f").hosts["a"].password == reference


def test_huge_deep_and_strange_files_are_refused(tmp_path: Path) -> None:
    for text in (
        "x: " + "a" * 300_000,
        "",
        "hosts: " + "[" * 50_000,
        "hosts: " + "{a: " * 40 + "1" + "}" * 40,
        "- a\n",
    ):
        with pytest.raises(InputError):
            read_inventory(written(tmp_path, text))
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    with pytest.raises(HostsError, match="not UTF-8"):
        read_inventory(tmp_path / "raw")


WORDS = st.sampled_from(
    ["hosts", "groups", "a", "pi5", "url", "key", "agent", "password", "jump", "python", "workspace", "device", "local",
     "ssh://u@b:22", "ssh://u:p@b", "adb:X", "env:X", "true", "no", "12:30", "022", "~", "", "-x", "\u202e", "a\nb", PEM]
) | st.text(max_size=8)  # fmt: skip
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, max_size=5), max_size=3)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({"hosts": ENTRIES}, optional={"groups": VALUES, "more": VALUES}))
def test_any_tree_is_read_or_refused_by_an_error_of_ours(tree: object) -> None:
    try:
        inventory_from_text(json.dumps(tree), "f")
    except EdgekdError as error:
        assert "\n" not in str(error)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.text(max_size=6) | st.sampled_from(["*a", "&a", "!!x", "\t", "? ", "<<: ", "---\n", "\ufeff", "{", "|"]),
)
def test_any_damage_to_a_good_file_is_read_or_refused_by_an_error_of_ours(place: int, length: int, text: str) -> None:
    try:
        inventory_from_text(GOOD[:place] + text + GOOD[place + length :], "f")
    except EdgekdError as error:
        assert "\n" not in str(error)
