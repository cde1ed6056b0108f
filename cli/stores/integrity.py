"""Checks a store against itself: what its rows say of each other, and what SQLite says of its file.

It opens the database by itself, read-only and with plain SQL, so that it does not believe what it
is to check. All of the database is of one moment, so a worker may go on writing. Session files
(jsonl) are read after it: one that is rewritten meanwhile may be told to lack texts.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sessions import make_session_backend, times
from sessions.errors import SessionError, StoreUnavailable
from sessions.process.settings import Settings
from sessions.store.engine.workset import ID_AFTERLIFE
from sessions.store.jsonl.backend import INDEX
from sessions.store.jsonl.files import FileRow, SessionFiles, State, TextMoved, event_id_of, parsed
from sessions.store.sqlite.backend import FILE
from sessions.store.sqlite.schema import VERSION
from sessions.text import fold_for_search

# The database of each backend, in `{workspace}/sessions`.
DATABASES: Final = {"sqlite": FILE, "jsonl": INDEX}
# Examples that are kept of each kind of fault.
EXAMPLES: Final = 20
# Seconds to wait for somebody's lock.
_PATIENCE: Final = 5.0

# What must not be found, each with the rows that would show it. Numbers of a stream id that need
# all 64 bits are stored as negative ones.
_RULES: Final = {
    "sessions whose message_count is not the number of their messages": """
        SELECT key, message_count, count(m.id) AS found
        FROM sessions s LEFT JOIN messages m ON m.session_id = s.id
        GROUP BY s.id HAVING message_count <> found""",
    "sessions that will give a number out again": """
        SELECT key, next_seq, max(seq) AS last
        FROM sessions s JOIN messages m ON m.session_id = s.id GROUP BY s.id HAVING next_seq <= last
        """,
    # A missing number belonged to a message that was taken back. Its event's row tells so for a
    # while; a store that is younger than that must be able to tell of every one.
    "sessions with missing numbers that no event explains": """
        SELECT key, max(seq) - min(seq) + 1 - count(*) AS missing, coalesce(g.gone, 0) AS explained
        FROM messages m JOIN sessions s ON s.id = m.session_id LEFT JOIN
            (SELECT session_id, count(*) AS gone FROM events
            WHERE seq IS NOT NULL AND gone IS NOT NULL GROUP BY session_id) g
            ON g.session_id = s.id
        WHERE (SELECT created_at FROM store) > :explained_since
        GROUP BY s.id HAVING missing > explained""",
    "messages without a live session": """
        SELECT m.id, m.event_id FROM messages m LEFT JOIN sessions s ON s.id = m.session_id
        WHERE s.id IS NULL OR NOT s.live""",
    "messages that the row of their event id does not know": """
        SELECT m.id, m.event_id FROM messages m LEFT JOIN events e ON e.event_id = m.event_id
        WHERE e.event_id IS NULL OR e.gone IS NOT NULL OR e.seq IS NOT m.seq
            OR coalesce(e.session_id, m.session_id) <> m.session_id""",
    "events whose message is missing": """
        SELECT e.event_id, e.seq FROM events e
        LEFT JOIN messages m ON m.session_id = e.session_id AND m.seq = e.seq
        WHERE e.seq IS NOT NULL AND e.gone IS NULL AND e.session_id IS NOT NULL AND m.id IS NULL""",
    "outcomes that the cursor has not reached": """
        SELECT e.event_id, e.ms, e.n FROM events e, stream s
        WHERE e.epoch = s.epoch AND
            (e.ms < 0, e.ms, e.n < 0, e.n) > (s.ms < 0, s.ms, s.n < 0, s.n)""",
    # Versions that took times of any year left them; they are shown as the nearest time that is.
    "times that cannot be shown as they are": """
        SELECT 'messages', s.key, m.seq, m.created_at FROM messages m
            LEFT JOIN sessions s ON s.id = m.session_id
            WHERE m.created_at NOT BETWEEN :earliest AND :latest
        UNION ALL SELECT 'sessions', key, NULL, value FROM (
            SELECT key, created_at AS value FROM sessions UNION ALL
            SELECT key, last_activity FROM sessions UNION ALL
            SELECT key, state_since FROM sessions)
            WHERE value NOT BETWEEN :earliest AND :latest
        UNION ALL SELECT 'dead_letters', session, id, at FROM dead_letters
            WHERE at NOT BETWEEN :earliest AND :latest""",
}
# A text with one of these, in the form in which it is indexed, has a word.
_WORD: Final = re.compile(r"[A-Za-z0-9]")


@dataclass
class Health:
    """What was looked at, and each kind of fault with its number and some examples."""

    sessions: int = 0
    messages: int = 0
    events: int = 0
    faults: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[list[Any]]] = field(default_factory=dict[str, list[list[Any]]])

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not any(self.faults.values())

    def add(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Count the rows that show a kind of fault, keeping the first ones."""
        remaining = iter(rows)
        examples = [list(row) for row in islice(remaining, EXAMPLES)]
        self.faults[kind] = len(examples) + sum(1 for _ in remaining)
        if examples:
            self.examples[kind] = examples


