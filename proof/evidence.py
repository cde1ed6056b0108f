"""What is left after a run: the store's own files, read with SQL and code of our own."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proof.model.expected import ExpectedOutcome, VisibleMessage
from sessions.store.sqlite.library import sqlite3

_OUTCOMES: Final = {1: "applied", 2: "noop", 3: "dead"}
DATABASES: Final = {"sqlite": "turnstream.db", "jsonl": "index.db"}


@dataclass
class StoredSession:
    """A session as the store has it; `count` is what its row says of its messages."""

    live: bool
    generation: int
    name: str | None
    count: int
    rows: list[VisibleMessage] = field(default_factory=list[VisibleMessage])


@dataclass
class StoreEvidence:
    """Everything that the checker looks at.

    `duplicates` counts the later entries of an id, `letters` its dead letters by reason.
    """

    sessions: dict[str, StoredSession] = field(default_factory=dict[str, StoredSession])
    outcomes: dict[str, ExpectedOutcome] = field(default_factory=dict[str, ExpectedOutcome])
    duplicates: dict[str, int] = field(default_factory=dict[str, int])
    letters: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    resolved: int = 0
    skipped: int = 0
    damage: list[str] = field(default_factory=list[str])


@dataclass
class Leftovers:
    """What Redis has at the end: entries by event id, and its own count of all it ever took.

    They are `whole` where nothing that was ever published is missing.
    """

    added: int
    whole: bool
    entries: Counter[str] = field(default_factory=Counter[str])


def database_of(workspace: Path, backend: str) -> Path:
    """Where the backend of that name keeps what is not text."""
    return workspace / "sessions" / DATABASES[backend]


def read_store(workspace: Path, backend: str) -> StoreEvidence:
    """Read the store of a workspace in which nothing runs any more."""
    path = database_of(workspace, backend)
    stored = StoreEvidence()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        found = [str(row[0]) for row in store.execute("PRAGMA integrity_check")]
        stored.damage += [] if found == ["ok"] else found
        _read_events(store, stored)
        _read_sessions(store, stored)
        if backend == "jsonl":
            _read_files(store, path.parent, stored)
    return stored


def _read_events(store: sqlite3.Connection, stored: StoreEvidence) -> None:
    [(stored.resolved, stored.skipped)] = store.execute("SELECT resolved, skipped FROM stream")
    for event_id, outcome, reason, duplicates in store.execute(
        "SELECT event_id, outcome, reason, duplicates FROM events"
    ):
        stored.outcomes[event_id] = ExpectedOutcome(_OUTCOMES[outcome], reason)
        stored.duplicates[event_id] = duplicates
    for reason, event_id in store.execute("SELECT reason, event_id FROM dead_letters"):
        stored.letters.setdefault(event_id, Counter())[reason] += 1


def _read_sessions(store: sqlite3.Connection, stored: StoreEvidence) -> None:
    keys: dict[int, str] = {}
    for number, key, live, generation, name, count in store.execute(
        "SELECT id, key, live, generation, name, message_count FROM sessions"
    ):
        keys[number] = key
        stored.sessions[key] = StoredSession(bool(live), generation, name, count)
    for number, event_id, role, content, turn in store.execute(
        "SELECT session_id, event_id, role, content, turn FROM messages ORDER BY session_id, seq"
    ):
        if number not in keys:
            stored.damage.append(f"message {event_id} belongs to no session")
        else:
            row = VisibleMessage(event_id, role, content, turn)
            stored.sessions[keys[number]].rows.append(row)


def _read_files(store: sqlite3.Connection, folder: Path, stored: StoreEvidence) -> None:
    """Put what the files say in place of the index's rows, and note where the two disagree."""
    names = dict(
        store.execute(
            "SELECT s.key, f.name FROM files f JOIN sessions s ON s.id = f.session_id"
        ).fetchall()
    )
    for key, session in stored.sessions.items():
        path = folder / f"{names.get(key)}.jsonl"
        lines = _lines(path) if key in names and path.exists() else []
        rows = [_row(line, path, stored) for line in lines]
        found = [row for row in rows if row is not None]
        if [row.id for row in found] != [row.id for row in session.rows]:
            stored.damage.append(f"{path.name} has other messages than its index")
        session.rows = found
    known = {f"{name}.jsonl" for name in names.values()}
    foreign = {path.name for path in folder.glob("*.jsonl")} - known
    stored.damage += [f"{name} belongs to no session" for name in sorted(foreign)]


def _lines(path: Path) -> list[bytes]:
    *lines, rest = path.read_bytes().split(b"\n")
    return [*lines, rest] if rest else lines


def _row(line: bytes, path: Path, stored: StoreEvidence) -> VisibleMessage | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        return VisibleMessage(fields["id"], fields["role"], fields["content"], fields.get("turn"))
    except (ValueError, KeyError, TypeError) as error:
        stored.damage.append(f"{path.name} has a line that cannot be read: {error!r}")
        return None
