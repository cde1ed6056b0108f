"""Rows of ZeroClaw's database as records. What is not as it should be is told, and nothing is lost.

ZeroClaw skips a row that it cannot decode. Here such a row is set aside with all that is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from sessions.zeroclaw import chrono
from sessions.zeroclaw.chrono import Moment
from sessions.zeroclaw.sources import LONGEST
from sessions.zeroclaw.values import (
    IDLE,
    ForeignMessage,
    ForeignSession,
    Record,
    Remark,
    SetAside,
)

Row = tuple[Any, ...]
Span = tuple[Moment, Moment]

MESSAGE: Final = ("id", "session_key", "role", "content", "created_at")


class MetadataRow(NamedTuple):
    """The columns of session_metadata, its rowid before them. `message_count` is counted again."""

    rowid: int
    session_key: object
    created_at: object
    last_activity: object
    name: object
    state: object
    turn_id: object
    turn_started_at: object
    agent_alias: object
    channel_id: object
    room_id: object
    sender_id: object


_OPTIONAL: Final = MetadataRow._fields[MetadataRow._fields.index("name") :]

_TIME_OF_SESSION: Final = (
    "a time of it cannot be read: its other time is taken instead, or else that of the file"
)
_TIME_OF_MESSAGE: Final = "its time cannot be read: that of the message before it is taken instead"
_NO_METADATA: Final = "it has messages but no metadata, so its times are those of its messages"


class RowReader:
    """Makes records of the rows of one database, and keeps what later rows need of earlier ones."""

    def __init__(self, source: str, modified: int) -> None:
        self._source = source
        # The last resort for a session whose times cannot be read.
        self._modified = modified
        # The newest time of each session, as far as it was read.
        self._latest: dict[str, int] = {}
        self._hash = sha256()

    @property
    def digest(self) -> str:
        """Of all rows so far."""
        return self._hash.hexdigest()

    def session(self, row: Row) -> Iterator[Record]:
        """A row of session_metadata."""
        self._add(row)
        found = MetadataRow(*row)
        place = f"metadata row {found.rowid}"
        if not isinstance(found.session_key, str):
            yield self._aside(place, row, "its key is no text")
            return
        if wrong := [name for name in _OPTIONAL if _is_wrong(name, getattr(found, name))]:
            yield self._aside(place, row, f"no text in {', '.join(wrong)}: read as if empty")
        created, active = _moment(found.created_at), _moment(found.last_activity)
        if created is None or active is None:
            yield Remark(self._source, f"session {found.session_key}", _TIME_OF_SESSION)
        near = (created or active or (self._modified, None))[0]
        yield self._begun(
            _session_of(
                found,
                created or (near, _text(found.created_at)),
                active or (near, _text(found.last_activity)),
            )
        )

    def orphans(self, rows: Iterable[Row]) -> Iterator[Record]:
        """Sessions without metadata, from key and time of each of their messages.

        ZeroClaw writes message and metadata one after the other; a crash between them leaves this.
        """
        spans: dict[str, Span | None] = {}
        for key, created_at in rows:
            if isinstance(key, str):
                spans[key] = _widened(spans.get(key), _moment(created_at))
        for key, span in spans.items():
            first, last = span or ((self._modified, None), (self._modified, None))
            yield Remark(self._source, f"session {key}", _NO_METADATA)
            yield self._begun(ForeignSession.bare(key, first, last))

    def message(self, row: Row) -> Iterator[Record]:
        """A row of sessions. Its session must have come before."""
        self._add(row)
        number, key, role, content, created_at = row
        if not (isinstance(key, str) and isinstance(role, str) and isinstance(content, str)):
            yield self._aside(f"row {number}", row, "its key, role or content is no text")
            return
        moment = _moment(created_at)
        if moment is None:
            yield Remark(self._source, f"row {number}", _TIME_OF_MESSAGE)
            moment = self._latest[key], _text(created_at)
        self._latest[key] = moment[0]
        yield ForeignMessage(key, role, content, *moment, number)

    def _begun(self, session: ForeignSession) -> ForeignSession:
        self._latest[session.key] = session.created_at
        return session

    def _add(self, row: Row) -> None:
        self._hash.update(_ENCODER.encode(row).encode())
        self._hash.update(b"\n")

    def _aside(self, place: str, row: Row, reason: str) -> SetAside:
        data = _ENCODER.encode(row).encode()
        return SetAside(self._source, place, reason, data[:LONGEST], len(data))


def _session_of(row: MetadataRow, created: Moment, active: Moment) -> ForeignSession:
    since = _moment(row.turn_started_at) or (None, _text(row.turn_started_at))
    return ForeignSession(
        key=str(row.session_key),
        name=_text(row.name),
        agent=_text(row.agent_alias),
        channel=_text(row.channel_id),
        room=_text(row.room_id),
        sender=_text(row.sender_id),
        state=row.state if isinstance(row.state, str) else IDLE,
        turn=_text(row.turn_id),
        state_since=since[0],
        created_at=created[0],
        last_activity=active[0],
        created_text=created[1],
        active_text=active[1],
        since_text=since[1],
    )


def _widened(span: Span | None, moment: Moment | None) -> Span | None:
    if span is None or moment is None:
        return span or (moment and (moment, moment))
    return min(span[0], moment, key=_MICROS), max(span[1], moment, key=_MICROS)


_MICROS: Final = itemgetter(0)


def _moment(value: object) -> Moment | None:
    """The time that a column holds; None if it holds none that can be taken in."""
    if not isinstance(value, str):
        return None
    try:
        return chrono.taken(value)
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_wrong(name: str, value: object) -> bool:
    return not isinstance(value, str) and (value is not None or name == "state")


def _as_hex(value: object) -> dict[str, str]:
    """Bytes that are no text, in JSON."""
    return {"hex": cast("bytes", value).hex()}


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_as_hex)
