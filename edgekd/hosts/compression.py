"""Files that shrink to less than half are sent compressed, and a board's own Python makes the file of them.

Whether a file shrinks is tried on pieces of it. Untrained students do, to a hundredth, since their weights repeat a
short block (edgekd/export/trace.py); trained weights hardly do, and to compress them takes longer than most links take
to send what it saves. zlib at its lowest level is the one compression that every Python has and that keeps up with a
link.
The board knows beforehand how many bytes the file has and which SHA-256: it never writes more, and nothing else takes
the file's place.
"""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edgekd.files import write_error

LEAST_BYTES = 1 << 20  # our choice: what is smaller is sent before a Python has started
WORTH = 0.5  # of the size, our choice: what shrinks less is sent as it is
_LEVEL = 1
_PIECES, _PIECE_BYTES = 8, 64 * 1024
_BLOCK_BYTES = 1 << 20

# Arguments: place, what arrived, part, bytes of the whole, digest. In words that every Python 3 knows. The part is not
# emptied first: whoever expands the same file at the same time writes the same bytes to the same places.
_EXPAND = """
import hashlib, os, sys, zlib
place, packed, part, size, digest = sys.argv[1:]
left, found, stream = int(size), hashlib.sha256(), zlib.decompressobj()
try:
    with open(packed, "rb") as source, os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as target:
        while left:
            data = stream.unconsumed_tail or source.read(65536)
            if not data:
                break
            data = stream.decompress(data, min(left, 1 << 20))
            target.write(data)
            left -= len(data)
        target.truncate()
        target.flush()
        os.fsync(target.fileno())
        target.seek(0)
        for data in iter(lambda: target.read(1 << 20), b""):
            found.update(data)
    if found.hexdigest() != digest:
        sys.exit("what arrived is another file")
    os.remove(packed)
    os.replace(part, place)
except (OSError, zlib.error) as error:
    sys.exit(str(error))
"""
# The program that makes the file, as the first arguments of a shell that runs its arguments.
EXPAND = 'exec "$@"'


def expanding(python: str, place: str, packed: str, part: str, *, size: int, digest: str) -> tuple[str, ...]:
    """The words behind EXPAND: `python` makes of `packed` the file `place` of `size` bytes, by way of `part`.

    It ends with 0 when the file has its place, verified, and `packed` is gone.
    """
    return (python, "-I", "-S", "-c", _EXPAND, place, packed, part, str(size), digest)


class Packing:
    """The compressed form of the `size` bytes of `stream`, made when it is first asked for, in a file without a name.

    A context manager that ends the file. `over` says that the file is to be sent as it is after all.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._made: BinaryIO | None = None
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._made is not None:
            self._made.close()

    def promises(self) -> bool:
        """Whether pieces from all over the file say that it shrinks by enough."""
        if self._size < LEAST_BYTES:
            return False
        taken = packed = 0
        for piece in range(_PIECES):
            self._stream.seek((self._size - _PIECE_BYTES) * piece // (_PIECES - 1))
            data = self._stream.read(_PIECE_BYTES)
            taken += len(data)
            packed += len(zlib.compress(data, _LEVEL))
        return packed < WORTH * taken

    def made(self) -> BinaryIO | None:
        """The compressed form, at its beginning; None, and all is over, where the pieces promised too much.

        Errors: StorageError without room for it.
        """
        if self._made is None and not self.over:
            try:
                self._made = self._compressed()
            except OSError as error:
                raise write_error(Path(tempfile.gettempdir()), error) from None
            self.over = self._made is None
        if self._made is not None:
            self._made.seek(0)
        return self._made

    def _compressed(self) -> BinaryIO | None:
        most, packed, work = WORTH * self._size, 0, zlib.compressobj(_LEVEL)
        self._stream.seek(0)
        with contextlib.ExitStack() as stack:
            target: BinaryIO = stack.enter_context(tempfile.TemporaryFile(prefix="edgekd-"))
            while packed < most:
                data = self._stream.read(_BLOCK_BYTES)
                packed += target.write(work.compress(data) if data else work.flush())
                if not data:
                    stack.pop_all()  # whoever asked closes it
                    return target
        return None
