"""Bringing a file to a board: whole or not at all, never twice, and on from where a broken upload stopped.

What is on its way is named by its content, so that the next attempt, of any program, finds it: it keeps the whole
blocks that are there when their hash is that of our own first blocks, and begins anew when not. A file takes its place
by a rename, after the board has hashed all of it. Two who send the same file at once write the same bytes to the same
places. What compresses well travels compressed (compression.py); what a board cannot expand is sent as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from edgekd.errors import ConnectError, DiskFull, HostError, HostTimeout, LinkLost, Stalled
from edgekd.files import open_or_fail
from edgekd.hosts.base import Completed
from edgekd.hosts.board_scripts import (
    BLOCK_BYTES,
    DIFFERS,
    IS_FOLDER,
    IS_MISSING,
    LOOK,
    NO_HASHER,
    REMOVE,
    SETTLE,
    Found,
    first_word,
    found_from_text,
)
from edgekd.hosts.compression import EXPAND, Packing, expanding
from edgekd.text import printable
from edgekd.units import text_from_bytes

ATTEMPTS = 3
_PAUSE_S = 1.0  # before the second attempt; four times that before the third
# A link that is silent costs half a minute each time; whoever opens links again with more patience is to know soon.
_RETRY_S = 20.0
# What a board needs beside the file itself: a result, a log, what the file system keeps of both.
SPARE_BYTES = 1 << 20
_CLEANING_S = 20.0


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on this machine that are to be brought: where to read them, how many they are, and their SHA-256."""

    stream: BinaryIO
    size: int
    digest: str


class Carrier(Protocol):
    """A way to a board that `bring` can use."""

    name: str
    python: str

    def shell(self, script: str, *words: str, timeout_s: float) -> Completed:
        """Run `script` in the workspace. Errors: HostTimeout, LinkLost, HostError."""
        ...

    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        """Write what `stream` gives behind the first `start` bytes of `part`, and nothing else after them.

        Errors: LinkLost, HostTimeout, HostError when the board refuses.
        """
        ...


def content_of(stream: BinaryIO) -> Content:
    """What `stream` gives from its beginning to its end."""
    digest = hashlib.sha256()
    size = 0
    while data := stream.read(BLOCK_BYTES):
        digest.update(data)
        size += len(data)
    return Content(stream, size, digest.hexdigest())


def bring_file(board: Carrier, local: Path, place: str, *, timeout_s: float) -> bool:
    """As bring, for the file `local`, compressed on its way where that pays.

    Errors: InputError when it cannot be read; StorageError without room for its compressed form; as bring.
    """
    with open_or_fail(local) as stream:
        content = content_of(stream)
        with Packing(stream, content.size) as packing:
            chosen = packing if packing.promises() else None
            return bring(board, content, place, timeout_s=timeout_s, packing=chosen)


def bring(board: Carrier, content: Content, place: str, *, timeout_s: float, packing: Packing | None = None) -> bool:
    """Make `place` on the board hold `content`; False when it did so before, by the board's own hash.

    What travels is what `packing` makes of the content, and the board's Python expands it.
    A link that breaks or stalls is tried again, up to ATTEMPTS in all, of which none begins later than _RETRY_S after
    the first failure; what would fail again the same way is not.
    Errors: DiskFull, HostTimeout after `timeout_s`, LinkLost, ConnectError, HostError.
    """
    end = late = time.monotonic() + timeout_s
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _bring_once(board, content, place, end, packing)
        except (LinkLost, Stalled, ConnectError) as error:
            # A board that was never reached will not be now; one that was may be on its way back.
            first = attempt == 1 and isinstance(error, ConnectError)
            if first or attempt == ATTEMPTS or time.monotonic() >= late:
                raise
            late = min(late, time.monotonic() + _RETRY_S)
            time.sleep(_PAUSE_S * attempt**2)
    raise AssertionError  # the last attempt returns or raises


def _bring_once(board: Carrier, content: Content, place: str, end: float, packing: Packing | None) -> bool:
    if packing is not None and not packing.over:
        return _bring_packed(board, content, place, end, packing)
    part = f"{place}.{content.digest[:16]}.part"
    found = _look(board, place, part, content, end)
    if found.there == content.digest:
        return False
    start = _kept_bytes(content, found)
    _require_room(board, place, part, content.size - start, found, left_s=_left_s(board, place, end))
    _send(board, place, part, content, start, end)
    _settle(board, place, part, content, end)
    return True


def _bring_packed(board: Carrier, content: Content, place: str, end: float, packing: Packing) -> bool:
    """As _bring_once, or by it where the compressed form is of no use: too long, no room for both, no Python there."""
    part, whole = (f"{place}.{content.digest[:16]}.{kind}.part" for kind in ("z", "x"))
    found = _look(board, place, part, content, end)
    if found.there == content.digest:
        return False
    made = packing.made()
    if made is not None:
        sent = content_of(made)
        start = _kept_bytes(sent, found)
        if not _lacking(sent.size - start + content.size, found):
            _send(board, place, part, sent, start, end)
            if _expanded(board, place, part, whole, content, end):
                return True
    packing.over = True
    for left in (part, whole):
        _drop(board, left, _left_s(board, place, end))
    return _bring_once(board, content, place, end, packing)


