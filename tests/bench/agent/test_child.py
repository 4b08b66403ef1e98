"""The measuring process as its supervisor sees it: alive or not, and what it says, within bounds."""

from __future__ import annotations

from edgekd.bench.agent.child import MAX_LOG_BYTES, Said


def test_only_the_last_of_what_was_said_is_kept_and_a_change_is_told_once() -> None:
    said = Said()
    assert not said.changed
    for number in range(100):
        said.add(b"%04d" % number * 1024)
    assert said.changed
    kept = said.kept()
    assert len(kept) == MAX_LOG_BYTES
    assert kept.endswith(b"0099")
    assert not said.changed
    assert len(said._data) <= 2 * MAX_LOG_BYTES
