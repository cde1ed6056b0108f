"""What the engine asks, as SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sessions.store.engine.changes import FoundRows, Needs
from sessions.store.engine.rows import EventRow, SessionRow, columns
from sessions.store.sqlite.rows import cursor_of
from sessions.store.sqlite.statements import Query, Rows

# Session keys that one SELECT asks for. Fewer are filled up with one of them, so that there is one
# statement whose plan is kept.
_CHUNK: Final = 32
_EVENT_COLUMNS: Final = columns(EventRow)

STREAM: Final = Query("SELECT epoch, ms, n, resolved, skipped, added FROM stream")
_NEXT_IDS: Final = Query(
    "SELECT (SELECT coalesce(max(id), 0) + 1 FROM sessions), "
    "(SELECT coalesce(max(id), 0) + 1 FROM messages)"
)
_EVENTS: Final = (
    f"SELECT {_EVENT_COLUMNS} FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
)
# Mostly that table is empty, and then not even the list of what is wanted is read.
_SUPPRESSED: Final = (
    "SELECT event_id, session FROM suppressed WHERE event_id IN (SELECT value FROM json_each("
    "CASE WHEN EXISTS (SELECT 1 FROM suppressed) THEN ? ELSE '[]' END))"
)
# The same id of other publishers, in the order of the tree: nothing stands between `id@` and `idA`.
_NAMESAKES: Final = (
    f"SELECT {', '.join(f'e.{name}' for name in _EVENT_COLUMNS.split(', '))} "
    "FROM json_each(?) AS wanted CROSS JOIN events e "
    "ON e.event_id > wanted.value || '@' AND e.event_id < wanted.value || 'A'"
)
_SESSIONS: Final = (
    f"SELECT {columns(SessionRow)} FROM sessions WHERE key IN ({', '.join('?' * _CHUNK)})"
)


def queries_of(needs: Needs | None) -> list[Query]:
    """What finds the cursor, and the rows that are needed."""
    if needs is None:
        return [STREAM]
    ids, references = json.dumps(needs.ids), json.dumps(needs.references)
    return [
        STREAM,
        _NEXT_IDS,
        Query(_EVENTS, (ids,)),
        Query(_NAMESAKES, (references,)),
        Query(_SUPPRESSED, (ids,)),
        *_session_queries(needs.keys),
    ]


def _session_queries(keys: Sequence[str]) -> list[Query]:
    # Not by json_each: it ends a text at its first NUL, which a key may contain.
    chunks = [[*keys[start : start + _CHUNK]] for start in range(0, len(keys), _CHUNK)]
    return [Query(_SESSIONS, chunk + chunk[-1:] * (_CHUNK - len(chunk))) for chunk in chunks]


def found_in(answers: Sequence[Rows]) -> FoundRows:
    """What these answers to `queries_of` say."""
    [[cursor], *rest] = answers
    if not rest:
        return FoundRows(cursor_of(cursor), (), (), (), (), 0, 0)
    [[next_ids], events, namesakes, suppressed, *sessions] = rest
    return FoundRows(
        cursor_of(cursor),
        [EventRow(*row) for row in events],
        [EventRow(*row) for row in namesakes],
        [(row[0], row[1]) for row in suppressed],
        [SessionRow(*row) for rows in sessions for row in rows],
        *next_ids,
    )
