"""Taking in rows of another store: pure functions from them to changes."""

from __future__ import annotations

from dataclasses import replace

from sessions.store.engine.changes import Changes, FoundRows, Needs
from sessions.store.engine.rows import EventRow, SessionRow
from sessions.store.image import KeyedEvent, KeyedMessage, StoreRows


def needs_of(rows: StoreRows) -> Needs:
    """What taking these in asks of the store."""
    keys = {row.key for row in rows.sessions} | {one.key for one in rows.messages}
    keys |= {one.home for one in rows.events if one.home is not None}
    ids = {one.row.event_id for one in (*rows.messages, *rows.events)}
    return Needs(ids=sorted(ids), keys=sorted(keys))


def restored(rows: StoreRows, found: FoundRows) -> tuple[Changes, list[str]]:
    """The changes that bring these rows in; what is there already has no effect.

    Beside them the ids of messages that stay out because other events have them here.

    A row keeps its number if that is above all that are in use, else it gets the next one: rows
    keep their order, and in an empty store their numbers.
    """
    changes = Changes(receipts=[*rows.receipts], letters=[*rows.letters])
    changes.suppressed = [(one.event_id, one.session, one.expires_at) for one in rows.suppressed]
    homes = {row.key: row for row in found.sessions}
    _add_sessions(changes, rows.sessions, homes, found.next_session)
    known = {row.event_id: row for row in found.events}
    strangers = [
        one.row.event_id
        for one in rows.messages
        if _differs(one.event, known.get(one.row.event_id))
    ]
    _add_messages(changes, rows.messages, homes, {*known}, found.next_message)
    _add_events(changes, rows.events, homes, {*known, *changes.events})
    return changes, strangers


def _differs(event: EventRow, known: EventRow | None) -> bool:
    """Whether the known event of the same id has another payload or outcome."""
    return known is not None and (known.digest, known.outcome) != (event.digest, event.outcome)


def _add_sessions(
    changes: Changes, rows: list[SessionRow], homes: dict[str, SessionRow], next_id: int
) -> None:
    for row in rows:
        if row.key in homes:
            continue
        # Its messages are counted as they come, so that the store agrees with itself meanwhile.
        new = replace(row, id=max(row.id, next_id), message_count=0)
        next_id = new.id + 1
        homes[row.key] = new
        changes.opened.append(new)


def _add_messages(
    changes: Changes,
    messages: list[KeyedMessage],
    homes: dict[str, SessionRow],
    known: set[str],
    next_id: int,
) -> None:
    for key, row, event in messages:
        home = homes.get(key)
        if home is None or not _takes(home, event) or row.event_id in known:
            continue
        next_id = max(row.id, next_id) + 1
        known.add(row.event_id)
        home.message_count += 1
        changes.messages.append(row._replace(id=next_id - 1, session_id=home.id))
        # None is with a no-op that left a message.
        number = home.id if event.session_id is not None else None
        changes.events[row.event_id] = event._replace(session_id=number)
        changes.keys[home.id] = key
        changes.active[home.id] = home


def _takes(home: SessionRow, event: EventRow) -> bool:
    """Whether the session is still the one that the message is of."""
    return bool(home.live) and (event.generation or home.generation) >= home.generation


def _add_events(
    changes: Changes, events: list[KeyedEvent], homes: dict[str, SessionRow], known: set[str]
) -> None:
    for home, row in events:
        if row.event_id not in known:
            found = homes.get(home) if home is not None else None
            number = found.id if found is not None else None
            changes.events[row.event_id] = row._replace(session_id=number)
