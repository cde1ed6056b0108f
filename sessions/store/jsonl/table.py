"""The table `files` of the index: which file is whose, and how much of it is committed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sessions.store.jsonl.files import (
    FileRow,
    FileState,
    SessionFiles,
    distinct_name,
    folded,
    plain_name,
)
from sessions.store.jsonl.threads import FileThreads

# Runs one statement, as the writer or as a reader.
Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]

_COLUMNS: Final = "session_id, name, length, state"
# The same and the folded name, from a JSON array: one statement for all files of a batch.
_EXTRACTED: Final = ", ".join(f"json_extract(value, '$[{number}]')" for number in range(5))
_OF_SESSIONS: Final = (
    f"SELECT {_COLUMNS} FROM files WHERE session_id IN (SELECT value FROM json_each(?))"
)
_SAVE: Final = (
    "UPDATE files SET length = json_extract(value, '$[2]'), "
    "state = json_extract(value, '$[3]') FROM json_each(?) "
    "WHERE session_id = json_extract(value, '$[0]')"
)


async def files_of(run: Run, session_ids: Iterable[int]) -> list[FileRow]:
    """The files of these sessions; those without one are left out."""
    found = await run(_OF_SESSIONS, (json.dumps(sorted(session_ids)),))
    return [_file_row(row) for row in found]


async def files_where(run: Run, condition: str) -> list[FileRow]:
    """The files for which this SQL condition holds."""
    return [_file_row(row) for row in await run(f"SELECT {_COLUMNS} FROM files WHERE {condition}")]


class FileTable:
    """The rows of the files that the writing transaction in hand uses."""

    def __init__(self, files: SessionFiles, threads: FileThreads, run: Run) -> None:
        self._files = files
        self._threads = threads
        self._run = run
        # As the transaction has them, and what they were before it.
        self._rows: dict[int, FileRow] = {}
        self.before: dict[int, FileRow] = {}

    @property
    def rows(self) -> Mapping[int, FileRow]:
        """The rows that were used, by session."""
        return self._rows

    def forget(self) -> None:
        """The transaction in hand has ended."""
        self._rows.clear()
        self.before.clear()

    async def find_rows(self, session_ids: set[int]) -> dict[int, FileRow]:
        """The files of these sessions, without those that have none."""
        for row in await files_of(self._run, session_ids - self._rows.keys()):
            self._rows[row.session_id] = row
            self.before[row.session_id] = replace(row)
        return {number: self._rows[number] for number in session_ids & self._rows.keys()}

    async def opened(self, session_ids: set[int], keys: Mapping[int, str]) -> dict[int, FileRow]:
        """The files of these sessions; a session that has none gets one."""
        rows = await self.find_rows(session_ids)
        new = {session_id: keys[session_id] for session_id in session_ids - rows.keys()}
        if new:
            rows |= await self.new(new)
        return rows

    async def new(self, keys: Mapping[int, str]) -> dict[int, FileRow]:
        """Files for sessions, each under a name that no other session has."""
        plain = {session_id: plain_name(key) for session_id, key in keys.items()}
        taken = await self._taken(plain, keys)
        rows: dict[int, FileRow] = {}
        for session_id, key in keys.items():
            name = plain[session_id]
            if name is None or folded(name) in taken:
                name = distinct_name(key)
            taken.add(folded(name))
            rows[session_id] = FileRow(session_id, name, 0, FileState.DONE)
        await self._run(
            f"INSERT INTO files ({_COLUMNS}, folded) SELECT {_EXTRACTED} FROM json_each(?)",
            (json.dumps([[*_values(row), folded(row.name)] for row in rows.values()]),),
        )
        self._rows |= rows
        self.before |= {session_id: replace(row) for session_id, row in rows.items()}
        return rows

    async def _taken(self, names: Mapping[int, str | None], keys: Mapping[int, str]) -> set[str]:
        """Which of the names, folded, are another session's or another program's."""
        wanted = json.dumps([folded(name) for name in names.values() if name is not None])
        used = await self._run(
            "SELECT folded FROM files WHERE folded IN (SELECT value FROM json_each(?))", (wanted,)
        )
        taken = {row[0] for row in used}

        def check(session_id: int) -> None:
            name = names[session_id]
            if name is not None and self._files.is_foreign(name, keys[session_id]):
                taken.add(folded(name))

        await self._threads.each(check, names)
        return taken

    async def save(self, rows: Sequence[FileRow]) -> None:
        """Write down length and state."""
        await self._run(_SAVE, (json.dumps([_values(row) for row in rows]),))


def _values(row: FileRow) -> tuple[int, str, int, int]:
    return (row.session_id, row.name, row.length, row.state)


def _file_row(row: tuple[Any, ...]) -> FileRow:
    return FileRow(row[0], row[1], row[2], FileState(row[3]))
