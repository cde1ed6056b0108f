"""The files of a jsonl store as tools see them: checked, and indexed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from sessions.errors import ConfigError
from sessions.process.private import make_private_directory
from sessions.store.capabilities import Rebuilt
from sessions.store.jsonl import belongings
from sessions.store.jsonl.backend import INDEX
from sessions.store.jsonl.files import (
    FileRow,
    FileState,
    SessionFiles,
    TextMoved,
    event_id_of,
    parsed,
)
from sessions.store.jsonl.rebuild import rebuild_index
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.local import LocalSqliteStore
from sessions.store.sqlite.marks import incoming_path


class LocalJsonlStore(LocalSqliteStore):
    """A `LocalStore` with every ability that there is.

    Session files are read after the index: one that is rewritten meanwhile may be told to lack
    texts.
    """

    name = "jsonl"

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace, INDEX)
        self._workspace = workspace

    def remove_incoming(self) -> None:
        """Remove the incoming store: its files, those that no commit knows too, then its index."""
        index = incoming_path(self.path)
        if index.exists():
            belongings.remove(self.path.parent, belongings.names_in(index))
        super().remove_incoming()

    def retire(self) -> None:
        """Put the marked store aside; its session files go with their index."""
        super().retire()
        mark = self.mark()
        if mark is not None:
            place = self.path.parent / mark.place
            belongings.move(self.path.parent, place, belongings.names_in(place / self.path.name))

    async def rebuild(self) -> Rebuilt:
        """Make the index again from the files, which are only read."""
        make_private_directory(self.path.parent)
        with closing(self.leader_lock()) as lock:
            if not lock.try_acquire():
                raise ConfigError(
                    f"a worker writes to {self._workspace}; stop it first (turnstream up, or "
                    "turnstream worker), then rebuild"
                )
            return await rebuild_index(self._workspace)

    def _texts(self, connection: sqlite3.Connection) -> Iterable[tuple[int, str | None]]:
        return _texts_in_files(connection, SessionFiles(self.path.parent))


def _texts_in_files(
    connection: sqlite3.Connection, files: SessionFiles
) -> Iterator[tuple[int, str | None]]:
    rows = connection.execute(
        "SELECT f.session_id, f.name, f.length, f.state, m.id, m.event_id, m.place, m.size "
        "FROM messages m LEFT JOIN files f ON f.session_id = m.session_id ORDER BY m.session_id"
    )
    for (session, name, length, state), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        messages = [row[4:] for row in group]
        if session is None:
            yield from ((message[0], None) for message in messages)
            continue
        lines = _lines(files, FileRow(session, name, length, FileState(state)), messages)
        for (number, event_id, _, _), line in zip(messages, lines, strict=True):
            fields = parsed(line) or {}
            yield number, fields.get("content") if event_id_of(fields) in (None, event_id) else None


def _lines(
    files: SessionFiles, file: FileRow, messages: Sequence[tuple[int, str, int, int]]
) -> list[bytes]:
    try:
        return files.read(file, [(place, size) for _, _, place, size in messages])
    except TextMoved:
        return [b""] * len(messages)
