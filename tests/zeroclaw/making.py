"""Makes workspaces as ZeroClaw leaves them, from its own tables and line format.

Nothing of the program is used here, so that the program can be compared with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

BASE: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_key TEXT NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_sessions_key ON sessions(session_key);
CREATE INDEX IF NOT EXISTS idx_sessions_key_id ON sessions(session_key, id);
CREATE TABLE IF NOT EXISTS session_metadata (
    session_key TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    last_activity TEXT NOT NULL,
    message_count INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS jsonl_import_receipts (
    source_name TEXT PRIMARY KEY,
    session_key TEXT NOT NULL,
    source_hash TEXT NOT NULL,
    source_len INTEGER NOT NULL,
    imported_at TEXT NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS sessions_fts USING fts5(
    session_key, content, content=sessions, content_rowid=id
);
CREATE TRIGGER IF NOT EXISTS sessions_ai AFTER INSERT ON sessions BEGIN
    INSERT INTO sessions_fts(rowid, session_key, content)
    VALUES (new.id, new.session_key, new.content);
END;
CREATE TRIGGER IF NOT EXISTS sessions_ad AFTER DELETE ON sessions BEGIN
    INSERT INTO sessions_fts(sessions_fts, rowid, session_key, content)
    VALUES ('delete', old.id, old.session_key, old.content);
END;
CREATE TRIGGER IF NOT EXISTS sessions_au AFTER UPDATE ON sessions BEGIN
    INSERT INTO sessions_fts(sessions_fts, rowid, session_key, content)
    VALUES ('delete', old.id, old.session_key, old.content);
    INSERT INTO sessions_fts(rowid, session_key, content)
    VALUES (new.id, new.session_key, new.content);
END;
"""
# The columns that came later, in the order in which each open adds what is missing.
ADDED: Final = {
    "name": "TEXT",
    "state": "TEXT NOT NULL DEFAULT 'idle'",
    "turn_id": "TEXT",
    "turn_started_at": "TEXT",
    "agent_alias": "TEXT",
    "channel_id": "TEXT",
    "room_id": "TEXT",
    "sender_id": "TEXT",
}
INDEXED: Final = ("agent_alias", "channel_id", "room_id", "sender_id")
T0: Final = "2026-03-01T10:00:00.123456789+00:00"


@dataclass(frozen=True)
class Said:
    """A message, with its time as it stands in the database."""

    key: str
    role: str
    content: str
    at: str = T0


@dataclass(frozen=True)
class Known:
    """The metadata of a session. `more` has the columns of `ADDED` that are not as by default."""

    key: str
    created: str = T0
    active: str = T0
    more: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True)
class Story:
    """What a workspace holds: sessions, and the messages of all in their order."""

    known: Sequence[Known]
    said: Sequence[Said]

    def messages(self, key: str) -> list[tuple[str, str]]:
        """Role and content of the messages of a session."""
        return [(said.role, said.content) for said in self.said if said.key == key]


def time_text(nanoseconds: int) -> str:
    """As chrono writes it: 0, 3, 6 or 9 digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    days, seconds = divmod(seconds, 86400)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    fraction = f".{digits}" if digits else ""
    # Days of one month are enough.
    return f"2026-03-{days % 28 + 1:02d}T{hour:02d}:{minute:02d}:{second:02d}{fraction}+00:00"


TEXTS: Final = (
    "hello there",
    "",
    "Grüße aus Köln",
    "日本語のテキスト",
    "emoji 👩‍🚀 and \u2028 a separator",
    'quotes "\\" and / slashes',
    "tab\tnewline\nreturn\r\x08\x0c",
    "nul \x00 and \x1f and \x7f",
    "<tool_result>{}</tool_result>",
    '{"tool_calls":[{"id":"1","name":"shell","arguments":"{}"}],"content":null}',
    "AND NOT * (NEAR)",
)
KEYS: Final = (
    "gw_7d3c",
    "gw_a.b",
    "rpc_1",
    "telegram_home_42_ada",
    "user_Алиса",
    "GW_7d3c",
    "cafe\u0301",
    "caf\u00e9",
)


def make_story(seed: int, sessions: int = 20, messages: int = 200) -> Story:
    """Sessions of every kind, their messages mixed, times of every width."""
    dice = random.Random(seed)
    keys = [*KEYS, *(f"discord_club_{number}_x" for number in range(sessions))][:sessions]
    widths = (1, 1_000, 1_000_000, 1_000_000_000)
    moments = sorted(dice.randrange(86_400 * 10**9 * 20) for _ in range(messages))
    times = [time_text(moment - moment % dice.choice(widths)) for moment in moments]
    roles = ("user", "assistant", "tool", "system", "")
    said = [
        # The last of the keys has no messages.
        Said(dice.choice(keys[:-1]), dice.choice(roles), _text(dice), at)
        for at in times
    ]
    return Story([_known(dice, key, said) for key in dice.sample(keys, len(keys))], said)


def _text(dice: random.Random) -> str:
    words = ("pear", "apple", "plum", "fig", "date")
    return " ".join((dice.choice(TEXTS), dice.choice(words), str(dice.randrange(30))))


def _known(dice: random.Random, key: str, said: Iterable[Said]) -> Known:
    times = [each.at for each in said if each.key == key] or [T0]
    running = dice.random() < 0.2
    more: dict[str, str | None] = {
        "name": dice.choice((None, "A name", "名前")),
        "state": "running" if running else dice.choice(("idle", "error")),
        "turn_id": "turn-1" if running else None,
        "turn_started_at": times[-1] if running else None,
        "agent_alias": dice.choice((None, "main", "scout")),
        "channel_id": dice.choice((None, "telegram.home")),
        "room_id": dice.choice((None, "-100")),
        "sender_id": dice.choice((None, "ada")),
    }
    return Known(key, times[0], times[-1], more)


def make_sqlite(
    path: Path,
    story: Story,
    *,
    version: int = len(ADDED),
    without: Collection[str] = (),
    receipts: Mapping[str, bytes] | None = None,
) -> Path:
    """A sessions.db, in WAL mode and closed, with the first `version` of the added columns.

    `receipts` are JSONL files, by key, that were imported. Without metadata stays a message whose
    session is not known.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [name for name in list(ADDED)[:version] if name not in without]
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        make_schema(made, columns)
        made.execute("BEGIN")
        for known in story.known:
            insert_known(made, known, columns, len(story.messages(known.key)))
        insert_said(made, story.said)
        for key, data in (receipts or {}).items():
            row = (f"{key}.jsonl", key, hashlib.sha256(data).hexdigest(), len(data), T0)
            made.execute("INSERT INTO jsonl_import_receipts VALUES (?, ?, ?, ?, ?)", row)
        made.execute("COMMIT")
    return path


