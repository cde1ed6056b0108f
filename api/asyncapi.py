"""The AsyncAPI document of the stream: what any program may publish, for machines to read."""

from __future__ import annotations

from typing import Any, Final

from sessions import wire
from sessions.models import EventType

_ID: Final = {"type": "string", "pattern": r"^[A-Za-z0-9._:-]{1,128}$"}
_STATE: Final = {"type": "string", "enum": ["idle", "running", "error"]}
_LABEL: Final = {"type": "string", "description": f"At most {wire.MAX_LABEL} bytes."}
_TEXT: Final = {
    "type": "string",
    "description": f"At most {wire.DEFAULT_MAX_CONTENT} bytes, unless configured otherwise.",
}

_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "v": {"type": "string", "const": wire.VERSION},
    "id": {**_ID, "description": "Chosen once by the producer; a retry reuses it."},
    "type": {"type": "string", "enum": [*EventType]},
    "session": {"type": "string", "description": f"1 to {wire.MAX_SESSION} bytes; not on `dead`."},
    "role": {"type": "string", "description": f"1 to {wire.MAX_ROLE} bytes."},
    "content": _TEXT,
    "turn": {**_ID, "description": "Id of the user append that opened the turn."},
    "target": {**_ID, "description": "The append to take back, or the dead letter."},
    "expect": {**_TEXT, "description": "Content of the last message, instead of a target."},
    "close_with": {**_TEXT, "description": "Appended if a rollback comes too late."},
    "name": {**_LABEL, "description": "An empty one removes the name."},
    "state": _STATE,
    "action": {"type": "string", "enum": ["replay", "purge"]},
    "if_exists": {"type": "string", "const": "1"},
    "agent": {**_LABEL, "description": "The agent that the event expects as owner."},
    "by": {**_LABEL, "description": "The agent whose token published this; doors set it."},
    "expect_agent": {**_LABEL, "description": "On `owner`: the owner so far."},
    "channel": _LABEL,
    "room": _LABEL,
    "sender": _LABEL,
    "at": {"type": "string", "format": "date-time"},
}
_NEEDED: Final[dict[EventType, tuple[str, ...]]] = {
    EventType.APPEND: ("session", "role", "content"),
    EventType.ROLLBACK: ("session",),
    EventType.RESET: ("session",),
    EventType.DELETE: ("session",),
    EventType.RENAME: ("session", "name"),
    EventType.STATE: ("session", "state"),
    EventType.CONTEXT: ("session",),
    EventType.OWNER: ("agent",),
    EventType.DEAD: ("target", "action"),
}


def stream_document(key: str) -> dict[str, Any]:
    """The document for the stream under this Redis key."""
    messages = {kind.value: {"$ref": f"#/components/messages/{kind}"} for kind in EventType}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Turnstream events",
            "version": f"{wire.VERSION}.0.0",
            "description": "One XADD an event; each field is a flat UTF-8 string.",
        },
        "channels": {"turns": {"address": key, "messages": messages}},
        "operations": {
            "publish": {"action": "send", "channel": {"$ref": "#/channels/turns"}},
        },
        "components": {"messages": {kind.value: _message(kind) for kind in EventType}},
    }


def _message(kind: EventType) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "type": "object",
        "properties": {**_FIELDS, "type": {"type": "string", "const": kind.value}},
        "required": ["v", "id", "type", *_NEEDED[kind]],
    }
    if kind is EventType.ROLLBACK:
        payload["oneOf"] = [{"required": ["target"]}, {"required": ["expect"]}]
    if kind is EventType.OWNER:
        payload["anyOf"] = [{"required": ["session"]}, {"required": ["expect_agent"]}]
    return {"name": kind.value, "payload": payload}
