"""What goes into a rebuilt index: sessions, messages and events, of files and of the old index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sessions import times
from sessions.models import Reason
from sessions.store.capabilities import Rebuilt
from sessions.store.engine import rules
from sessions.store.engine.rows import EventRow, SessionRow, columns, session_values
from sessions.store.engine.workset import ID_RETENTION
from sessions.store.jsonl.files import (
    SUFFIX,
    FileRow,
    FileState,
    SessionFiles,
    distinct_name,
    folded,
    plain_name,
)
from sessions.store.jsonl.metas import Meta, MetaFiles
from sessions.store.jsonl.salvage import (
    SalvagedFile,
    SalvagedIndex,
    SalvagedLine,
    agreed,
    first_session,
    read_content,
    rows_of,
    tables_in,
)
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.search import indexing
from sessions.store.sqlite.statements import RepeatedStatement, marks

# What the old index tells of a session that its file does not.
_REMEMBERED: Final = (
    *("name", "agent", "channel", "room", "sender", "state", "turn"),
    *("state_since", "created_at", "last_activity"),
)
_UPDATE_EVENT: Final = (
    "UPDATE events SET (digest, epoch, ms, n, duplicates, detail) = (?, ?, ?, ?, ?, ?) "
    "WHERE event_id = ?"
)
_FILES: Final = "session_id, name, folded, length, state"
# An id's payload is not in the file; an empty digest agrees with every payload.
_UNKNOWN_DIGEST: Final = b""


@dataclass(frozen=True)
class _Found:
    """A session of which there is something: text, or a meta file, or both."""

    key: str
    file: FileRow
    content: SalvagedFile
    meta: Meta | None


def names_in(directory: Path) -> list[str]:
    """The names of all session files and meta files, without suffix."""
    texts = {path.name.removesuffix(SUFFIX) for path in directory.glob(f"[!.]*{SUFFIX}")}
    return sorted(texts | {*MetaFiles(directory).names()})


class IndexFiller:
    """Fills one index, in a transaction of its own."""

    def __init__(self, directory: Path, memory: SalvagedIndex, result: Rebuilt) -> None:
        self._directory = directory
        self._memory = memory
        self._result = result
        self._files = SessionFiles(directory)
        self._metas = MetaFiles(directory)
        self._keys: set[str] = set()
        self._ids: set[str] = set()
        self._folded: set[str] = set()
        # Above those of the old index, whose sessions keep theirs.
        self._last_session = max((row["id"] for row in memory.sessions.values()), default=0)
        # Rows of messages keep theirs too: search shows them in that order.
        self._rows: dict[str, int] = {}
        self._last_row = 0
        self._doomed: dict[str | None, str] = {}

    async def fill(self, connection: WritingConnection) -> None:
        """Take in every session of which there is something, and what only the old index knows."""
        if self._memory.path is not None:
            for names, rows in rows_of(self._memory.path, "messages"):
                number, event_id = names.index("id"), names.index("event_id")
                self._rows |= {row[event_id]: row[number] for row in rows}
            self._last_row = max(self._rows.values(), default=0)
        every = {*names_in(self._directory), *self._memory.files}
        # Files that have the name of their session go before copies of them.
        for name in sorted(every, key=lambda name: (self._is_copy(name), name)):
            found = self._find(name)
            if found is not None:
                await self._take(connection, found)
        for key, row in self._memory.sessions.items():
            if key not in self._keys:
                await self._keep(connection, key, row)
        if self._memory.path is not None:
            await self._copy(connection, self._memory.path)

    def _is_copy(self, name: str) -> bool:
        """Whether the first line names a session that has its file elsewhere."""
        if name in self._memory.files:
            return False
        metas = self._metas.read(name)
        if metas:
            return name not in (plain_name(metas[-1].session), distinct_name(metas[-1].session))
        key = first_session(self._directory / f"{name}{SUFFIX}")
        return key is not None and name not in (plain_name(key), distinct_name(key))

    # -- looking -----------------------------------------------------------------------------

    def _find(self, name: str) -> _Found | None:
        """What there is under a name; None for what is left alone, which is reported."""
        known = self._memory.files.get(name)
        if known is not None and known[1].state is FileState.TO_DELETE:
            # It is deleted; the worker that was to remove it died, and the next one will.
            self._doomed[known[0]] = name
            return None
        file = self._file(name, known[1] if known is not None else None)
        path = self._files.current(file)
        meta, is_sure = agreed(self._metas.read(name))
        try:
            content = (
                read_content(path, name) if path.exists() or path.is_symlink() else SalvagedFile()
            )
        except OSError as error:
            return self._leave(path, error.strerror or "cannot be read")
        key = self._key(name, content, known[0] if known is not None else None, meta)
        if key is None:
            return self._leave(path, "holds no message of ours")
        if folded(name) in self._folded:
            return self._leave(path, "differs from another file in capitals or accents only")
        if key in self._keys:
            return self._leave(path, f"is another file of session {key!r}")
        if meta is not None and meta.session != key:
            self._leave(self._metas.main(name), f"tells of another session than {key!r}")
            meta = None
        if not is_sure and key not in self._memory.sessions:
            self._result.unowned.append(key)
        return _Found(key, file, self._own(path, key, content), meta)

    def _file(self, name: str, known: FileRow | None) -> FileRow:
        """The row of a file, as the old index has it, else as the files show it.

        A replacement that no index knows was committed or not. If it was not, the events that
        made it are still on the stream and have the same effect again: it is right in both cases.
        """
        if known is not None:
            return FileRow(known.session_id, name, 0, known.state)
        self._last_session += 1
        file = FileRow(self._last_session, name, 0, FileState.DONE)
        if self._memory.store_id is None and self._files.replacement(file).exists():
            file.state = FileState.TO_REPLACE
        return file

    def _key(
        self, name: str, content: SalvagedFile, known: str | None, meta: Meta | None
    ) -> str | None:
        """The session that a file is of; None if nothing tells that it is one of ours."""
        named = next((line.session for line in content.lines if line.session is not None), None)
        told = meta.session if meta is not None else None
        return known or named or told or (name if content.lines else None)

    def _own(self, path: Path, key: str, content: SalvagedFile) -> SalvagedFile:
        """The content without lines of other sessions, and without ids that came before."""
        lines: list[SalvagedLine] = []
        numbers = {line.place: number for number, line in _numbered(content)}
        for line in content.lines:
            if line.session in (None, key) and line.id not in self._ids:
                self._ids.add(line.id)
                lines.append(line)
            else:
                content.foreign.append(numbers[line.place])
        self._result.skipped += [f"{path.name}:{number}" for number in sorted(content.foreign)]
        content.lines = lines
        return content

    def _leave(self, path: Path, why: str) -> None:
        self._result.left.append(f"{path.name}: {why}")

    # -- writing -----------------------------------------------------------------------------

    async def _take(self, connection: WritingConnection, found: _Found) -> None:
        """Index one session."""
        self._keys.add(found.key)
        self._folded.add(folded(found.file.name))
        lines, file = found.content.lines, found.file
        session = self._session(found)
        file.length = found.content.length
        await _insert(connection, "sessions", columns(SessionRow), [session_values(session)])
        await _insert(
            connection,
            "files",
            _FILES,
            [(file.session_id, file.name, folded(file.name), file.length, file.state)],
        )
        turns = _Turns(lines)
        numbers = [self._row(line) for line in lines]
        rows = [
            _message(number, session.id, line, turns)
            for number, line in zip(numbers, lines, strict=True)
        ]
        await _insert(connection, "messages", columns(TextRow), rows)
        events = [_event(session, line) for line in lines]
        await _insert(connection, "events", columns(EventRow), events)
        contents = [line.content for line in lines]
        await connection.script(indexing(zip(numbers, contents, strict=True)))
        self._result.sessions += 1
        self._result.messages += len(lines)

    def _row(self, line: SalvagedLine) -> int:
        """The number of a message's row: the old one's, or the next one."""
        if line.id in self._rows:
            return self._rows[line.id]
        self._last_row += 1
        return self._last_row

    def _session(self, found: _Found) -> SessionRow:
        """The row of a session: from the old index, else from its meta file, else from its text."""
        lines, meta = found.content.lines, found.meta
        moments = [min(line.created_at, times.now()) for line in lines]
        begun = times.parse(meta.created_at) if meta is not None else min(moments, default=None)
        session = rules.opened(found.key, found.file.session_id, 1, begun or times.now())
        session.last_activity = max(moments, default=session.created_at)
        if meta is not None:
            for name in ("generation", "name", "agent", "channel", "room", "sender"):
                setattr(session, name, getattr(meta, name))
        old = self._memory.sessions.get(found.key)
        next_seq = 1
        if old is not None and old["generation"] >= session.generation:
            session.generation, next_seq = old["generation"], old["next_seq"]
            session.owned_from = old.get("owned_from", session.owned_from)
            for name in _REMEMBERED if old["live"] else ():
                setattr(session, name, old[name])
        session.message_count = len(lines)
        session.next_seq = max(next_seq, lines[-1].seq + 1 if lines else 1)
        return session

    async def _keep(self, connection: WritingConnection, key: str, row: Mapping[str, Any]) -> None:
        """Keep a session without text, or a tombstone, as the old index has it."""
        # An index of schema version 1 knows no `owned_from`.
        session = SessionRow(**{name: row.get(name, 1) for name in SessionRow.__annotations__})
        session.message_count = 0
        await _insert(connection, "sessions", columns(SessionRow), [session_values(session)])
        self._result.sessions += session.live
        if key in self._doomed:
            name = self._doomed[key]
            await _insert(
                connection,
                "files",
                _FILES,
                [(session.id, name, folded(name), 0, FileState.TO_DELETE)],
            )

    async def _copy(self, connection: WritingConnection, old: Path) -> None:
        """Take over what only the old index knows."""
        # An index of a schema version below 4 has no receipts.
        for table in ("suppressed", "dead_letters", *tables_in(old, "receipts")):
            for names, rows in rows_of(old, table):
                await _insert(connection, table, ", ".join(names), rows)
        for names, rows in rows_of(old, "stream"):
            settings = ", ".join(f"{name} = ?" for name in names)
            await connection.run(f"UPDATE stream SET {settings}", rows[0])
        expiry = times.now() + ID_RETENTION
        for _, rows in rows_of(old, "events"):
            known = [EventRow(*row) for row in rows]
            there = [row for row in known if row.event_id in self._ids]
            await connection.script([RepeatedStatement(_UPDATE_EVENT, [*map(_place_of, there)])])
            others = [row for row in known if row.event_id not in self._ids]
            gone = [_without_message(row, expiry) for row in others]
            await _insert(connection, "events", columns(EventRow), gone)


def _numbered(content: SalvagedFile) -> Iterator[tuple[int, SalvagedLine]]:
    """The lines with their numbers, which count the foreign ones too."""
    foreign = {*content.foreign}
    number = 0
    for line in content.lines:
        number += 1
        while number in foreign:
            number += 1
        yield number, line


class _Turns:
    """Which message a line's turn names: ids are kept with their publisher's space."""

    def __init__(self, lines: Sequence[SalvagedLine]) -> None:
        self._ids = {line.id for line in lines}
        self._spaces: dict[str, str] = {}
        for line in lines:
            shown, mark, _ = line.id.partition("@")
            if mark:
                self._spaces.setdefault(shown, line.id)

    def of(self, line: SalvagedLine) -> str | None:
        """The publisher's own message, else the message of that id in this session."""
        if line.turn is None:
            return None
        own = line.turn + line.id[len(line.id.partition("@")[0]) :]
        if own in self._ids or line.turn in self._ids:
            return own if own in self._ids else line.turn
        return self._spaces.get(line.turn, own)


