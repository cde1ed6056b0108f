"""Session files of the `jsonl` backend: their names, their lines, and how they change safely.

A file is only changed inside a writing transaction of the index, which SQLite's lock gives to one
process at a time. Appends go to the end of the file and are synced before COMMIT; what a crash
leaves behind the committed length is cut off. Everything else (reset, rollback, delete) prepares a
replacement beside the file, which takes the file's place after COMMIT (`finish_replacement`). Until
then the index says that the replacement is the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, cast

from sessions import times
from sessions.errors import StoreDamaged, StoreUnavailable
from sessions.ids import shown_id, stored_id
from sessions.process.durable import sync
from sessions.store.engine.rows import MessageRow
from sessions.text import sanitize_key

SUFFIX: Final = ".jsonl"
# Bytes of a name before it is shortened. Most file systems take 255, suffixes of ours included.
_LONGEST_NAME: Final = 200
# Bytes that a shortened name keeps of the key, before the digest that tells it apart.
_KEPT: Final = 160
_DIGEST: Final = 16
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class FileState(IntEnum):
    """What has yet to happen to a file, as the index remembers it."""

    DONE = 0
    TO_REPLACE = 1
    TO_DELETE = 2


@dataclass(slots=True)
class FileRow:
    """A row of `files`: `length` bytes of the file, or of its replacement, are committed."""

    session_id: int
    name: str
    length: int
    state: FileState


class TextMoved(Exception):
    """A line is not where the index said: the file changed between two reads. Ask again."""


def plain_name(key: str) -> str | None:
    """The name, without suffix, that a session's file should have; None where it is too long."""
    name = sanitize_key(key)
    return name if len(name.encode()) <= _LONGEST_NAME else None


def distinct_name(key: str) -> str:
    """The name for a key whose plain name is too long or another session's."""
    kept = sanitize_key(key).encode()[:_KEPT].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(key.encode()).hexdigest()[:_DIGEST]}"


def folded(name: str) -> str:
    """The form in which two names are one file on some file system."""
    return unicodedata.normalize("NFC", name).casefold()


def line_of(message: MessageRow, key: str) -> bytes:
    """A message as a line: what ZeroClaw reads first, then what the index can be rebuilt from."""
    fields: dict[str, Any] = {
        "role": message.role,
        "content": message.content,
        "id": shown_id(message.event_id),
        "seq": message.seq,
        "created_at": times.render(message.created_at),
        "session": key,
    }
    if message.turn is not None:
        fields["turn"] = shown_id(message.turn)
    if message.by is not None:
        fields["by"] = message.by
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def content_of(line: bytes, event_id: str) -> str:
    """The content of the line of this event's message; TextMoved if the line is another's."""
    fields = parsed(line)
    # A line that another program wrote has no id; its place is all that is known of it.
    shown = shown_id(event_id)
    if fields is None or fields.get("id", shown) != shown:
        raise TextMoved
    return str(fields["content"])