def _send(board: Carrier, place: str, part: str, sent: Content, start: int, end: float) -> None:
    """Bring `sent` from its byte `start` on to `part`. Errors: DiskFull, after which nothing is left of it there."""
    sent.stream.seek(start)
    try:
        board.send(sent.stream, part, start, timeout_s=_left_s(board, place, end))
    except (LinkLost, HostTimeout):
        raise
    except HostError:
        # Over SFTP a full disk says no more than 'Failure'.
        _tell_full_disk(board, place, part, sent, end)
        raise


def _look(board: Carrier, place: str, part: str, content: Content, end: float) -> Found:
    ended = board.shell(LOOK, place, part, str(content.size), timeout_s=_left_s(board, place, end))
    if ended.exit_status != 0:
        raise _script_error(board, place, ended)
    return found_from_text(ended.stdout)


def _kept_bytes(content: Content, found: Found) -> int:
    """How many of the bytes in the part are ours; 0 when one of them is not."""
    size = found.blocks * BLOCK_BYTES
    if not 0 < size <= content.size:
        return 0
    content.stream.seek(0)
    own = hashlib.sha256()
    for _ in range(found.blocks):
        own.update(content.stream.read(BLOCK_BYTES))
    return size if own.hexdigest() == found.begun else 0


def _require_room(board: Carrier, place: str, part: str, needed: int, found: Found, *, left_s: float) -> None:
    full = _lacking(needed, found)
    if full:
        _drop(board, part, left_s)
        raise DiskFull(f"{board.name}: no room for {place}: {full}. Free some space there, or choose another workspace")


def _lacking(needed: int, found: Found) -> str:
    """What there is too little of for `needed` more bytes; empty when nothing is known to be."""
    if found.free_bytes is not None and found.free_bytes < needed + SPARE_BYTES:
        return f"{text_from_bytes(found.free_bytes)} are free, {text_from_bytes(needed + SPARE_BYTES)} are needed"
    if found.free_inodes is not None and found.free_inodes < 2:
        return f"{found.free_inodes} inodes are free, 2 are needed"
    return ""


def _tell_full_disk(board: Carrier, place: str, part: str, sent: Content, end: float) -> None:
    """Ask the board whether its disk is full, now that it refused to store. Errors: DiskFull when so."""
    found = _look(board, place, part, sent, end)
    left = sent.size - min(sent.size, found.blocks * BLOCK_BYTES)
    _require_room(board, place, part, left, found, left_s=_left_s(board, place, end))


def _expanded(board: Carrier, place: str, part: str, whole: str, content: Content, end: float) -> bool:
    """Let the board make `content` of `part`, by way of `whole`; False when it cannot.

    Errors: DiskFull, after which nothing is left of them there.
    """
    words = expanding(board.python, place, part, whole, size=content.size, digest=content.digest)
    ended = board.shell(EXPAND, *words, timeout_s=_left_s(board, place, end))
    if ended.exit_status == 0:
        return True
    error = _script_error(board, place, ended)
    if isinstance(error, DiskFull):
        for left in (part, whole):
            _drop(board, left, _CLEANING_S)
        raise error
    return False


def _settle(board: Carrier, place: str, part: str, content: Content, end: float) -> None:
    ended = board.shell(SETTLE, place, part, content.digest, timeout_s=_left_s(board, place, end))
    if ended.exit_status == 0:
        return
    if ended.exit_status == DIFFERS:
        _drop(board, part, _CLEANING_S)
    raise _script_error(board, place, ended, content.digest)


def _script_error(board: Carrier, place: str, ended: Completed, digest: str = "") -> HostError:
    said = printable(" ".join(ended.stderr.split()), 200) or "nothing"
    if "No space left" in said:
        return DiskFull(
            f"{board.name}: no room for {place}: {said}. Free some space there, or choose another workspace"
        )
    return HostError(
        {
            NO_HASHER: f"{board.name}: has none of sha256sum, shasum and openssl, so that no copy can be verified",
            IS_FOLDER: f"{board.name}: {place} is a folder there, so no file can take its place. Remove it there",
            DIFFERS: f"{board.name}: {place} arrived with another content (SHA-256 {first_word(ended.stdout)[:12]}…, "
            f"sent {digest[:12]}…). Is its disk damaged, or did the file change meanwhile?",
            IS_MISSING: f"{board.name}: {place} vanished while it was stored. Does somebody else clear the workspace?",
        }.get(ended.exit_status or 0, f"{board.name}: {place} cannot be stored there; it said: {said}")
    )


def _drop(board: Carrier, part: str, timeout_s: float) -> None:
    with contextlib.suppress(HostError):  # the error that led here says more
        board.shell(REMOVE, part, timeout_s=min(timeout_s, _CLEANING_S))


def _left_s(board: Carrier, place: str, end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise HostTimeout(f"{board.name}: sending {place} did not end in the time it was given")
    return left
