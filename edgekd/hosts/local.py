"""This machine as a host: the same contract as a board, without a wire."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from edgekd.errors import HostError, HostTimeout, InputError
from edgekd.files import make_folder, sha256_of_file, write_bytes, write_error
from edgekd.hosts.base import Completed
from edgekd.hosts.grammar import checked_argv, checked_path
from edgekd.hosts.output import Tail
from edgekd.hosts.process import run_process
from edgekd.units import text_from_s

NOT_FOUND, NOT_RUNNABLE = 127, 126


class LocalHost:
    """This machine, working in the folder `workspace`; commands run as children in sessions of their own."""

    def __init__(self, workspace: Path, *, python: str | None = None) -> None:
        self.name = "local"
        self.python = python or sys.executable or "python3"
        self._root = make_folder(workspace).resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open."""

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run."""
        words = checked_argv(argv)
        out, err = Tail(max_output_bytes), Tail(max_output_bytes)
        try:
            status = run_process(words, out=out, err=err, timeout_s=timeout_s, folder=self._root)
        except TimeoutError:
            raise HostTimeout(
                f"{self.name}: {words[0]} did not end within {text_from_s(timeout_s)} and was stopped"
            ) from None
        except OSError as error:
            return self._not_started(words, error)
        return Completed(words, status if status >= 0 else None, out.text(), err.text())

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put; a copy on one disk has no wire to wait for, so `timeout_s` has nothing to bound."""
        del timeout_s
        place, digest = self._place(remote), sha256_of_file(local)
        if place.is_file() and sha256_of_file(place) == digest:
            return False
        make_folder(place.parent)
        part: Path | None = None
        try:
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".part")
            os.close(handle)
            part = Path(name)
            shutil.copyfile(local, part)
            if sha256_of_file(part) != digest:
                raise HostError(f"{self.name}: {local} changed while it was copied. Run again when it is complete")
            part.replace(place)
        except OSError as error:
            raise write_error(place, error) from None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
        return True

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        write_bytes(self._place(remote), data)

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read."""
        place = self._place(remote)
        if place.exists() and not place.is_file():
            raise HostError(f"{self.name}: {remote} is no regular file, so it is not read")
        try:
            with place.open("rb") as stream:
                data = stream.read(max_bytes + 1)
        except OSError as error:
            raise HostError(f"{self.name}: {remote} cannot be read ({error.strerror or error})") from None
        if len(data) > max_bytes:
            raise HostError(f"{self.name}: {remote} is longer than the {max_bytes} bytes expected")
        return data

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        place = self._place(remote)
        try:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"{self.name}: {remote} cannot be removed ({error.strerror or error})") from None

    def _place(self, remote: str) -> Path:
        place = self._root / checked_path(remote)
        if not place.parent.resolve().is_relative_to(self._root):
            raise InputError(f"{self.name}: {remote} leads out of the workspace through a link. Remove the link")
        return place

    def _not_started(self, words: tuple[str, ...], error: OSError) -> Completed:
        if not self._root.is_dir():
            raise HostError(
                f"{self.name}: the workspace {self._root} has vanished. Run again to make it anew"
            ) from None
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
        return Completed(words, status, "", f"{words[0]}: {error.strerror or error}\n")
