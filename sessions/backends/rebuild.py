"""Making the index of the `jsonl` backend anew from its files, after it was lost or damaged.

What only the index knew is lost: outcomes other than the messages', dead letters, and, unless the
old index can still be read, names, owners and routing. The stream is read again from its
beginning; messages that are in the files are known by their ids.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sessions import times
from sessions.backends import rules
from sessions.backends.connection import WritingConnection
from sessions.backends.files import SUFFIX, State, folded, parsed
from sessions.backends.jsonl import INDEX, JsonlBackend
from sessions.backends.rows import session_values
from sessions.backends.search import indexing
from sessions.backends.statements import Form
from sessions.errors import ConfigError

# What the old index tells of a session that its file does not.
_REMEMBERED: Final = ("name", "agent", "channel", "room", "sender")
# An id's payload is not in the file; an empty digest agrees with every payload.
_UNKNOWN_DIGEST: Final = b""


@dataclass
class Rebuilt:
    """What was found. `skipped` names the lines that hold no message, as `file:line`."""

    sessions: int = 0
    messages: int = 0
    skipped: list[str] = field(default_factory=list[str])
    remembered: bool = False


@dataclass(frozen=True)
class _Memory:
    """What could still be read of the old index."""

    store_id: str | None = None
    keys: dict[str, str] = field(default_factory=dict[str, str])
    sessions: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])


async def rebuild_index(workspace: Path) -> Rebuilt:
    """Set the old index aside and make a new one; the caller has made sure that nobody leads.

    Raises ConfigError where there are no session files. A file whose last line is torn is cut to
    its last whole line; the rest is kept in `.torn`.
    """
    directory = workspace / "sessions"
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    if not paths:
        raise ConfigError(f"{directory} holds no session files to rebuild an index from")
    memory = _remember(directory / INDEX)
    _set_aside(directory)
    result = Rebuilt(remembered=memory.store_id is not None)
    backend = _Rebuilding(workspace, mode="write")
    async with backend:
        await backend.fill(paths, memory, result)
    return result


class _Rebuilding(JsonlBackend):
    """The backend while its index is being made; it does not mind the files."""

    async def _found(self, connection: WritingConnection) -> None:
        await super(JsonlBackend, self)._found(connection)

    async def fill(self, paths: list[Path], memory: _Memory, result: Rebuilt) -> None:
        """Take every file into the index, in one transaction."""
        run = self._connection
        async with run.transaction():
            if memory.store_id is not None:
                await run.run("UPDATE store SET store_id = ?", (memory.store_id,))
            for number, path in enumerate(paths, start=1):
                await _take(run, number, path, memory, result)


async def _take(
    connection: WritingConnection, number: int, path: Path, memory: _Memory, result: Rebuilt
) -> None:
    """Index one file as session `number`."""
    length = _cut_torn(path)
    lines = list(_messages(path, result))
    name = path.name.removesuffix(SUFFIX)
    known = memory.keys.get(name, name)
    key = next((line.key for line in lines if line.key is not None), known)
    first = min((line.created_at for line in lines), default=times.now())
    session = rules.opened(key, number, 1, first)
    for attribute, value in zip(_REMEMBERED, memory.sessions.get(key, ()), strict=False):
        setattr(session, attribute, value)
    session.message_count = len(lines)
    session.last_activity = max((line.created_at for line in lines), default=first)
    session.next_seq = max((line.seq for line in lines), default=0) + 1
    await _insert(connection, "sessions", [session_values(session)])
    await _insert(connection, "files", [(number, name, folded(name), length, State.SETTLED)])
    base = result.messages
    await _insert(
        connection,
        "messages",
        [line.message_row(base + place, number) for place, line in enumerate(lines, start=1)],
    )
    await _insert(connection, "events", [line.event_row(number) for line in lines])
    contents = ((base + place, line.content) for place, line in enumerate(lines, start=1))
    await connection.script(indexing(contents))
    result.sessions += 1
    result.messages += len(lines)


@dataclass(frozen=True)
class _Line:
    """A line that holds a message."""

    id: str
    seq: int
    role: str
    content: str
    turn: str | None
    key: str | None
    created_at: int
    place: int
    size: int

    def message_row(self, row_id: int, session_id: int) -> tuple[Any, ...]:
        """Its row of `messages`."""
        return (
            *(row_id, session_id, self.seq, self.id, self.role, self.turn, self.created_at),
            *(None, self.place, self.size),
        )

    def event_row(self, session_id: int) -> tuple[Any, ...]:
        """Its row of `events`; where it stood in the stream nobody knows any more."""
        return (
            *(self.id, _UNKNOWN_DIGEST, rules.APPLIED, None, session_id, None, 1, self.seq),
            *(None, 0, 0, 0, 0, None, None),
        )


def _messages(path: Path, result: Rebuilt) -> Iterator[_Line]:
    """The messages of a file; a line of another program gets an id from its place."""
    place, seq = 0, 0
    origin = hashlib.sha256(path.name.encode()).hexdigest()[:16]
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            fields = parsed(raw)
            if fields is not None and _is_message(fields):
                seq = max(seq + 1, int(fields.get("seq", 0)))
                yield _Line(
                    id=str(fields.get("id") or f"import:{origin}:{number}"),
                    seq=seq,
                    role=fields["role"],
                    content=fields["content"],
                    turn=fields.get("turn"),
                    key=fields.get("session"),
                    created_at=_time(fields, path),
                    place=place,
                    size=len(raw),
                )
            elif raw.strip():
                result.skipped.append(f"{path.name}:{number}")
            place += len(raw)


def _is_message(fields: dict[str, Any]) -> bool:
    return isinstance(fields.get("role"), str) and isinstance(fields.get("content"), str)


def _time(fields: dict[str, Any], path: Path) -> int:
    try:
        return times.parse(fields["created_at"])
    except (KeyError, TypeError, ValueError):
        return path.stat().st_mtime_ns // 1000


def _cut_torn(path: Path) -> int:
    """Cut a last line that has no end; the length that remains."""
    content = path.read_bytes()
    length = content.rfind(b"\n") + 1
    if length < len(content):
        with path.with_name(f"{path.name}.torn").open("ab") as torn:
            torn.write(content[length:])
        os.truncate(path, length)
    return length


def _remember(index: Path) -> _Memory:
    """Store id and sessions of the old index, as far as it can be read."""
    if not index.exists():
        return _Memory()
    try:
        old = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
        [(store_id,)] = old.execute("SELECT store_id FROM store")
        keys = dict(
            old.execute("SELECT f.name, s.key FROM files f JOIN sessions s ON s.id = f.session_id")
        )
        rows = old.execute(f"SELECT key, {', '.join(_REMEMBERED)} FROM sessions WHERE live")
        sessions = {row[0]: row[1:] for row in rows}
        old.close()
    except (sqlite3.Error, ValueError):
        return _Memory()
    return _Memory(store_id, keys, sessions)


def _set_aside(directory: Path) -> None:
    """Keep the old index under another name; its log belongs to it."""
    stamp = times.render(times.now()).replace(":", "").replace("+0000", "Z")
    for suffix in ("", "-wal", "-shm"):
        path = directory / f"{INDEX}{suffix}"
        if path.exists():
            path.rename(directory / f"{INDEX}.old-{stamp}{suffix}")


async def _insert(connection: WritingConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        await connection.script(Form(f"INSERT INTO {table} VALUES ", f"({marks})").of(rows))
