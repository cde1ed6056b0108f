"""A database that somebody else may have open, read without leaving a trace beside it.

SQLite opens a database in WAL mode only if it may make files beside it, unless it is told that
nothing will change (`immutable`). So a database whose log is empty is opened like that, and looked
at again afterwards. If there is something in the log, both are copied, and the copy is opened.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from sessions.store.sqlite.library import ERRORS, sqlite3
from sessions.zeroclaw.sources import changed, readable
from sessions.zeroclaw.values import Fingerprint

_WAL: Final = "-wal"
# The log of a database that is not in WAL mode: what a crash has left half done.
_JOURNAL: Final = "-journal"
# What SQLite may have beside a database.
_LOGS: Final = (_WAL, _JOURNAL)
# Bytes at the beginning of a WAL. They change whenever it is written from its beginning again.
_HEAD: Final = 32
# Seconds, more than a file system's times may lag behind. What is written later has a newer time.
_TICK: Final = 0.03
_TRIES: Final = 10


class NotUtf8(bytes):
    """What stands in a column as a text, and is none."""


class _State(NamedTuple):
    """What must not change while a copy is made."""

    size: int
    modified_ns: int
    wal_head: bytes
    journal: tuple[int, int]


def fingerprint_of(path: Path) -> Fingerprint:
    """The fingerprint of a database. Raises OSError if there is none."""
    # SQLite too follows links before it looks for the log.
    real = path.resolve()
    file = real.stat()
    return Fingerprint(file.st_size, file.st_mtime_ns, *_size_and_time(_beside(real, _WAL)))


class ForeignSnapshot:
    """A database as it was when it was first asked. Blocking; not for use by several threads.

    A copy is made in `scratch`, a private directory that the caller removes.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path = path
        self._scratch = scratch
        self._found: Fingerprint | None = None
        self._address = ""

    @contextmanager
    def connection(self) -> Generator[sqlite3.Connection]:
        """A connection that can only read. It gives texts that are no UTF-8 as `NotUtf8`.

        Raises ForeignChanged if it was written to since it was first asked, unless a copy is read;
        ConfigError if it cannot be read.
        """
        with readable(self._path):
            if not self._address:
                self._choose()
            try:
                with closing(self._connect()) as opened:
                    yield opened
            except ERRORS:
                # What is half written looks like damage.
                self._check_unchanged()
                raise
            self._check_unchanged()

    def _choose(self) -> None:
        """Copy it if something stands in its log; else remember how it was."""
        real = self._path.resolve()
        if any(_size_and_time(_beside(real, log))[0] > 0 for log in _LOGS):
            self._address = f"file:{quote(str(self._copied(real)))}?mode=rw"
        else:
            self._found = fingerprint_of(real)
            self._address = f"file:{quote(str(real))}?mode=ro&immutable=1"

    def _connect(self) -> sqlite3.Connection:
        opened = sqlite3.connect(self._address, uri=True, isolation_level=None)
        opened.text_factory = _text
        opened.execute("PRAGMA trusted_schema = OFF")
        opened.execute("PRAGMA query_only = ON")
        return opened

    def _check_unchanged(self) -> None:
        # A log may grow while only the database is read, and nothing of it is seen.
        if self._found is not None and fingerprint_of(self._path)[:2] != self._found[:2]:
            raise changed(self._path)

    def _copied(self, real: Path) -> Path:
        """Copy database and log at one state of them.

        While the database stays as it is and the log is not begun again, the log only grows. Of
        what is half in it, SQLite reads nothing.
        """
        target = self._scratch / real.name
        for _ in range(_TRIES):
            before = _state(real)
            time.sleep(_TICK)
            for log in ("", *_LOGS):
                _copy_if_there(_beside(real, log), _beside(target, log))
            if _state(real) == before:
                return target
        raise changed(self._path)


def _text(raw: bytes) -> str | NotUtf8:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NotUtf8(raw)


def _state(real: Path) -> _State:
    file = real.stat()
    try:
        with open(_beside(real, _WAL), "rb") as wal:
            head = wal.read(_HEAD)
    except FileNotFoundError:
        head = b""
    journal = _size_and_time(_beside(real, _JOURNAL))
    return _State(file.st_size, file.st_mtime_ns, head, journal)


def _copy_if_there(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return
    target.chmod(0o600)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
