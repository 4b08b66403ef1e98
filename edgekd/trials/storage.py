"""Where trials are kept: a journal file, or a PostgreSQL database that several machines share.

The password of a database stands in an environment variable or a file, never in a recipe, and is never repeated.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edgekd.database import SCHEMES
from edgekd.errors import InputError, MissingExtra, StorageError
from edgekd.files import make_folder, read_bytes, write_error
from edgekd.text import printable

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "optuna", "search") from None

MOST_URL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """A journal file, or the URL of a database. `shown` is what may be said of it."""

    shown: str
    journal: Path | None = None
    url: str = field(default="", repr=False)


def place_of(reference: str | None, base: Path, default: Path) -> Place:
    """What search.storage means: nothing, a path from `base`, a URL, or env:NAME or file:PATH that hold one.

    Errors: InputError, which never repeats what may hold a password.
    """
    if reference is None:
        return Place(str(default), default)
    kind, _, rest = reference.partition(":")
    if kind == "env":
        held = os.environ.get(rest)
        if not held:
            raise InputError(f"search.storage: the environment variable {rest} is not set, expected the database's URL")
        return Place(f"the database in {reference}", url=_url(held.strip(), reference))
    if kind == "file":
        held = read_bytes(base / Path(rest).expanduser(), max_bytes=MOST_URL_BYTES).decode("utf-8", "replace")
        return Place(f"the database in {reference}", url=_url(held.strip(), reference))
    if "://" in reference:
        return Place(printable(reference, 200), url=_url(reference, "the recipe"))
    path = base / Path(reference).expanduser()
    return Place(str(path), path)


def _url(text: str, where: str) -> str:
    """`text` with the driver that edgekd installs. Errors: InputError."""
    scheme, separator, rest = text.partition("://")
    if scheme not in SCHEMES or not separator or not rest:
        raise InputError(
            f"search.storage: {where} holds no URL of PostgreSQL, expected postgresql://USER@HOST/DATABASE"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtra("psycopg", "search")
    return f"postgresql+psycopg://{rest}"


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """The storage at `place`, an optuna.storages.BaseStorage. Errors: InputError, StorageError."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if place.journal is not None:
        with storage_errors(place):
            backend = JournalFileBackend(str(place.journal), _journal_lock(place.journal))
            storage = optuna.storages.JournalStorage(backend)
        yield storage
        return
    with storage_errors(place):
        database = optuna.storages.RDBStorage(place.url, engine_kwargs={"pool_pre_ping": True})
    try:
        yield database
    finally:
        database.remove_session()
        database.engine.dispose()


def _journal_lock(path: Path) -> Any:
    make_folder(path.parent)
    lock = KernelLock(path.with_name(f"{path.name}.lock"))
    _mend(path, lock)
    return lock


class KernelLock:
    """A lock of the journal that the kernel frees when its holder dies, so that nobody waits for a dead process.

    Optuna's own locks are files that stay behind a kill and count as free only half a minute later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait until nobody else holds it."""
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._handle = handle
        return True

    def release(self) -> None:
        """Let the next one in."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _mend(path: Path, lock: KernelLock) -> None:
    """Cut off a last line that was not written whole: the next would be appended to it, and neither be readable."""
    if not path.exists():
        return
    lock.acquire()
    try:
        with path.open("r+b") as stream:
            whole = stream.read()
            if whole and not whole.endswith(b"\n"):
                stream.truncate(whole.rfind(b"\n") + 1)
                os.fsync(stream.fileno())
    finally:
        lock.release()


@contextmanager
def storage_errors(place: Place) -> Iterator[None]:
    """Inside, where nothing but the storage works: its errors become ours. Errors: InputError, StorageError."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        said = _without_secrets(str(error.__cause__ or error), place.url)
        raise StorageError(
            f"search.storage: {place.shown} cannot be used ({said}). "
            "Is it running and reachable? The same command goes on"
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise StorageError(
            f"search.storage: {place.shown} holds what is no trial of edgekd ({type(error).__name__}). "
            "Remove it, or name another"
        ) from None
    except OSError as error:
        raise write_error(place.journal or Path(place.shown), error) from None


def _without_secrets(text: str, url: str) -> str:
    parts = urlsplit(url)
    password = parts.password or ""
    secrets = [url, password, unquote(password), *parse_qs(parts.query).get("password", [])]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return printable(" ".join(text.split()), 200)
