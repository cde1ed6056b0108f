"""ZeroClaw's sessions.db as a source: its sessions, then its messages in the order of their ids.

The order goes over all sessions, because ZeroClaw's search answers in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from sessions.errors import ConfigError
from sessions.store.sqlite.library import sqlite3
from sessions.zeroclaw.rows import MESSAGE, MetadataRow, RowReader
from sessions.zeroclaw.snapshot import ForeignSnapshot, fingerprint_of
from sessions.zeroclaw.sources import Digested, readable
from sessions.zeroclaw.values import IDLE, Fingerprint, Format, Record, Remark

DATABASE: Final = "sessions.db"
_SESSIONS: Final = "sessions"
_METADATA: Final = "session_metadata"
_RECEIPTS: Final = "jsonl_import_receipts"
# What every session_metadata has. The other columns were added over the years, one by one.
_BASE: Final = frozenset({"session_key", "created_at", "last_activity"})
_RECEIPT: Final = ("source_name", "session_key", "source_hash", "source_len")
# The two tables that have sessions in them.
_NAMES: Final = (_SESSIONS, _METADATA)
_WITHOUT_METADATA: Final = (
    f"WHERE NOT EXISTS (SELECT 1 FROM {_METADATA} m WHERE m.session_key = {_SESSIONS}.session_key)"
)


class JsonlReceipt(NamedTuple):
    """ZeroClaw's note that it has imported a JSONL file: its key, SHA-256 and length."""

    key: str
    digest: str
    size: int


class _Tables(NamedTuple):
    """The columns of the two tables; none if a table is not there."""

    sessions: frozenset[str]
    metadata: frozenset[str]


class SessionDatabase:
    """What a sessions.db holds, all of it asked of one snapshot."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.snapshot = ForeignSnapshot(path, scratch)

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys that have messages or metadata."""
        with self.snapshot.connection() as connection:
            tables = _tables_of(connection, self.path)
            there = [name for name, columns in zip(_NAMES, tables, strict=True) if columns]
            asked = " UNION ".join(f"SELECT session_key FROM {name}" for name in there)
            rows = connection.execute(asked) if asked else ()
            return frozenset(key for (key,) in rows if isinstance(key, str))

    @cached_property
    def receipts(self) -> dict[str, JsonlReceipt]:
        """ZeroClaw's receipts, by the name that the file had before (`<key>.jsonl`)."""
        with self.snapshot.connection() as connection:
            if not _columns(connection, _RECEIPTS).issuperset(_RECEIPT):
                return {}
            rows = connection.execute(f"SELECT {', '.join(_RECEIPT)} FROM {_RECEIPTS}")
            return {name: JsonlReceipt(*rest) for name, *rest in rows}

    def messages_of(self, key: str) -> Iterator[tuple[object, object]]:
        """Role and content of each message of a session, in order."""
        with self.snapshot.connection() as connection:
            if _tables_of(connection, self.path).sessions:
                yield from connection.execute(
                    f"SELECT role, content FROM {_SESSIONS} WHERE session_key = ? ORDER BY id",
                    (key,),
                )


class DatabaseSource(Digested):
    """All of a sessions.db, of any version of its schema. See `ForeignSource`."""

    def __init__(self, database: SessionDatabase, name: str) -> None:
        super().__init__()
        self.path = database.path
        self.name = name
        self.kind: Format = "sqlite"
        with readable(database.path):
            self.fingerprint: Fingerprint = fingerprint_of(database.path)
        self._snapshot = database.snapshot

    def read(self) -> Iterator[Record]:
        """See `ForeignSource.read`."""
        with readable(self.path):
            found = fingerprint_of(self.path)
        reader = RowReader(self.name, found.modified_ns // 1000)
        with self._snapshot.connection() as connection:
            yield from self._records(connection, reader)
        self.finish(reader.digest, found.size + max(found.log_size, 0))

    def _records(self, connection: sqlite3.Connection, reader: RowReader) -> Iterator[Record]:
        tables = _tables_of(connection, self.path)
        if not any(tables):
            yield Remark(self.name, "file", "it is an empty database")
        if tables.metadata:
            for row in connection.execute(_all_metadata(tables.metadata)):
                yield from reader.session(row)
        if tables.sessions:
            condition = _WITHOUT_METADATA if tables.metadata else ""
            yield from reader.orphans(
                connection.execute(
                    f"SELECT session_key, created_at FROM sessions {condition} ORDER BY id"
                )
            )
            for row in connection.execute(f"SELECT {', '.join(MESSAGE)} FROM sessions ORDER BY id"):
                yield from reader.message(row)


def _tables_of(connection: sqlite3.Connection, path: Path) -> _Tables:
    """What there is of ZeroClaw's tables; raises ConfigError for a database that is not its."""
    found = _Tables(*(_columns(connection, name) for name in _NAMES))
    [(count,)] = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
    missing = found.sessions and not found.sessions.issuperset(MESSAGE)
    if missing or (found.metadata and not found.metadata >= _BASE) or (count and not any(found)):
        raise ConfigError(
            f"{path} is not ZeroClaw's: its tables are others than those of sessions.db"
        )
    return found


def _all_metadata(columns: frozenset[str]) -> str:
    """What reads all metadata, and what an older schema lacks as if it were empty."""
    absent = {"rowid": "rowid", "state": f"'{IDLE}'"}
    chosen = [name if name in columns else absent.get(name, "NULL") for name in MetadataRow._fields]
    return f"SELECT {', '.join(chosen)} FROM {_METADATA} ORDER BY rowid"


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return frozenset(name for (name,) in rows)
