"""What is read of a ZeroClaw workspace, and what one is written from.

Times are integer microseconds (`times`). ZeroClaw writes up to nine digits of a second, so each
time has a text beside it: what stands in the source, or None if `chrono.written` makes the same
text of the microseconds. So every time can go back exactly as it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from sessions.zeroclaw.chrono import Moment

Format = Literal["sqlite", "jsonl"]
FORMATS: Final = ("sqlite", "jsonl")
# The state of a session in which nothing happens.
IDLE: Final = "idle"


class ForeignSession(NamedTuple):
    """A session of ZeroClaw, its key byte for byte.

    `state` is any text, by convention `idle`, `running` or `error`. `turn` and `state_since` are
    what ZeroClaw calls `turn_id` and `turn_started_at`. JSONL files know the key and a time only.
    """

    key: str
    name: str | None
    agent: str | None
    channel: str | None
    room: str | None
    sender: str | None
    state: str
    turn: str | None
    state_since: int | None
    created_at: int
    last_activity: int
    created_text: str | None = None
    active_text: str | None = None
    since_text: str | None = None

    @classmethod
    def bare(cls, key: str, created: Moment, active: Moment) -> ForeignSession:
        """A session of which only the key and the times are known."""
        (created_at, created_text), (last_activity, active_text) = created, active
        nothing = (None, None, None, None, None)
        ended = (IDLE, None, None)
        times = (created_at, last_activity, created_text, active_text)
        return cls(key, *nothing, *ended, *times)


class ForeignMessage(NamedTuple):
    """A message of a session. `place` is the row's id, or the number of the line (from 1)."""

    key: str
    role: str
    content: str
    created_at: int
    time_text: str | None = None
    place: int = 0


class SetAside(NamedTuple):
    """What cannot be read as a session or a message, and why, in plain English.

    `source` is the name of its source. `place` is `line 12`, `row 7`, `metadata row 3`, or `file`
    for all of it. `data` is what stands there: a line without its end, a row as JSON. It is cut at
    64 MiB; `size` is its whole length in bytes.
    """

    source: str
    place: str
    reason: str
    data: bytes
    size: int


class Remark(NamedTuple):
    """What a person should know of a source, though nothing of it is lost.

    For example: this file was imported by ZeroClaw before, so it was skipped. `place` is as that of
    SetAside, or `session <key>`.
    """

    source: str
    place: str
    text: str


Record = ForeignSession | ForeignMessage | SetAside | Remark


class Fingerprint(NamedTuple):
    """What tells quickly whether a source has changed: size and time of the file and its log.

    The log is SQLite's `-wal`; -1 if there is none.
    """

    size: int
    modified_ns: int
    log_size: int = -1
    log_modified_ns: int = -1


class ForeignSource(Protocol):
    """One database or one file of a ZeroClaw workspace. It is only ever read."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def name(self) -> str:
        """Its path below the directory of the sessions, fit to be shown."""
        ...

    @property
    def kind(self) -> Format:
        """Its format."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """As it was when it was found."""
        ...

    def read(self) -> Iterator[Record]:
        """Everything in it: each session before its messages, the messages in their order.

        It can be read again. Raises ForeignChanged if the source changed after it was found: what
        was read is not to be used, and the sources must be found again. Raises ConfigError if it
        cannot be read at all.
        """
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what was read; RuntimeError before it was read to its end.

        Of a file it is of the bytes, of a database of all rows in their order.
        """
        ...

    @property
    def size(self) -> int:
        """Bytes of the file, of a database with its log; RuntimeError as `digest`."""
        ...


class Written(NamedTuple):
    """What was written. `renamed` has the files, by key, that do not have the key's usual name.

    Two keys of one usual name, and names that are too long for a file, get a digest at the end.
    """

    sessions: int
    messages: int
    renamed: Mapping[str, str]
