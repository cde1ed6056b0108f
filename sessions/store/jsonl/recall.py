"""What a store without memory knows again of the stream: entries that its texts show as applied.

An index that was rebuilt from files alone knows the ids of the messages, and nothing else. The
stream may still hold resets, deletes and rollbacks that were applied before; applied once more,
they would erase what came after them. A message that is there proves that everything before it in
its session was applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sessions.ids import stored_id
from sessions.models import (
    STREAM_START,
    Entry,
    Event,
    EventType,
    OutcomeKind,
    Reason,
    StreamId,
)
from sessions.store.engine import rules
from sessions.store.engine.rows import OUTCOME_CODES, EventRow, columns, packed
from sessions.store.engine.workset import ID_RETENTION
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.statements import Query, RepeatedStatement, marks

_DETAIL: Final = "applied before the index was rebuilt; its outcome is not known"
_SHOWN: Final = (
    "SELECT e.event_id, s.key FROM json_each(?) AS wanted CROSS JOIN events e "
    "ON e.event_id = wanted.value JOIN sessions s ON s.id = e.session_id "
    "WHERE e.seq IS NOT NULL AND e.gone IS NULL"
)
_KNOWN: Final = "SELECT event_id FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
_SESSION: Final = "SELECT key, id, generation FROM sessions WHERE key = ?"
# A message of a file: its entry tells the rest. Its first entry counts.
_COMPLETE: Final = (
    "UPDATE events SET (digest, outcome, reason, ms, n) = (?, ?, ?, ?, ?) "
    "WHERE event_id = ? AND digest = x''"
)
_EVENTS: Final = columns(EventRow)
_INSERT: Final = f"INSERT OR IGNORE INTO events ({_EVENTS}) VALUES {marks(_EVENTS)}"
_SUPPRESS: Final = (
    "INSERT OR IGNORE INTO suppressed (event_id, session, expires_at) VALUES (?, ?, ?)"
)


async def shown(connection: WritingConnection, entries: Sequence[Entry]) -> dict[str, str]:
    """The stored ids of these entries that made a message which is there, with its session."""
    ids = json.dumps([event.stored_id for _, event in _events(entries)])
    return dict(await connection.run(_SHOWN, (ids,)))


async def recall(
    connection: WritingConnection,
    entries: Sequence[Entry],
    ended: Mapping[str, StreamId],
    *,
    now: int,
) -> None:
    """Give these entries an outcome, inside a transaction, so that they have no further effect.

    `ended` has the place of the last reset or delete of each session that is recalled.
    """
    events = _events(entries)
    ids = json.dumps([event.stored_id for _, event in events])
    known = {event_id for (event_id,) in await connection.run(_KNOWN, (ids,))}
    sessions = await _sessions(connection, {event.session for _, event in events})
    new: list[EventRow] = []
    there: list[tuple[Any, ...]] = []
    suppressed: list[tuple[str, str, int]] = []
    for entry, event in events:
        if event.stored_id in known:
            there.append(_completion(entry, event))
            continue
        known.add(event.stored_id)
        number, generation = sessions.get(event.session, (None, None))
        if generation is not None and entry.raw.stream_id <= ended.get(event.session, STREAM_START):
            generation -= 1
        new.append(_outcome(entry, event, number, generation, now))
        if event.type is EventType.ROLLBACK and event.target is not None:
            # It may have come before its target.
            target = stored_id(event.target, event.by)
            if target not in known:
                suppressed.append((target, event.session, now + ID_RETENTION))
    await connection.script(
        [
            RepeatedStatement(_COMPLETE, there),
            RepeatedStatement(_INSERT, new),
            RepeatedStatement(_SUPPRESS, suppressed),
        ]
    )


def _events(entries: Sequence[Entry]) -> list[tuple[Entry, Event]]:
    return [(entry, entry.body) for entry in entries if isinstance(entry.body, Event)]


async def _sessions(connection: WritingConnection, keys: set[str]) -> dict[str, tuple[int, int]]:
    found = await connection.script([Query(_SESSION, (key,)) for key in sorted(keys)])
    return {key: (number, generation) for rows in found for key, number, generation in rows}


def _completion(entry: Entry, event: Event) -> tuple[Any, ...]:
    """What the entry of a message tells of its event. A rollback has made none but a closing."""
    closes = event.type is EventType.ROLLBACK
    outcome = OUTCOME_CODES[OutcomeKind.NOOP if closes else OutcomeKind.APPLIED]
    reason = Reason.ANSWERED if closes else None
    return (entry.digest, outcome, reason, *packed(entry.raw.stream_id), event.stored_id)


def _outcome(
    entry: Entry, event: Event, session_id: int | None, generation: int | None, now: int
) -> EventRow:
    ms, n = packed(entry.raw.stream_id)
    return EventRow(
        event_id=event.stored_id,
        digest=entry.digest,
        outcome=rules.APPLIED,
        reason=None,
        session_id=session_id,
        session=None,
        generation=generation,
        seq=None,
        gone=Reason.DELETED if event.type is EventType.APPEND else None,
        epoch=0,
        ms=ms,
        n=n,
        duplicates=0,
        detail=_DETAIL,
        expires_at=now + ID_RETENTION,
    )
