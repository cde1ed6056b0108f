"""The text of messages in session files, in step with the transactions of the index.

See `files` for what makes that safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sessions.errors import StoreDamaged
from sessions.store.engine.rows import MessageRow, SessionRow
from sessions.store.jsonl.files import (
    SUFFIX,
    FileRow,
    FileState,
    SessionFiles,
    TextMoved,
    content_of,
    line_of,
)
from sessions.store.jsonl.metas import MetaWriter
from sessions.store.jsonl.table import FileTable, Run, files_of, files_where
from sessions.store.jsonl.threads import FileThreads, explained
from sessions.store.sqlite.rows import TextRow

# Bytes of one file up to which they are read in the event loop's thread: a hand-over costs more.
_AT_ONCE: Final = 64 * 1024
_MOVE_UP: Final = "UPDATE messages SET place = place - ? WHERE session_id = ? AND place > ?"
_WITHOUT_FILE: Final = (
    "SELECT id, key FROM sessions WHERE live AND id NOT IN (SELECT session_id FROM files)"
)


class TextsInFiles:
    """Reads texts, for the writer inside its transaction or for a reader."""

    def __init__(self, files: SessionFiles, threads: FileThreads, run: Run) -> None:
        self._files = files
        self._threads = threads
        self._run = run

    async def load(
        self, messages: Sequence[TextRow], known: Mapping[int, FileRow] | None = None
    ) -> list[str]:
        """The contents, in order; TextMoved if a file changed since its index was read.

        `known` are rows of files as the transaction in hand has them.
        """
        wanted: dict[int, list[TextRow]] = {}
        for message in messages:
            wanted.setdefault(message.session_id, []).append(message)
        rows = {**(known or {})}
        rows |= {row.session_id: row for row in await files_of(self._run, wanted.keys() - rows)}
        contents: dict[int, str] = {}

        def read(session_id: int) -> None:
            if session_id not in rows:
                raise TextMoved
            places = [(row.place or 0, row.size or 0) for row in wanted[session_id]]
            lines = self._files.read(rows[session_id], places)
            for row, line in zip(wanted[session_id], lines, strict=True):
                contents[row.id] = content_of(line, row.event_id)

        if len(wanted) == 1 and sum(message.size or 0 for message in messages) <= _AT_ONCE:
            with explained():
                read(*wanted)
        else:
            await self._threads.each(read, wanted)
        return [contents[message.id] for message in messages]


class WritingTexts:
    """The writer's files. Every transaction ends with `forget`, after `undo` if it failed."""

    def __init__(self, directory: Path, threads: FileThreads, run: Run) -> None:
        self._files = SessionFiles(directory)
        self._threads = threads
        self._run = run
        self._table = FileTable(self._files, threads, run)
        self._texts = TextsInFiles(self._files, threads, run)
        self._metas = MetaWriter(directory, run, threads.each)

    async def load(self, messages: Sequence[TextRow]) -> list[str]:
        """The contents, as the transaction in hand has them."""
        return await self._texts.load(messages, self._table.rows)

    # -- changes -----------------------------------------------------------------------------

    async def store(self, messages: Sequence[MessageRow], keys: Mapping[int, str]) -> list[TextRow]:
        """Append the messages to their files, synced; their rows keep the place instead."""
        placed: list[TextRow] = []
        rows = await self._table.opened({message.session_id for message in messages}, keys)
        lines: dict[int, list[bytes]] = {}
        ends = {session_id: row.length for session_id, row in rows.items()}
        for message in messages:
            line = line_of(message, keys[message.session_id])
            place = ends[message.session_id]
            placed.append(TextRow(*message[:7], None, place, len(line), message.by))
            ends[message.session_id] = place + len(line)
            lines.setdefault(message.session_id, []).append(line)
        await self._append(rows, lines)
        for session_id, end in ends.items():
            rows[session_id].length = end
        await self._table.save([*rows.values()])
        return placed

    async def _append(self, rows: Mapping[int, FileRow], lines: Mapping[int, list[bytes]]) -> None:
        for session_id in lines:
            row = rows[session_id]
            if row.state is FileState.TO_DELETE:
                # Deleted and opened again in one transaction.
                await self._prepare(row, without=None)
        await self._threads.each(
            lambda session_id: self._files.append(rows[session_id], b"".join(lines[session_id])),
            lines,
        )
        if any(rows[session_id].length == 0 for session_id in lines):
            await self._threads.call(self._files.sync_directory)

    async def remove(self, session: SessionRow, places: Iterable[tuple[int, int]]) -> None:
        """Rewrite the file without these lines, by place and size; the later ones move up."""
        row = (await self._table.find_rows({session.id}))[session.id]
        for place, size in places:
            await self._prepare(row, without=(place, size))
            row.length -= size
            await self._run(_MOVE_UP, (size, session.id, place))
        await self._table.save([row])

    async def end(self, session: SessionRow, *, deleted: bool) -> None:
        """Let an empty file follow, or none."""
        row = (await self._table.find_rows({session.id})).get(session.id)
        if row is None:
            return
        await self._prepare(row, without=None)
        row.length = 0
        if deleted:
            row.state = FileState.TO_DELETE
        await self._table.save([row])

    async def describe(self, sessions: Sequence[SessionRow]) -> None:
        """Draft what has changed in the meta files of live sessions.

        Those of deleted ones go with their text.
        """
        await self._metas.resolve()
        live = [session for session in sessions if session.live]
        keys = {row.id: row.key for row in live}
        rows = await self._table.opened({*keys}, keys)
        for row in rows.values():
            if row.state is FileState.TO_DELETE:
                # Deleted and opened again in one transaction: its empty replacement stays.
                row.state = FileState.TO_REPLACE
                await self._table.save([row])
        await self._metas.draft([(rows[session.id].name, session) for session in live])

    async def _prepare(self, row: FileRow, *, without: tuple[int, int] | None) -> None:
        await self._threads.call(lambda: self._files.prepare(row, without=without))
        row.state = FileState.TO_REPLACE

    # -- transactions ------------------------------------------------------------------------

    async def committed(self) -> None:
        """The transaction in hand is committed. If this is not called, that is found out later."""
        await self._metas.publish()

    async def undo(self) -> None:
        """Bring the files back to what they were before the transaction in hand."""
        before = self._table.before
        await self._threads.each(lambda number: self._files.undo(before[number]), before)
        await self._metas.drop()
        self.forget()

    def forget(self) -> None:
        """The transaction in hand has ended."""
        self._metas.forget()
        self._table.forget()

    async def finish_replacements(self) -> None:
        """Let replacements take their files' places; doing it again is no harm."""
        rows = await files_where(self._run, "state <> 0")
        await self._threads.each(self._files.finish_replacement, rows)
        await self._metas.remove([row.name for row in rows if row.state is FileState.TO_DELETE])
        await self._metas.resolve()
        await self._run("UPDATE files SET state = 0 WHERE state = ?", (FileState.TO_REPLACE,))
        await self._run("DELETE FROM files WHERE state = ?", (FileState.TO_DELETE,))

    async def recover(self) -> None:
        """Cut every file to its committed length, after a leader that may have died writing."""
        rows = await files_where(self._run, "1")
        short: list[str] = []

        def check(row: FileRow) -> None:
            if not self._files.recover(row):
                short.append(row.name)

        await self._threads.each(check, rows)
        if short:
            raise StoreDamaged(
                f"{len(short)} session files are shorter than the index knows, {short[0]}{SUFFIX} "
                "among them; restore them, or accept them as they are with "
                "`turnstream verify --rebuild-index`"
            )
        kept = {
            self._files.replacement(row).name for row in rows if row.state is FileState.TO_REPLACE
        }
        await self._threads.call(lambda: self._files.remove_drafts(kept))
        names = {row.name for row in rows}
        await self._threads.call(lambda: self._files.set_strays_aside(names))
        await self._recover_metas()
        # What was looked at here is not part of a transaction that somebody undoes.
        self.forget()

    async def _recover_metas(self) -> None:
        """Have a file for every live session, also where an older version made the store."""
        keys = await self._run(_WITHOUT_FILE)
        if keys:
            await self._table.new(dict(keys))
        await self._metas.recover()