def parsed(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None for anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def event_id_of(fields: dict[str, Any]) -> str | None:
    """The id under which the store keeps a line's message; None for a line of another program.

    A line has the id as it was published, and who published it if that was an agent.
    """
    event_id, by = fields.get("id"), fields.get("by")
    if not isinstance(event_id, str):
        return None
    return stored_id(event_id, by if isinstance(by, str) else None)


class SessionFiles:
    """The files of one directory. Blocking; an OSError becomes StoreUnavailable."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def main(self, row: FileRow) -> Path:
        """Where people find the session's file."""
        return self._directory / f"{row.name}{SUFFIX}"

    def replacement(self, row: FileRow) -> Path:
        """Where the file's next content waits until it is committed."""
        return self._directory / f".{row.name}{SUFFIX}.next"

    def current(self, row: FileRow) -> Path:
        """The file that the index speaks of."""
        replacement = self.replacement(row)
        # It takes its place before the index says so, much before where the disk is full.
        is_replaced = row.state is FileState.TO_REPLACE and not replacement.exists()
        return self.main(row) if row.state is FileState.DONE or is_replaced else replacement

    def torn(self, row: FileRow) -> Path:
        """Where bytes are kept that were cut off."""
        return self._directory / f"{row.name}{SUFFIX}.torn"

    def append(self, row: FileRow, data: bytes) -> None:
        """Write and sync the data behind the committed length; all of it or nothing."""
        with _Opened(self.current(row), os.O_WRONLY | os.O_CREAT | _OPEN) as fd:
            self._cut(fd, row)
            try:
                _write_all(fd, data, row.length)
            except OSError:
                os.ftruncate(fd, row.length)
                raise
            _sync(fd)

    def read(self, row: FileRow, places: Iterable[tuple[int, int]]) -> list[bytes]:
        """The bytes at these places; TextMoved where the file is not there any more."""
        try:
            with _Opened(self.current(row), os.O_RDONLY | _OPEN) as fd:
                return [os.pread(fd, size, place) for place, size in places]
        except FileNotFoundError as error:
            raise TextMoved from error

    def prepare(self, row: FileRow, *, without: tuple[int, int] | None) -> None:
        """Write the replacement: empty, or the file without the bytes at one place."""
        kept = b""
        if without is not None:
            place, size = without
            [before, after] = self.read(
                row, [(0, place), (place + size, row.length - place - size)]
            )
            kept = before + after
        draft = self._directory / f".{row.name}{SUFFIX}.draft"
        with _Opened(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OPEN) as fd:
            _write_all(fd, kept, 0)
            _sync(fd)
        os.replace(draft, self.replacement(row))
        self.sync_directory()

    def finish_replacement(self, row: FileRow) -> None:
        """Let the replacement take the file's place, or delete the file; again is no harm."""
        if row.state is FileState.TO_REPLACE and self.replacement(row).exists():
            os.replace(self.replacement(row), self.main(row))
        elif row.state is FileState.TO_DELETE:
            for path in (self.main(row), self.replacement(row)):
                path.unlink(missing_ok=True)
        self.torn(row).unlink(missing_ok=True)
        self.sync_directory()

    def undo(self, row: FileRow) -> None:
        """Bring a settled file back to its committed length after a transaction that failed."""
        self.replacement(row).unlink(missing_ok=True)
        if row.length == 0:
            self.main(row).unlink(missing_ok=True)
        else:
            os.truncate(self.main(row), row.length)

    def recover(self, row: FileRow) -> bool:
        """Cut what a crash left behind the committed length; False where bytes are missing."""
        path = self.current(row)
        if not path.exists():
            return row.length == 0
        with _Opened(path, os.O_RDWR | _OPEN) as fd:
            self._cut(fd, row)
            return os.fstat(fd).st_size == row.length

    def remove_drafts(self, kept: set[str]) -> None:
        """Remove successors that no commit knows; `kept` names the ones that are known."""
        for pattern in (f".*{SUFFIX}.next", f".*{SUFFIX}.draft"):
            for path in self._directory.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def set_strays_aside(self, known: set[str]) -> None:
        """Rename files of ours that no commit knows to `.torn`: a leader died as it made them.

        `known` holds the names, without suffix, of the index. What is in such a file is still in
        the stream. A file that another program wrote stays where it is, and so does a copy.
        """
        for path in self.strays(known):
            os.replace(path, path.with_name(f"{path.name}.torn"))

    def strays(self, known: set[str]) -> list[Path]:
        """Files of ours, by their first lines and names, that are not among the `known` names."""
        return [
            path
            for path in self._directory.glob(f"[!.]*{SUFFIX}")
            if path.stem not in known and _is_ours(path)
        ]

    def is_foreign(self, name: str, key: str) -> bool:
        """Whether a file has that name which the index does not know and which is not ours.

        Ours it is where a crash left it: it begins with a line of this session.
        """
        try:
            with (self._directory / f"{name}{SUFFIX}").open("rb") as file:
                first = file.readline()
        except FileNotFoundError:
            return False
        if not first.endswith(b"\n"):
            # Empty, or a first line that a crash has torn.
            return False
        fields = parsed(first)
        return fields is None or fields.get("session") != key

    def _cut(self, fd: int, row: FileRow) -> None:
        surplus = os.fstat(fd).st_size - row.length
        if surplus > 0:
            tail = _read_at(self.current(row), row.length, surplus)
            with _Opened(self.torn(row), os.O_WRONLY | os.O_CREAT | os.O_APPEND | _OPEN) as torn:
                os.write(torn, tail)
            os.ftruncate(fd, row.length)

    def sync_directory(self) -> None:
        """Make new names durable."""
        sync(self._directory)


def _is_ours(path: Path) -> bool:
    """Whether a plain file begins with a line of the session that it is named after."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        key = (parsed(file.readline()) or {}).get("session")
    return isinstance(key, str) and path.stem in (plain_name(key), distinct_name(key))


class _Opened:
    """A file descriptor that is closed at the end of the block."""

    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        self._flags = flags

    def __enter__(self) -> int:
        self._fd = os.open(self._path, self._flags, 0o600)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _read_at(path: Path, offset: int, size: int) -> bytes:
    with _Opened(path, os.O_RDONLY | _OPEN) as fd:
        return os.pread(fd, size, offset)


def _sync(fd: int) -> None:
    try:
        os.fdatasync(fd)
    except OSError as error:
        # The kernel may have dropped what it could not write; a second try would report success.
        raise StoreDamaged(f"a session file could not be synced: {error.strerror}") from error


def unavailable(error: OSError) -> StoreUnavailable:
    """A file system's error as the store's."""
    return StoreUnavailable(
        f"{error.filename or 'a session file'}: {error.strerror}; is the disk full? Nothing is "
        "lost; work goes on when there is space"
    )
