"""Checks a store against itself: what its rows say of each other, and what SQLite says of its file.

It opens the file by itself, read-only and with plain SQL, so that it shares no code with the one
that wrote it. All of it is of one moment: a worker may go on writing meanwhile.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sessions import times
from sessions.backends.ledger import ID_AFTERLIFE
from sessions.backends.sqlite import FILE
from sessions.backends.store import VERSION
from sessions.errors import ConfigError, SessionError, StoreUnavailable
from sessions.text import fold_for_search

# Examples that are kept of each kind of fault.
EXAMPLES: Final = 20
# Seconds to wait for somebody's lock.
_PATIENCE: Final = 5.0

# What must not be found, each with the rows that would show it.
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
        WHERE e.epoch = s.epoch AND (e.ms, e.n) > (s.ms, s.n)""",
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


def check_store(workspace: Path, backend: str) -> Health:
    """Check the store of a workspace; raises where there is none, or none that can be checked."""
    if backend != "sqlite":
        raise ConfigError(f"verify knows the sqlite backend only, and this store is {backend}")
    health = Health()
    with _opened(workspace / "sessions" / FILE) as connection:
        health.add("damage of the file", _damage(connection))
        for kind, sql in _RULES.items():
            parameters = {"explained_since": times.now() - ID_AFTERLIFE}
            health.add(kind, connection.execute(sql, parameters))
        _check_index(connection, health)
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


def _check_index(connection: sqlite3.Connection, health: Health) -> None:
    """Compare which messages the search index knows with which there are."""
    indexed = {row[0] for row in connection.execute("SELECT DISTINCT doc FROM temp.words")}
    missing: list[tuple[int]] = []
    for number, content in connection.execute("SELECT id, content FROM messages"):
        if number in indexed:
            indexed.remove(number)
        elif _WORD.search(fold_for_search(content or "")):
            missing.append((number,))
    health.add("messages that search does not find", missing)
    health.add("entries of the search index without a message", ((row,) for row in sorted(indexed)))
