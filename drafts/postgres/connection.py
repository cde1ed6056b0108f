"""Connections to the server of a store: how texts and errors cross them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from sessions.errors import Fenced, SearchInterrupted, StoreDamaged, StoreUnavailable

Row = Sequence[Any]

# Seconds for connecting, and for one statement that nobody bounds: then the server is gone.
_PATIENCE: Final = 8.0
_SETTINGS: Final = {
    # A worker that is frozen in an open transaction holds the lease's row; this lets go of it.
    "idle_in_transaction_session_timeout": "8s",
    "lock_timeout": "1s",
    "synchronous_commit": "on",
}
# Classes of SQLSTATE that pass by themselves or when somebody acts: no connection, deadlock, no
# room, a lock, a server that stops, a disk, a replica that cannot be written, a time that is up.
_PASSING: Final = ("08", "40", "53", "55", "57", "58", "25006", "25P03")


def escaped(text: str) -> bytes:
    """A text as PostgreSQL can hold it, which takes every character but U+0000.

    Each character stands for itself, but for two that become two each. So texts are equal, and
    begin with each other, exactly if their escaped forms do.
    """
    return text.encode().replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")


def unescaped(data: bytes) -> str:
    """The text that was `escaped`."""
    if b"\1" in data:
        data = data.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1")
    return data.decode()


class Server:
    """Connections to one store, made when they are needed, and again when they were lost.

    A store that was not made yet answers every query with no rows.
    """

    def __init__(self, url: str, schema: str, *, most: int) -> None:
        self.schema = schema
        self._url = url
        self._most = most
        self._pool: Any = None

    async def open(self) -> None:
        """Allow connecting; nothing is done on the network yet."""
        # `reset` saves a round trip for each use: nothing of ours changes a session.
        how: dict[str, Any] = {"init": _set_up, "reset": _keep, "command_timeout": _PATIENCE}
        how |= {"timeout": _PATIENCE, "server_settings": {**_SETTINGS, "search_path": self.schema}}
        self._pool = await asyncpg.create_pool(self._url, min_size=0, max_size=self._most, **how)

    async def close(self) -> None:
        """Disconnect; does nothing if it is not open."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Any]:
        """A connection that nobody else uses meanwhile, its errors translated."""
        if self._pool is None:
            raise RuntimeError("this backend is not open, or not for writing")
        with translated(self.schema):
            async with self._pool.acquire() as connection:
                yield connection

    async def rows(self, sql: str, *values: object, seconds: float | None = None) -> list[Row]:
        """The rows of one statement. Raises SearchInterrupted if it takes longer than `seconds`."""
        async with self.connection() as connection:
            try:
                return [*await connection.fetch(sql, *values, timeout=seconds)]
            except asyncpg.UndefinedTableError:
                return []
            except TimeoutError as error:
                if seconds is None:
                    raise
                raise SearchInterrupted(f"the search took longer than {seconds:g} s") from error


async def _set_up(connection: Any) -> None:
    for name in ("text", "varchar"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=escaped, decoder=unescaped, format="binary"
        )


async def _keep(_: object) -> None:
    await asyncio.sleep(0)


@contextmanager
def translated(place: str) -> Generator[None]:
    """Turn what passes by itself into StoreUnavailable, damage into StoreDamaged."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = str(getattr(error, "sqlstate", ""))
        if state == "TS001":
            raise Fenced(str(error)) from error
        if state in ("XX001", "XX002"):
            raise StoreDamaged(f"{place}: {error}; restore the database from a backup") from error
        if state.startswith(_PASSING):
            raise StoreUnavailable(f"{place}: {error}; it is tried again") from error
        raise
    except (asyncpg.DataError, asyncpg.UnsupportedClientFeatureError):
        raise
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"{place}: the server does not answer: {error!r}") from error
