"""The decisions of the stream contract that need no store: pure functions over rows.

Numbers in brackets are the rules of docs/stream-contract.md.
"""

from __future__ import annotations

from typing import Final

from sessions.models import Event, EventType, OutcomeKind, Reason
from sessions.store.engine.rows import OUTCOME_CODES, EventRow, SessionRow

_CREATING: Final = frozenset({EventType.APPEND, EventType.CONTEXT})
# The types on which `state` means something.
_STATED: Final = frozenset({EventType.APPEND, EventType.STATE})
_NO_ROUTING: Final = (None, None, None, None)
# Found once: an attribute of an enumeration costs as much as a call.
_OWNER: Final = EventType.OWNER
APPLIED: Final = OUTCOME_CODES[OutcomeKind.APPLIED]
DEAD: Final = OUTCOME_CODES[OutcomeKind.DEAD]


def is_user_append(event: Event) -> bool:
    """Whether the event opens a turn, and can be rolled back [3]."""
    return event.type is EventType.APPEND and event.role == "user"


def revives(event: Event) -> bool:
    """Whether the event opens a deleted session again [4]."""
    return event.type is EventType.CONTEXT or is_user_append(event)


def refusal(event: Event, session: SessionRow | None, opener: EventRow | None) -> Reason | None:
    """Why the event has no effect whatever it asks for, None where it may go on.

    `opener` is the row of the event that opened its turn, where that is known.
    """
    if session is not None and session.live and _is_anothers(event, session):
        return Reason.NO_SESSION if event.if_exists else Reason.NOT_OWNER
    if session is None:
        return Reason.NO_SESSION if _needs_session(event) else None
    if not session.live and not revives(event):
        return Reason.SESSION_DELETED
    if opener is not None and _is_stale(session, opener):
        return Reason.STALE_TURN
    if not session.live:
        return Reason.NO_SESSION if _needs_session(event) else None
    return None


def as_seen(event: Event, session: SessionRow | None) -> SessionRow | None:
    """The session as the event's agent may know it: what another agent deleted never was [10]."""
    if session is None or session.live or not _is_anothers(event, session):
        return session
    return None


def _is_anothers(event: Event, session: SessionRow) -> bool:
    """Whether the session is not the event's agent's, nor can become its [10]."""
    if event.type is _OWNER:
        # Its agent is the owner to be; only an operator may say so.
        return event.by is not None
    if event.agent is None or event.agent == session.agent:
        return False
    if session.agent is not None:
        return True
    if event.by is None:
        return False
    return not session.live or event.channel is None or event.channel != session.channel


def _needs_session(event: Event) -> bool:
    if event.if_exists:
        return True
    # A rollback may overtake its target, which is what will make the session [3].
    overtaking = event.type is EventType.ROLLBACK and event.target is not None
    return event.type not in _CREATING and not overtaking


def _is_stale(session: SessionRow, opener: EventRow) -> bool:
    return (
        opener.outcome == APPLIED
        and opener.session_id == session.id
        and opener.generation is not None
        and opener.generation < session.generation
    )


def opened(key: str, row_id: int, generation: int, moment: int) -> SessionRow:
    """A session as its first event finds it."""
    return SessionRow(
        id=row_id,
        key=key,
        generation=generation,
        live=1,
        ended_at=None,
        name=None,
        agent=None,
        channel=None,
        room=None,
        sender=None,
        state="idle",
        turn=None,
        state_since=None,
        created_at=moment,
        last_activity=moment,
        message_count=0,
        next_seq=1,
        owned_from=generation,
    )


def reopen(session: SessionRow, moment: int, *, owner: str | None) -> None:
    """Make a tombstone a session again: nothing of it returns but its generation [4].

    The numbering goes on for the owner that it had, and tells a new one nothing [10].
    """
    same = owner == session.agent
    # What late events of the time between find is of the owner before, too.
    generation = session.generation if same else session.generation + 1
    fresh = opened(session.key, session.id, generation, moment)
    if same:
        fresh.next_seq, fresh.owned_from = session.next_seq, session.owned_from
    _become(session, fresh)


def bury(session: SessionRow, moment: int) -> None:
    """Leave of a session what keeps late events, and others than its owner, from it [4, 9, 10]."""
    grave = opened(session.key, session.id, session.generation, moment)
    grave.next_seq, grave.owned_from = session.next_seq, session.owned_from
    for name in ("agent", "channel", "room", "sender"):
        setattr(grave, name, getattr(session, name))
    _become(session, grave)
    session.generation += 1
    session.live = 0
    session.ended_at = moment


def _become(session: SessionRow, other: SessionRow) -> None:
    for name in SessionRow.__slots__:
        setattr(session, name, getattr(other, name))


def clear(session: SessionRow) -> None:
    """Empty a session that stays: no reply of the old generation will end its turn, so it rests."""
    session.generation += 1
    session.message_count = 0
    session.state = "idle"
    session.turn = None
    session.state_since = None


def take_routing(session: SessionRow, event: Event) -> bool:
    """Store owner and routing of an applied event; whether anything changed."""
    if event.routing == _NO_ROUTING:
        return False
    changed = False
    if event.agent is not None and session.agent is None and event.type is not _OWNER:
        session.agent, changed = event.agent, True
    for name in ("channel", "room", "sender"):
        value = getattr(event, name)
        if value is not None and value != getattr(session, name):
            setattr(session, name, value)
            changed = True
    return changed


def take_state(session: SessionRow, event: Event, moment: int) -> None:
    """Set the state that an append or state event names; `turn` is kept while it runs or failed."""
    if event.state is None or event.type not in _STATED:
        return
    session.state = event.state
    session.state_since = moment if event.state == "running" else None
    if event.state == "idle":
        session.turn = None
    elif event.turn is not None:
        session.turn = event.turn
    elif is_user_append(event):
        session.turn = event.id


def is_from_outside(event: Event) -> bool:
    """Whether another agent than the session's own sends the message: it never answers [3]."""
    return event.by is not None and event.agent is not None and event.by != event.agent


def rollback_refusal(target: EventRow, session: SessionRow | None, key: str) -> Reason | None:
    """Why a target with an outcome cannot be taken back, short of being answered [3]."""
    if target.session_id is None:
        if target.session != key:
            return Reason.WRONG_SESSION
        # A rollback that came before its session is applied, and is no user append.
        return Reason.NOT_USER_APPEND if target.outcome == APPLIED else Reason.NOT_APPLIED
    if session is None or target.session_id != session.id:
        return Reason.WRONG_SESSION
    if target.gone is not None:
        return Reason(target.gone)
    return Reason.NOT_USER_APPEND if target.seq is None else None
