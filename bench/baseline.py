"""What a store costs when it is written plainly: the measure of the worker's drain.

sqlite: the rows of a store that the worker made, by `executemany`, with the same schema, pragmas,
indices and batch size. jsonl: the bytes of its files, appended and synced file by file, batch by
batch. One thread, no asyncio, no decisions, nothing read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sessions.store.sqlite.connection import WRITER_PRAGMAS
from sessions.store.sqlite.library import sqlite3
from sessions.store.sqlite.schema import MIGRATIONS, statements
from sessions.text import fold_for_search

Row = tuple[Any, ...]


def of_rows(source: Path, target: Path, *, batch: int) -> tuple[int, float]:
    """Copy the rows of the `source` database to `target`; how many messages, and how long."""
    rows = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    messages = rows.execute("SELECT * FROM messages ORDER BY id").fetchall()
    events = {row[0]: row for row in rows.execute("SELECT * FROM events")}
    sessions = {row[0]: row for row in rows.execute("SELECT * FROM sessions")}
    rows.close()
    batches = list(_batches(messages, events, sessions, batch))
    store = _new_store(target)
    began = time.perf_counter()
    for part in batches:
        _write(store, *part)
    took = time.perf_counter() - began
    store.close()
    return len(messages), took


def of_files(source: Path, target: Path, *, batch: int) -> tuple[int, float]:
    """Copy the session files of the `source` directory; how many messages, and how long."""
    index = sqlite3.connect(f"file:{source / 'index.db'}?mode=ro", uri=True)
    messages = index.execute(
        "SELECT f.name, m.place, m.size FROM messages m JOIN files f USING (session_id) "
        "ORDER BY m.id"
    ).fetchall()
    index.close()
    texts = {path.stem: path.read_bytes() for path in source.glob("*.jsonl")}
    batches: list[dict[str, bytes]] = []
    for start in range(0, len(messages), batch):
        touched: dict[str, bytes] = {}
        for name, place, size in messages[start : start + batch]:
            touched[name] = touched.get(name, b"") + texts[name][place : place + size]
        batches.append(touched)
    target.mkdir()
    began = time.perf_counter()
    for touched in batches:
        for name, data in touched.items():
            _append(target / name, data)
    return len(messages), time.perf_counter() - began


def _append(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, data)
    os.fdatasync(fd)
    os.close(fd)


def _new_store(target: Path) -> sqlite3.Connection:
    store = sqlite3.connect(target, isolation_level=None)
    for pragma in WRITER_PRAGMAS:
        store.execute(f"PRAGMA {pragma}")
    for migration in MIGRATIONS:
        for statement in statements(migration):
            store.execute(statement)
    store.execute("INSERT INTO lease (one, epoch, beat) VALUES (1, 0, 0)")
    store.execute("INSERT INTO stream VALUES (1, 0, 0, 0, 0, 0, 0)")
    return store


def _batches(
    messages: Sequence[Row], events: dict[str, Row], sessions: dict[int, Row], size: int
) -> Iterator[tuple[list[Row], list[Row], Sequence[Row], list[Row], list[Row]]]:
    """For each batch: new sessions, session updates, messages, events, search words."""
    seen: set[int] = set()
    for start in range(0, len(messages), size):
        part = messages[start : start + size]
        touched = {row[1]: row[6] for row in part}
        new = [sessions[key] for key in touched if key not in seen]
        updates = [
            (row[10], row[11], row[12], last, row[15], row[16], key)
            for key, last in touched.items()
            if key in seen and (row := sessions[key])
        ]
        seen.update(touched)
        words = [(row[0], fold_for_search(row[7])) for row in part]
        yield new, updates, part, [events[row[3]] for row in part], words


def _write(
    store: sqlite3.Connection,
    new: list[Row],
    updates: list[Row],
    messages: Sequence[Row],
    events: list[Row],
    words: list[Row],
) -> None:
    store.execute("BEGIN IMMEDIATE")
    store.execute("UPDATE lease SET beat = beat + 1")
    store.executemany(f"INSERT INTO sessions VALUES ({_marks(18)})", new)
    store.executemany(
        "UPDATE sessions SET state = ?, turn = ?, state_since = ?, last_activity = ?, "
        "message_count = ?, next_seq = ? WHERE id = ?",
        updates,
    )
    store.executemany(f"INSERT INTO messages VALUES ({_marks(11)})", messages)
    store.executemany(f"INSERT INTO events VALUES ({_marks(15)})", events)
    store.executemany("INSERT INTO search (rowid, body) VALUES (?, ?)", words)
    store.execute("UPDATE stream SET resolved = resolved + ?", (len(messages),))
    store.execute("COMMIT")


def _marks(count: int) -> str:
    return ", ".join("?" * count)
