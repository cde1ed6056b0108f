"""What ZeroClaw answers from a sessions.db: its own queries, as plain SQL.

In this order two databases that mean the same to it give the same answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

METADATA: Final = (
    "session_key, created_at, last_activity, message_count, name, state, turn_id, turn_started_at, "
    "agent_alias, channel_id, room_id, sender_id"
)
Rows = list[tuple[Any, ...]]


class Upstream:
    """An open database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, *values: object) -> Rows:
        """The rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def load(self, key: str) -> Rows:
        """Role, content and time of each message."""
        return self.rows(
            "SELECT role, content, created_at FROM sessions WHERE session_key = ? ORDER BY id", key
        )

    def list_sessions(self) -> Rows:
        """The metadata of all, newest first. Ties have no order, so they get one here."""
        return self.rows(
            f"SELECT {METADATA} FROM session_metadata ORDER BY last_activity DESC, session_key"
        )

    def running(self) -> Rows:
        """The sessions that run."""
        return self.rows(
            "SELECT session_key, turn_id, turn_started_at FROM session_metadata "
            "WHERE state = 'running' ORDER BY turn_started_at DESC, session_key"
        )

    def attributions(self) -> Rows:
        """How many sessions each agent has."""
        return self.rows(
            "SELECT agent_alias, count(*) FROM session_metadata GROUP BY agent_alias ORDER BY 1"
        )

    def search(self, keyword: str, limit: int = 50) -> list[str]:
        """The keys that it finds, in the order of each session's first row that matches."""
        expression = " OR ".join(f'"{word}"' for word in keyword.split())
        try:
            found = self.rows(
                "SELECT DISTINCT session_key FROM sessions_fts WHERE sessions_fts MATCH ? LIMIT ?",
                expression,
                limit,
            )
        except sqlite3.Error:
            return []
        known = "SELECT 1 FROM session_metadata WHERE session_key = ?"
        return [key for (key,) in found if self.rows(known, key)]


def answers(path: Path, keys: Iterable[str], words: Iterable[str]) -> dict[str, object]:
    """Everything that ZeroClaw can be asked."""
    with closing(sqlite3.connect(path)) as connection:
        upstream = Upstream(connection)
        return {
            "list": upstream.list_sessions(),
            "running": upstream.running(),
            "attributions": upstream.attributions(),
            "messages": {key: upstream.load(key) for key in keys},
            "searches": {(word, n): upstream.search(word, n) for word in words for n in (3, 50)},
        }
