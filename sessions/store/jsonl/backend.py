"""The `jsonl` backend: text in a file for each session, the rest in `index.db` beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sessions import times, wire
from sessions.errors import ConfigError, StoreDamaged, StoreUnavailable
from sessions.models import LetterBounds, Message, Page, Scope, SearchHit
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.store.engine.texts import Run
from sessions.store.jsonl.files import (
    SUFFIX,
    FileRow,
    SessionFiles,
    State,
    TextMoved,
    content_of,
    distinct_name,
    folded,
    line_of,
    plain_name,
    unavailable,
)
from sessions.store.jsonl.metas import Descriptions, MetaFiles
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.store import Store

R = TypeVar("R")

INDEX: Final = "index.db"
# Files synced at the same time: the disk joins neighbouring syncs, and more threads only wait.
_THREADS: Final = 8
# Times that a read is repeated because a file changed under it. Each change is a whole
# transaction, so that a second collision is rare already.
_READ_TRIES: Final = 10
_FILE_COLUMNS: Final = "session_id, name, length, state"
# The same and the folded name, from a JSON array: one statement for all files of a batch.
_EXTRACTED: Final = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(5))


class JsonlBackend(Store):
    """Sessions as files that people, `jq` and ZeroClaw read."""

    name = "jsonl"

    def __init__(
        self,
        workspace: Path,
        *,
        mode: Literal["read", "write"],
        max_content: int = wire.DEFAULT_MAX_CONTENT,
        bounds: LetterBounds | None = None,
        clock: Callable[[], int] = times.now,
    ) -> None:
        self._directory = workspace / "sessions"
        super().__init__(
            self._directory / INDEX,
            lambda run: TextsInFiles(self._directory, run),
            mode=mode,
            max_content=max_content,
            bounds=bounds,
            clock=clock,
        )

    async def _found(self, connection: WritingConnection) -> None:
        """Begin an index, but never beside files that another index knows."""
        texts = {path.name.removesuffix(SUFFIX) for path in self._directory.glob(f"*{SUFFIX}")}
        # A session without messages has its meta file alone.
        orphans = texts | {*MetaFiles(self._directory).names()}
        if orphans:
            raise ConfigError(
                f"{self._directory} holds {len(orphans)} session files and no index of them; "
                "rebuild it with `turnstream verify --rebuild-index`, or move the files away"
            )
        await super()._found(connection)

    async def history(
        self,
        key: str,
        *,
        generation: int | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Message]:
        """As the contract says; again where the file changed between index and text."""
        history = super().history
        return await _steadily(
            lambda: history(key, generation=generation, limit=limit, cursor=cursor)
        )

    async def search(
        self,
        query: str,
        *,
        scope: Scope | None = None,
        key: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
        seconds: float | None = None,
    ) -> Page[SearchHit]:
        """As the contract says; again where a file changed between index and text."""
        search = super().search
        return await _steadily(
            lambda: search(query, scope=scope, key=key, limit=limit, cursor=cursor, seconds=seconds)
        )


async def _steadily(read: Callable[[], Awaitable[R]]) -> R:
    for _ in range(_READ_TRIES):
        try:
            return await read()
        except TextMoved:
            await asyncio.sleep(0)
    raise StoreUnavailable("the session changes faster than it can be read; try again")


class TextsInFiles:
    """Texts as lines of session files; see `files` for what makes that safe."""

    kind = "files"

    def __init__(self, directory: Path, run: Run) -> None:
        self._files = SessionFiles(directory)
        self._run = run
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="session-files")
        # Files of the transaction in hand, and what they were before it.
        self._rows: dict[int, FileRow] = {}
        self._before: dict[int, FileRow] = {}
        self._metas = Descriptions(directory, run, self._each)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    # -- writing -----------------------------------------------------------------------------

    async def store(
        self, messages: Sequence[MessageRow], keys: Mapping[int, str]
    ) -> Sequence[MessageRow]:
        """Append the messages to their files, synced; their rows keep the place instead."""
        placed: list[MessageRow] = []
        rows = await self._opened({message.session_id for message in messages}, keys)
        lines: dict[int, list[bytes]] = {}
        ends = {session_id: row.length for session_id, row in rows.items()}
        for message in messages:
            line = line_of(message, keys[message.session_id])
            place = ends[message.session_id]
            placed.append(message._replace(place=place, size=len(line), content=None))
            ends[message.session_id] = place + len(line)
            lines.setdefault(message.session_id, []).append(line)
        await self._append(rows, lines)
        for session_id, end in ends.items():
            rows[session_id].length = end
        await self._save([*rows.values()])
        return placed

    async def _append(self, rows: Mapping[int, FileRow], lines: Mapping[int, list[bytes]]) -> None:
        for session_id in lines:
            row = rows[session_id]
            if row.state is State.DOOMED:
                # Deleted and opened again in one transaction.
                await self._prepare(row, without=None)
        await self._each(
            lambda session_id: self._files.append(rows[session_id], b"".join(lines[session_id])),
            lines,
        )
        if any(rows[session_id].length == 0 for session_id in lines):
            await self._each(lambda _: self._files.sync_directory(), [None])

    async def remove(self, session: SessionRow, messages: Sequence[MessageRow]) -> None:
        """Rewrite the file without these messages; the places of the later ones move up."""
        row = (await self._known({session.id}))[session.id]
        for message in messages:
            assert message.place is not None
            assert message.size is not None
            await self._prepare(row, without=(message.place, message.size))
            row.length -= message.size
            await self._run(
                "UPDATE messages SET place = place - ? WHERE session_id = ? AND place > ?",
                (message.size, session.id, message.place),
            )
        await self._save([row])

    async def end(self, session: SessionRow, *, deleted: bool) -> None:
        """Let an empty file follow, or none."""
        row = (await self._known({session.id})).get(session.id)
        if row is None:
            return
        await self._prepare(row, without=None)
        row.length = 0
        if deleted:
            row.state = State.DOOMED
        await self._save([row])

    async def describe(self, sessions: Sequence[SessionRow]) -> None:
        """Draft what has changed in the meta files of live sessions.

        Those of deleted ones go with their text.
        """
        await self._metas.resolve()
        live = [session for session in sessions if session.live]
        rows = await self._opened({row.id for row in live}, {row.id: row.key for row in live})
        for row in rows.values():
            if row.state is State.DOOMED:
                # Deleted and opened again in one transaction: its empty successor stays.
                row.state = State.SUCCEEDED
                await self._save([row])
        await self._metas.draft([(rows[session.id].name, session) for session in live])

    async def committed(self) -> None:
        """Let the drafts take their places. One that cannot is written later, from the index."""
        await self._metas.publish()

    async def _prepare(self, row: FileRow, *, without: tuple[int, int] | None) -> None:
        await self._each(lambda _: self._files.prepare(row, without=without), [None])
        row.state = State.SUCCEEDED

    async def _opened(self, session_ids: set[int], keys: Mapping[int, str]) -> dict[int, FileRow]:
        """The files of these sessions; a session that has none gets one."""
        rows = await self._known(session_ids)
        new = {session_id: keys[session_id] for session_id in session_ids - rows.keys()}
        if new:
            rows |= await self._new(new)
        return rows

    async def _new(self, keys: Mapping[int, str]) -> dict[int, FileRow]:
        """Files for sessions, each under a name that no other session has."""
        plain = {session_id: plain_name(key) for session_id, key in keys.items()}
        taken = await self._taken(plain, keys)
        rows: dict[int, FileRow] = {}
        for session_id, key in keys.items():
            name = plain[session_id]
            if name is None or folded(name) in taken:
                name = distinct_name(key)
            taken.add(folded(name))
            rows[session_id] = FileRow(session_id, name, 0, State.SETTLED)
        await self._run(
            f"INSERT INTO files ({_FILE_COLUMNS}, folded) SELECT {_EXTRACTED} FROM json_each(?)",
            (json.dumps([[*_values(row), folded(row.name)] for row in rows.values()]),),
        )
        self._rows |= rows
        self._before |= {session_id: replace(row) for session_id, row in rows.items()}
        return rows

    async def _taken(self, names: Mapping[int, str | None], keys: Mapping[int, str]) -> set[str]:
        """Which of the names, folded, are another session's or a stranger's."""
        wanted = json.dumps([folded(name) for name in names.values() if name is not None])
        used = await self._run(
            "SELECT folded FROM files WHERE folded IN (SELECT value FROM json_each(?))", (wanted,)
        )
        taken = {row[0] for row in used}

        def look(session_id: int) -> None:
            name = names[session_id]
            if name is not None and self._files.is_foreign(name, keys[session_id]):
                taken.add(folded(name))

        await self._each(look, names)
        return taken

    async def _known(self, session_ids: set[int]) -> dict[int, FileRow]:
        """The files of these sessions, as the transaction in hand has them."""
        for row in await self._files_of(session_ids - self._rows.keys()):
            self._rows[row.session_id] = row
            self._before[row.session_id] = replace(row)
        return {number: self._rows[number] for number in session_ids & self._rows.keys()}

    async def _files_of(self, session_ids: Iterable[int]) -> list[FileRow]:
        wanted = json.dumps(sorted(session_ids))
        found = await self._run(
            f"SELECT {_FILE_COLUMNS} FROM files "
            "WHERE session_id IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return [_file_row(row) for row in found]

    async def _save(self, rows: Sequence[FileRow]) -> None:
        await self._run(
            "UPDATE files SET length = json_extract(value, '$[2]'), "
            "state = json_extract(value, '$[3]') FROM json_each(?) "
            "WHERE session_id = json_extract(value, '$[0]')",
            (json.dumps([_values(row) for row in rows]),),
        )

    # -- transactions ------------------------------------------------------------------------

    async def undo(self) -> None:
        """Bring the files back to what they were before the transaction in hand."""
        await self._each(lambda number: self._files.undo(self._before[number]), self._before)
        await self._metas.drop()
        self.forget()

    def forget(self) -> None:
        """The transaction in hand has ended."""
        self._metas.forget()
        self._rows.clear()
        self._before.clear()

    async def settle(self) -> None:
        """Let successors take their files' places; doing it again is no harm."""
        rows = [
            _file_row(row)
            for row in await self._run(f"SELECT {_FILE_COLUMNS} FROM files WHERE state <> 0")
        ]
        await self._each(self._files.settle, rows)
        doomed = [row.name for row in rows if row.state is State.DOOMED]
        await self._metas.remove(doomed)
        await self._metas.resolve()
        await self._run("UPDATE files SET state = 0 WHERE state = ?", (State.SUCCEEDED,))
        await self._run("DELETE FROM files WHERE state = ?", (State.DOOMED,))

    async def unsettled(self) -> bool:
        """Whether `settle` has anything to do."""
        return bool(await self._run("SELECT 1 FROM files WHERE state <> 0 LIMIT 1"))

    async def recover(self) -> None:
        """Cut every file to its committed length, after a leader that may have died writing."""
        rows = [_file_row(row) for row in await self._run(f"SELECT {_FILE_COLUMNS} FROM files")]
        short: list[str] = []

        def check(row: FileRow) -> None:
            if not self._files.recover(row):
                short.append(row.name)

        await self._each(check, rows)
        if short:
            raise StoreDamaged(
                f"{len(short)} session files are shorter than the index knows, {short[0]}{SUFFIX} "
                "among them; restore them, or accept what is there with "
                "`turnstream verify --rebuild-index`"
            )
        kept = {self._files.successor(row).name for row in rows if row.state is State.SUCCEEDED}
        await self._each(lambda _: self._files.remove_drafts(kept), [None])
        names = {row.name for row in rows}
        await self._each(lambda _: self._files.set_strays_aside(names), [None])
        await self._recover_metas()
        # What was looked at here is not part of a transaction that somebody undoes.
        self.forget()

    async def _recover_metas(self) -> None:
        """Have a file for every live session, also where an older version made the store."""
        keys = await self._run(
            "SELECT id, key FROM sessions WHERE live AND id NOT IN (SELECT session_id FROM files)"
        )
        if keys:
            await self._new(dict(keys))
        await self._metas.recover()

    # -- reading -----------------------------------------------------------------------------

    async def load(self, messages: Sequence[MessageRow]) -> list[str]:
        """The contents, from the files; TextMoved where a file changed since its index was read."""
        wanted: dict[int, list[MessageRow]] = {}
        for message in messages:
            wanted.setdefault(message.session_id, []).append(message)
        files = self._rows | {
            row.session_id: row for row in await self._files_of(wanted.keys() - self._rows.keys())
        }
        contents: dict[int, str] = {}

        def read(session_id: int) -> None:
            if session_id not in files:
                raise TextMoved
            places = [(row.place or 0, row.size or 0) for row in wanted[session_id]]
            lines = self._files.read(files[session_id], places)
            for row, line in zip(wanted[session_id], lines, strict=True):
                contents[row.id] = content_of(line, row)

        await self._each(read, wanted)
        return [contents[message.id] for message in messages]

    async def _each(self, work: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Do blocking work on each item in the threads; raise the first error when all is done."""
        loop = asyncio.get_running_loop()
        every = [*items]
        shares = [every[start::_THREADS] for start in range(min(_THREADS, len(every)))]
        done = await asyncio.gather(
            *(loop.run_in_executor(self._pool, _all, work, share) for share in shares),
            return_exceptions=True,
        )
        for error in done:
            if isinstance(error, OSError):
                raise unavailable(error) from error
            if error is not None:
                raise error


def _all(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        work(item)


def _values(row: FileRow) -> tuple[int, str, int, int]:
    return (row.session_id, row.name, row.length, row.state)


def _file_row(row: tuple[Any, ...]) -> FileRow:
    return FileRow(row[0], row[1], row[2], State(row[3]))
