"""Checks a store against itself: what its rows say of each other, and what SQLite says of its file.

It reads the database with plain SQL of its own, so that it does not believe what it is to check.
All of the database is of one moment, so a worker may go on writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from sessions import times
from sessions.errors import SessionError
from sessions.store.capabilities import Health
from sessions.store.engine.workset import ID_RETENTION
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.schema import VERSION
from sessions.text import fold_for_search

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


def check_database(
    connection: sqlite3.Connection, path: Path, texts: Iterable[tuple[int, str | None]]
) -> Health:
    """Check all of it. `texts` gives each message's row id with its text, None if it has none.

    Raises SessionError for another schema version, and SQLite's own errors.
    """
    _begin(connection, path)
    health = Health()
    health.add("damage of the file", _damage(connection))
    parameters = {
        "explained_since": times.now() - ID_RETENTION,
        "earliest": times.EARLIEST,
        "latest": times.LATEST,
    }
    for kind, sql in _RULES.items():
        health.add(kind, connection.execute(sql, parameters))
    _check_texts(connection, texts, health)
    for name in ("sessions", "messages", "events"):
        [(count,)] = connection.execute(f"SELECT count(*) FROM {name}")
        setattr(health, name, count)
    return health


def texts_in_rows(connection: sqlite3.Connection) -> Iterator[tuple[int, str | None]]:
    """The texts of a store that keeps them in its rows."""
    yield from connection.execute("SELECT id, content FROM messages")


def _begin(connection: sqlite3.Connection, path: Path) -> None:
    [(version,)] = connection.execute("PRAGMA user_version")
    if version != VERSION:
        raise SessionError(f"{path} has schema version {version}, not {VERSION}")
    # Lives in the temporary schema, so that a connection that only reads may make it.
    connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, search, instance)")
    connection.execute("BEGIN")


def _damage(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute("PRAGMA integrity_check(100)").fetchall()
    return [] if rows == [("ok",)] else rows


def _check_texts(
    connection: sqlite3.Connection, texts: Iterable[tuple[int, str | None]], health: Health
) -> None:
    """Compare the messages with their texts, and with what the search index knows."""
    indexed = {row[0] for row in connection.execute("SELECT DISTINCT doc FROM temp.words")}
    textless: list[tuple[int]] = []
    unfound: list[tuple[int]] = []
    for number, text in texts:
        if text is None:
            textless.append((number,))
        elif number not in indexed and _WORD.search(fold_for_search(text)):
            unfound.append((number,))
        indexed.discard(number)
    health.add("messages without a text", textless)
    health.add("messages that search does not find", unfound)
    health.add("entries of the search index without a message", ((row,) for row in sorted(indexed)))
