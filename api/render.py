"""What the answers look like: plain JSON values, each field named here and nowhere else.

Sessions and their messages keep the names of upstream's routes; a session's key also has the short
form that its gateway shows.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from sessions import times
from sessions.access.check import Access
from sessions.models import DeadLetter, Message, Outcome, SearchHit, Session
from sessions.stream.replies.values import KeptReply, ReplyState
from sessions.text import display_id


def session_row(session: Session, access: Access) -> dict[str, Any]:
    """A session in a list."""
    row: dict[str, Any] = {
        "session_id": display_id(session.key),
        "session_key": session.key,
        "created_at": times.render(session.created_at),
        "last_activity": times.render(session.last_activity),
        "message_count": session.message_count,
        "agent_alias": access.agent_of(session),
        "channel_id": session.channel,
        "room_id": session.room,
        "sender_id": session.sender,
        "state": session.state,
    }
    if session.name:
        row["name"] = session.name
    return row


def running_row(session: Session) -> dict[str, Any]:
    """A session in the list of the running ones."""
    return {
        "session_id": display_id(session.key),
        "created_at": times.render(session.created_at),
        "last_activity": times.render(session.last_activity),
        "message_count": session.message_count,
    }


def state_body(session_id: str, session: Session) -> dict[str, Any]:
    """A session's state, under the id that it was asked for."""
    body: dict[str, Any] = {"session_id": session_id, "state": session.state}
    if session.turn is not None:
        body["turn_id"] = session.turn
    if session.state_since is not None:
        body["turn_started_at"] = times.render(session.state_since)
    return body


def message_row(message: Message) -> dict[str, Any]:
    """A message of a history; `by` is there if an agent's token published it."""
    row: dict[str, Any] = {
        "seq": message.seq,
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "created_at": times.render(message.created_at),
    }
    if message.by is not None:
        row["by"] = message.by
    return row


def hit_row(hit: SearchHit) -> dict[str, Any]:
    """A message that a search found."""
    return {"session": hit.session, **message_row(hit.message)}


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """An event's outcome."""
    return {
        "id": outcome.id,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "session": outcome.session,
        "position": str(outcome.position),
        "duplicates": outcome.duplicates,
        "detail": outcome.detail,
    }


def reply_row(kept: KeptReply) -> dict[str, Any]:
    """A reply that was not taken; `until` is when a parked one is given up."""
    reply, is_parked = kept.reply, kept.state is ReplyState.PARKED
    return {
        "turn": reply.turn,
        "state": kept.state,
        "channel": reply.channel,
        "session": reply.session,
        "agent": reply.agent,
        "since": times.render(kept.since),
        "until": times.render(kept.until) if is_parked else None,
        "tries": kept.tries,
        "pieces_sent": kept.sent,
        "last_error": kept.error,
        "help": _PARKED_HELP if is_parked else _UNDELIVERED_HELP,
    }


def letter_row(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter in a list; `by` is there if an agent's token published it."""
    row: dict[str, Any] = {
        "id": letter.id,
        "reason": letter.reason,
        "session": letter.session,
        "event_id": letter.event_id,
        "size": letter.size,
        "at": times.render(letter.at),
    }
    if letter.by is not None:
        row["by"] = letter.by
    return row


def letter_body(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter with its payload: exactly, and as far as it can be read.

    `fields` are names and values in turn, the last one cut where the payload is; bytes that are
    no UTF-8 are shown as `\\xff`.
    """
    return {
        **letter_row(letter),
        "detail": letter.detail,
        "stream_id": str(letter.stream_id),
        "sha256": letter.sha256,
        "fields": [part.decode("utf-8", "backslashreplace") for part in _parts(letter.payload)],
        "payload": base64.b64encode(letter.payload).decode("ascii"),
    }


def _parts(payload: bytes) -> list[bytes]:
    """The fields of a framed payload (`length:bytes,`), which may end in the middle of one."""
    parts: list[bytes] = []
    rest = payload
    while rest:
        size, colon, rest = rest.partition(b":")
        if not colon:
            break
        end = int(size)
        parts.append(rest[:end])
        rest = rest[end + 1 :]
    return parts


_PARKED_HELP: Final = "it is tried again by itself; retry tries it now, drop forgets it"
_UNDELIVERED_HELP: Final = "put right what last_error says, then retry it; or drop it"
