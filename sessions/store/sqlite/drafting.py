"""Changes as statements: what goes first, then what comes, many rows each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

from sessions.models import LetterBounds
from sessions.store.engine.changes import Changes, EndedSession, LetterRow, RemovedMessages
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.rows import EventRow, MessageRow, SessionRow, columns, session_values
from sessions.store.sqlite.search import dropping, indexing
from sessions.store.sqlite.statements import Query, Statement, StatementTemplate, insertion, marks

_SESSION_COLUMNS: Final = columns(SessionRow)
_EVENT_COLUMNS: Final = columns(EventRow)
_ACTIVITY: Final = ("state", "turn", "state_since", "last_activity", "message_count", "next_seq")
_activity: Final = attrgetter(*_ACTIVITY, "id")


def _update(columns_set: str) -> StatementTemplate:
    """The form that sets these columns of sessions, each row ending with the session's id."""
    count = columns_set.count(",") + 1
    values = ", ".join(f"v.column{number}" for number in range(1, count + 1))
    return StatementTemplate(
        f"UPDATE sessions SET ({columns_set}) = ({values}) FROM (VALUES ",
        marks(f"{columns_set}, id"),
        f") AS v WHERE sessions.id = v.column{count + 1}",
        repeatable=True,
    )


_INSERT_SESSIONS: Final = insertion("sessions", _SESSION_COLUMNS)
_INSERT_EVENTS: Final = insertion("events", _EVENT_COLUMNS)
_REPLACE_EVENTS: Final = insertion("events", _EVENT_COLUMNS, verb="REPLACE")
_INSERT_MESSAGES: Final = insertion("messages", columns(MessageRow))
_UPDATE_SESSIONS: Final = _update(_SESSION_COLUMNS.removeprefix("id, "))
# What an append changes. Naming the other columns too would rewrite every index they are in.
_UPDATE_ACTIVITY: Final = _update(", ".join(_ACTIVITY))
_INSERT_LETTERS: Final = insertion(
    "dead_letters", columns(LetterRow), tail=" ON CONFLICT (id) DO NOTHING"
)
_INSERT_SUPPRESSED: Final = insertion("suppressed", "event_id, session, expires_at")
_REPLACE_RECEIPTS: Final = insertion("receipts", columns(Receipt), verb="REPLACE")
# The newest letters of one publisher stay.
_DROP_LETTERS: Final = (
    "DELETE FROM dead_letters WHERE no IN (SELECT no FROM (SELECT no, "
    "count(*) OVER newest AS place, sum(length(payload)) OVER newest AS size "
    "FROM dead_letters WHERE by IS ? WINDOW newest AS (ORDER BY no DESC)) "
    "WHERE place > ? OR size > ?)"
)
_COUNT_DROPPED: Final = Query(
    "UPDATE store SET letters_dropped = letters_dropped + changes() WHERE changes() > 0"
)
_FORGET_EVENTS: Final = (
    "UPDATE events SET gone = ?, expires_at = ? WHERE event_id IN (SELECT value FROM json_each(?))"
)
_DELETE_MESSAGES: Final = "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_LETTER: Final = "DELETE FROM dead_letters WHERE id = ?"
_DELETE_LETTERS: Final = "DELETE FROM dead_letters WHERE session = ?"
_HAND_OVER: Final = "UPDATE sessions SET agent = ? WHERE agent = ?"
_NOTE_ERASURE: Final = Query("UPDATE store SET untidy = 1 WHERE untidy = 0")


class Draft(NamedTuple):
    """Changes, and the statements that write them down."""

    changes: Changes
    statements: list[Statement]


def drafted(changes: Changes, bounds: LetterBounds) -> Draft:
    """The statements of these changes, but for the rows of messages."""
    contents = ((row.id, row.content) for row in changes.messages)
    return Draft(
        changes,
        [
            *_going(changes),
            *_sessions_written(changes),
            *_events_written(changes),
            *_letters_written(changes.letters, bounds),
            *_REPLACE_RECEIPTS.of(changes.receipts),
            *indexing(contents),
        ],
    )


def messages_written(rows: Sequence[MessageRow]) -> list[Statement]:
    """The statements that write messages with their content."""
    return _INSERT_MESSAGES.of(rows)


def _going(changes: Changes) -> list[Statement]:
    statements: list[Statement] = [_NOTE_ERASURE] if changes.erases else []
    for gone in changes.gone:
        statements += _gone(gone)
    statements += [Query(_DELETE_LETTERS, (_key(ended),)) for ended in changes.ended]
    statements += [Query(_DELETE_LETTER, (letter_id,)) for letter_id in changes.purged]
    statements += [Query(_HAND_OVER, (after, before)) for before, after in changes.handovers]
    return statements


def _key(ended: EndedSession) -> str:
    return ended.session.key


def _gone(gone: RemovedMessages) -> list[Statement]:
    ids = json.dumps([row.id for row in gone.messages])
    event_ids = json.dumps([row.event_id for row in gone.messages])
    return [
        *dropping((row.id, row.content) for row in gone.messages),
        Query(_DELETE_MESSAGES, (ids,)),
        Query(_FORGET_EVENTS, (gone.how, gone.expires_at, event_ids)),
    ]


def _sessions_written(changes: Changes) -> list[Statement]:
    new = {row.id for row in changes.opened}
    whole = {key: row for key, row in changes.changed.items() if key not in new}
    active = [row for key, row in changes.active.items() if key not in new and key not in whole]
    return [
        *_INSERT_SESSIONS.of([*map(session_values, changes.opened)]),
        *_UPDATE_SESSIONS.of([(*session_values(row)[1:], row.id) for row in whole.values()]),
        *_UPDATE_ACTIVITY.of(sorted(map(_activity, active), key=itemgetter(-1))),
    ]


def _events_written(changes: Changes) -> list[Statement]:
    return [
        # In the order of the tree: neighbours share a page.
        *_INSERT_EVENTS.of(sorted(changes.events.values(), key=itemgetter(0))),
        *_REPLACE_EVENTS.of([*changes.events_again.values()]),
        *_INSERT_SUPPRESSED.of(changes.suppressed),
    ]


def _letters_written(letters: Sequence[LetterRow], bounds: LetterBounds) -> list[Statement]:
    statements: list[Statement] = [*_INSERT_LETTERS.of(letters)]
    for by in {letter.by for letter in letters}:
        statements += [Query(_DROP_LETTERS, (by, bounds.count, bounds.size)), _COUNT_DROPPED]
    return statements
