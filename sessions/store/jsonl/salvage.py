"""What can be read of a jsonl store without a good index: files, meta files, the old index."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from sessions import times
from sessions.store.jsonl.files import FileRow, FileState, event_id_of, parsed
from sessions.store.jsonl.metas import Meta
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.schema import understood

# No number of a message comes near; beyond it a line was not written by us.
_BOUND: Final = 2**53
# Rows of the old index that are held at a time.
_PORTION: Final = 1000


@dataclass(frozen=True)
class SalvagedLine:
    """A line that holds a message; `by` published it, `session` is the key that it names."""

    id: str
    by: str | None
    session: str | None
    seq: int
    role: str
    content: str
    turn: str | None
    created_at: int
    place: int
    size: int


@dataclass
class SalvagedFile:
    """The lines of a file up to its last line break, which is `length` bytes from its beginning."""

    lines: list[SalvagedLine] = field(default_factory=list[SalvagedLine])
    foreign: list[int] = field(default_factory=list[int])
    """The numbers of lines that hold no message."""
    length: int = 0


@dataclass(frozen=True)
class SalvagedIndex:
    """What could still be read of the old index, which is at `path`."""

    store_id: str | None = None
    path: Path | None = None
    created_at: int = 0
    # By key, each with its columns by name; tombstones too.
    sessions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    # By name, with the session's key.
    files: Mapping[str, tuple[str | None, FileRow]] = field(
        default_factory=dict[str, tuple[str | None, FileRow]]
    )


def read_content(path: Path, name: str) -> SalvagedFile:
    """Read a session file. Raises OSError, also for what is no plain file."""
    content = SalvagedFile()
    with _opened(path) as file:
        modified = os.fstat(file.fileno()).st_mtime_ns // 1000
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                # A crash has torn it. The next leader cuts it off and keeps it.
                break
            line = _line(raw, name, number, content, modified)
            if line is not None:
                content.lines.append(line)
            elif raw.strip():
                content.foreign.append(number)
            content.length += len(raw)
    return content


def _opened(path: Path) -> BinaryIO:
    """The plain file there. Opening it waits for nobody, as that of a pipe would."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = open(os.open(path, flags), "rb")  # noqa: SIM115 - the caller closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "no plain file")


def _line(
    raw: bytes, name: str, number: int, content: SalvagedFile, modified: int
) -> SalvagedLine | None:
    """The message of a line; one of another program gets an id from its place."""
    fields = parsed(raw)
    if fields is None or not _is_message(fields):
        return None
    origin = hashlib.sha256(name.encode()).hexdigest()[:16]
    last = content.lines[-1].seq if content.lines else 0
    seq = fields.get("seq")
    return SalvagedLine(
        id=event_id_of(fields) or f"import:{origin}:{number}",
        by=fields.get("by"),
        session=fields.get("session"),
        seq=seq if type(seq) is int and last < seq < _BOUND else last + 1,
        role=fields["role"],
        content=fields["content"],
        turn=fields.get("turn"),
        created_at=_time(fields, modified),
        place=content.length,
        size=len(raw),
    )


def _is_message(fields: dict[str, Any]) -> bool:
    """Whether it has a role and a content, and nothing of ours that we would not have written."""
    texts = [fields.get(name) for name in ("role", "content", "id", "turn", "session", "by")]
    if not isinstance(texts[0], str) or not isinstance(texts[1], str):
        return False
    if not all(isinstance(text, str | None) for text in texts) or fields.get("id", "x") is None:
        return False
    try:
        # Half a surrogate pair has no bytes.
        "".join(text or "" for text in texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(fields: dict[str, Any], modified: int) -> int:
    try:
        return times.parse(fields["created_at"])
    except (KeyError, TypeError, ValueError):
        return modified


def remember(index: Path) -> SalvagedIndex:
    """Read the old index: all of it or nothing.

    Raises StoreTooNew for one of a newer version, StoreMoved for one that was moved.
    """
    if not index.exists():
        return SalvagedIndex()
    try:
        with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as old:
            old.row_factory = sqlite3.Row
            old.execute("BEGIN")
            [(version,)] = old.execute("PRAGMA user_version")
            understood([(version,)], index)
            [(store_id, created_at)] = old.execute("SELECT store_id, created_at FROM store")
            sessions = {row["key"]: dict(row) for row in old.execute("SELECT * FROM sessions")}
            return SalvagedIndex(store_id, index, created_at, sessions, dict(_files(old)))
    except (sqlite3.Error, ValueError, KeyError):
        return SalvagedIndex()


def _files(old: sqlite3.Connection) -> Iterator[tuple[str, tuple[str | None, FileRow]]]:
    for row in old.execute(
        "SELECT f.session_id, f.name, f.length, f.state, s.key FROM files f "
        "LEFT JOIN sessions s ON s.id = f.session_id"
    ):
        state = FileState(row["state"])
        yield (
            row["name"],
            (row["key"], FileRow(row["session_id"], row["name"], row["length"], state)),
        )


def tables_in(index: Path, *names: str) -> list[str]:
    """Those of the tables that the old index has. Raises sqlite3.Error where it is damaged."""
    with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as old:
        found = {name for (name,) in old.execute("SELECT name FROM sqlite_schema")}
    return [name for name in names if name in found]


def rows_of(index: Path, table: str) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    """The rows of a table of the old index in portions, each with the names of its columns.

    Raises sqlite3.Error where it is damaged.
    """
    with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as old:
        found = old.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in found.description]
        while rows := found.fetchmany(_PORTION):
            yield names, rows


def first_session(path: Path) -> str | None:
    """The session that the first line of a file names; None if it names none."""
    try:
        with _opened(path) as file:
            named = (parsed(file.readline()) or {}).get("session")
    except OSError:
        return None
    return named if isinstance(named, str) else None


def agreed(metas: list[Meta]) -> tuple[Meta | None, bool]:
    """What a meta file and its draft say together, and whether they agree on the owner.

    One of them is of a transaction that may have failed. If they name two owners, nobody is it:
    an operator can give the session to its owner, but nobody can unread it.
    """
    if not metas:
        return None, True
    last = metas[-1]
    if all(meta.agent == last.agent for meta in metas):
        return last, True
    return replace(last, agent=None), False
