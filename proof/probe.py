"""Looks at a running stack from outside: how far the store is, what waits, who leads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from proof.entry_points import PREFIX
from proof.evidence import Leftovers
from sessions.models import STREAM_START, StreamId
from sessions.store.sqlite.library import sqlite3
from sessions.stream.redis import ERRORS, RedisClient
from sessions.stream.refusals import ErrorMeaning, meaning_of

_KEY: Final = f"{PREFIX}turns"
_ALL_AT_ONCE: Final = 5000
# The byte of SQLite's shared-memory file that a writer locks (WAL_WRITE_LOCK).
_WRITE_LOCK: Final = 120


class Cursor(NamedTuple):
    """How far the store is. The epoch comes first, so that a later one is ahead."""

    epoch: int
    applied: StreamId


class StoreProbe:
    """Reads cursor and lease with SQL of its own; None while the store cannot be read."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def cursor(self) -> Cursor | None:
        """The place up to which the stream is applied."""
        row = self._row("SELECT epoch, ms, n FROM stream")
        return None if row is None else Cursor(row[0], StreamId(row[1], row[2]))

    def resolved(self) -> int:
        """Entries of this epoch that are accounted for."""
        row = self._row("SELECT resolved + skipped FROM stream")
        return -1 if row is None else row[0]

    def leader(self) -> int | None:
        """The process id of the leader."""
        row = self._row("SELECT holder FROM lease")
        return int(row[0].rpartition(":")[2]) if row is not None and row[0] else None

    def known(self, event_ids: Iterable[str]) -> list[str]:
        """Those of the events that have an outcome."""
        sql = "SELECT 1 FROM events WHERE event_id = ?"
        return [event_id for event_id in event_ids if self._row(sql, event_id) is not None]

    def is_locked_by(self, pid: int) -> bool | None:
        """Whether the process is inside a writing transaction; None where no /proc tells.

        SQLite marks it by a lock on one byte of the shared-memory file. Asking the file itself
        would mean to open it, and closing it again would drop the locks of our own connection.
        """
        try:
            inode = Path(f"{self._database}-shm").stat().st_ino
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        except OSError:
            return None
        return any(
            fields[3] == "WRITE"
            and int(fields[4]) == pid
            and int(fields[5].rpartition(":")[2]) == inode
            and int(fields[6]) <= _WRITE_LOCK <= int(fields[7])
            for fields in locks
            if len(fields) == 8 and fields[7].isdecimal()
        )

    def _row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        try:
            if self._connection is None:
                uri = f"file:{self._database}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
            return self._connection.execute(sql, values).fetchone()
        except sqlite3.OperationalError:
            self.close()
            return None


class StreamProbe:
    """Asks Redis directly, past the proxies."""

    def __init__(self, redis: RedisClient) -> None:
        self.redis = redis

    async def last_id(self) -> StreamId | None:
        """The newest entry's id; None while Redis cannot be asked."""
        try:
            info = await self.redis.execute_command("XINFO STREAM", _KEY)
        except ERRORS as error:
            no_such_key = meaning_of(error) is ErrorMeaning.DEFECT
            return STREAM_START if no_such_key else None
        return StreamId.parse(info["last-generated-id"])

    async def squeeze(self) -> None:
        """Let Redis be out of memory until `relax`."""
        with contextlib.suppress(*ERRORS):
            await self.redis.execute_command("CONFIG SET", "maxmemory", "1mb")

    async def relax(self, limit: int) -> None:
        """Give Redis its memory back."""
        with contextlib.suppress(*ERRORS):
            await self.redis.execute_command("CONFIG SET", "maxmemory", limit)

    async def waiting(self, applied: StreamId) -> list[str]:
        """The event ids behind a place, in order."""
        return await self._waiting(applied)

    async def empty(self, applied: StreamId) -> list[str]:
        """Let Redis forget all; the ids that waited at that instant."""
        return await self._waiting(applied, "FLUSHALL")

    async def shorten(self, applied: StreamId, length: int) -> list[str]:
        """Trim the stream behind the worker's back; the ids that waited at that instant."""
        return await self._waiting(applied, "XTRIM", _KEY, "MAXLEN", length)

    async def _waiting(self, applied: StreamId, *command: str | int) -> list[str]:
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.execute_command("XRANGE", _KEY, f"({applied}", "+")
            if command:
                pipe.execute_command(*command)
            found = (await pipe.execute())[0]
        return [fields[b"id"].decode() for _, fields in found]

    async def leftovers(self) -> Leftovers:
        """All that the stream holds, and Redis' count of what it ever held."""
        info = await self.redis.execute_command("XINFO STREAM", _KEY)
        found = Leftovers(info["entries-added"], info["entries-added"] == info["length"])
        place = "-"
        while chunk := await self.redis.execute_command(
            "XRANGE", _KEY, place, "+", "COUNT", _ALL_AT_ONCE
        ):
            for _, fields in chunk:
                found.entries[fields[b"id"].decode()] += 1
            place = f"({chunk[-1][0].decode()}"
        return found