def database_of(settings: Settings) -> Path:
    """The database of the store of these settings; raises UnknownBackend."""
    backend = make_session_backend(settings.workspace, settings.channels.session_backend)
    return settings.workspace / "sessions" / DATABASES[backend.name]


def check_store(settings: Settings) -> Health:
    """Check the store of a workspace; raises SessionError where there is none, or a broken one."""
    health = Health()
    path = database_of(settings)
    with _opened(path) as connection:
        health.add("damage of the file", _damage(connection))
        parameters = {
            "explained_since": times.now() - ID_AFTERLIFE,
            "earliest": times.EARLIEST,
            "latest": times.LATEST,
        }
        for kind, sql in _RULES.items():
            health.add(kind, connection.execute(sql, parameters))
        _check_texts(connection, path.parent, health)
        for name in ("sessions", "messages", "events"):
            [(count,)] = connection.execute(f"SELECT count(*) FROM {name}")
            setattr(health, name, count)
    return health


@contextlib.contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    """The store as it is at one moment."""
    if not path.exists():
        raise SessionError(f"there is no store at {path} yet; the first worker makes it")
    uri = f"file:{quote(str(path))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
            [(version,)] = connection.execute("PRAGMA user_version")
            if version != VERSION:
                raise SessionError(f"{path} has schema version {version}, not {VERSION}")
            # Lives in the temporary schema, so that a connection that only reads may make it.
            connection.execute(
                "CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, search, instance)"
            )
            connection.execute("BEGIN")
            yield connection
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"{path} cannot be read now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise SessionError(f"{path} is damaged: {error}") from error


def _damage(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute("PRAGMA integrity_check(100)").fetchall()
    return [] if rows == [("ok",)] else rows


def _check_texts(connection: sqlite3.Connection, directory: Path, health: Health) -> None:
    """Compare the messages with their texts, and with what the search index knows."""
    indexed = {row[0] for row in connection.execute("SELECT DISTINCT doc FROM temp.words")}
    textless: list[tuple[int]] = []
    unfound: list[tuple[int]] = []
    for number, text in _texts(connection, directory):
        if text is None:
            textless.append((number,))
        elif number not in indexed and _WORD.search(fold_for_search(text)):
            unfound.append((number,))
        indexed.discard(number)
    health.add("messages without a text", textless)
    health.add("messages that search does not find", unfound)
    health.add("entries of the search index without a message", ((row,) for row in sorted(indexed)))


def _texts(connection: sqlite3.Connection, directory: Path) -> Iterator[tuple[int, str | None]]:
    """Each message's row id with its text, None where it has none."""
    if connection.execute("SELECT texts FROM store").fetchone() == ("rows",):
        yield from connection.execute("SELECT id, content FROM messages")
        return
    files = SessionFiles(directory)
    rows = connection.execute(
        "SELECT f.session_id, f.name, f.length, f.state, m.id, m.event_id, m.place, m.size "
        "FROM messages m LEFT JOIN files f ON f.session_id = m.session_id ORDER BY m.session_id"
    )
    for (session, name, length, state), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        messages = [row[4:] for row in group]
        if session is None:
            yield from ((message[0], None) for message in messages)
            continue
        lines = _lines(files, FileRow(session, name, length, State(state)), messages)
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