def _message(row_id: int, session_id: int, line: SalvagedLine, turns: _Turns) -> tuple[Any, ...]:
    """A row of `messages`; which columns there are is the schema's."""
    given = {
        **{"id": row_id, "session_id": session_id, "seq": line.seq, "event_id": line.id},
        **{"role": line.role, "turn": turns.of(line), "created_at": line.created_at},
        **{"place": line.place, "size": line.size, "by": line.by},
    }
    return tuple(given.get(name) for name in TextRow._fields)


def _place_of(row: EventRow) -> tuple[Any, ...]:
    return (row.digest, row.epoch, row.ms, row.n, row.duplicates, row.detail, row.event_id)


def _without_message(row: EventRow, expiry: int) -> EventRow:
    """An event whose message, if it made one, is in no file any more."""
    if row.seq is None or row.gone is not None:
        return row
    return row._replace(gone=Reason.DELETED, expires_at=expiry)


def _event(session: SessionRow, line: SalvagedLine) -> tuple[Any, ...]:
    """A row of `events`; where it stood in the stream only the old index may know."""
    given = {
        **{"event_id": line.id, "digest": _UNKNOWN_DIGEST, "outcome": rules.APPLIED},
        **{"session_id": session.id, "generation": session.generation, "seq": line.seq},
        **{"epoch": 0, "ms": 0, "n": 0, "duplicates": 0},
    }
    return tuple(given.get(name) for name in EventRow._fields)


async def _insert(
    connection: WritingConnection, table: str, names: str, rows: Iterable[tuple[Any, ...]]
) -> None:
    statement = f"INSERT INTO {table} ({names}) VALUES {marks(names)}"
    await connection.script([RepeatedStatement(statement, [*rows])])
