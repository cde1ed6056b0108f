"""Writes a sessions.db as ZeroClaw makes it: its tables, triggers and search index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from sessions.process.durable import sync
from sessions.store.sqlite.library import sqlite3
from sessions.zeroclaw.chrono import written
from sessions.zeroclaw.database import DATABASE
from sessions.zeroclaw.values import ForeignMessage, ForeignSession

_SESSION: Final = """
INSERT INTO session_metadata (
    session_key, created_at, last_activity, name, state, turn_id, turn_started_at,
    agent_alias, channel_id, room_id, sender_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MESSAGE: Final = (
    "INSERT INTO sessions (session_key, role, content, created_at) VALUES (?, ?, ?, ?)"
)
# Nobody sees the file before it is whole, so until then nothing has to be safe.
_DRAFTING: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "BEGIN")
# ZeroClaw opens it in this mode; it stands in the file.
_FINISHED: Final = ("COMMIT", "PRAGMA journal_mode = WAL")


class DatabaseDraft:
    """A sessions.db that is being written. See `writing.WorkspaceDraft`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / DATABASE
        self._path.touch(mode=0o600)
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        schema = resources.files("sessions.zeroclaw").joinpath("schema.sql")
        self._connection.executescript(schema.read_text(encoding="utf-8"))
        self._run(_DRAFTING)

    def add_session(self, session: ForeignSession) -> None:
        """See `WorkspaceDraft`."""
        since = session.state_since
        self._connection.execute(
            _SESSION,
            (
                session.key,
                written(session.created_at, session.created_text),
                written(session.last_activity, session.active_text),
                session.name,
                session.state,
                session.turn,
                session.since_text if since is None else written(since, session.since_text),
                session.agent,
                session.channel,
                session.room,
                session.sender,
            ),
        )

    def add_message(self, message: ForeignMessage) -> None:
        """See `WorkspaceDraft`."""
        time = written(message.created_at, message.time_text)
        self._connection.execute(_MESSAGE, (message.key, message.role, message.content, time))

    def finish(self, counts: Mapping[str, int]) -> Mapping[str, str]:
        """See `WorkspaceDraft`. Every key stands in it as it is."""
        self._connection.executemany(
            "UPDATE session_metadata SET message_count = ? WHERE session_key = ?",
            ((count, key) for key, count in counts.items() if count),
        )
        self._run(_FINISHED)
        self.close()
        sync(self._path)
        return {}

    def close(self) -> None:
        """Let go of the file; again is no harm."""
        self._connection.close()

    def _run(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._connection.execute(statement).fetchall()