def make_schema(made: sqlite3.Connection, columns: Collection[str] = tuple(ADDED)) -> None:
    """ZeroClaw's tables, with these of the columns that came later."""
    made.execute("PRAGMA journal_mode = WAL")
    made.executescript(BASE)
    for name in columns:
        made.execute(f"ALTER TABLE session_metadata ADD COLUMN {name} {ADDED[name]}")
        if name in INDEXED:
            made.execute(f"CREATE INDEX idx_session_metadata_{name} ON session_metadata({name})")


def insert_known(
    made: sqlite3.Connection, known: Known, columns: Collection[str], count: int
) -> None:
    """A row of session_metadata."""
    more = {name: value for name, value in known.more.items() if name in columns}
    names = ("session_key", "created_at", "last_activity", "message_count", *more)
    values = (known.key, known.created, known.active, count, *more.values())
    marks = ", ".join("?" * len(values))
    made.execute(f"INSERT INTO session_metadata ({', '.join(names)}) VALUES ({marks})", values)


def insert_said(made: sqlite3.Connection, said: Iterable[Said]) -> None:
    """Rows of sessions."""
    made.executemany(
        "INSERT INTO sessions (session_key, role, content, created_at) VALUES (?, ?, ?, ?)",
        ((each.key, each.role, each.content, each.at) for each in said),
    )


def line_of(role: str, content: str) -> bytes:
    """A line as ZeroClaw writes it."""
    fields = {"role": role, "content": content}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def lines_of(story: Story, key: str) -> bytes:
    """The file of a session."""
    return b"".join(line_of(*message) for message in story.messages(key))


def make_jsonl(
    directory: Path,
    story: Story,
    *,
    damage: Callable[[bytes], bytes] = lambda data: data,
    suffix: str = ".jsonl",
) -> list[Path]:
    """A file for each session, named by its key as it is, each damaged in that way."""
    directory.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for number, known in enumerate(story.known):
        path = directory / f"{known.key}{suffix}"
        path.write_bytes(damage(lines_of(story, known.key)))
        moment = 1_772_000_000_123_456_789 + number * 1_000_000_001
        os.utime(path, ns=(moment, moment))
        made.append(path)
    return made


def make_mixed(directory: Path, story: Story, stages: Mapping[str, str], **options: object) -> None:
    """Both stores: the sessions of `stages` are files with that ending, the others in sessions.db.

    `{"a": ".jsonl.importing"}` leaves session `a` as ZeroClaw does when it dies while it imports.
    """
    inside = [known for known in story.known if known.key not in stages]
    said = [each for each in story.said if each.key not in stages]
    make_sqlite(directory / "sessions.db", Story(inside, said), **options)  # pyright: ignore
    for key, suffix in stages.items():
        make_jsonl(directory, Story([Known(key)], story.said), suffix=suffix)


def everything_in(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Each file below a directory: its mode, its time, its bytes."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(directory))] = (stat.st_mode, stat.st_mtime_ns, data)
    return found
