"""The shared kernel: models, wire format, stream, backends, settings. Knows no framework.

These are the public names: what a program needs to publish events and to read a store. Each is
imported when it is first used: a command that only prints a line should not wait for pydantic and
redis-py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessions.errors import (
        AccessRefused,
        ConfigError,
        DeclaredDead,
        Fenced,
        InvalidEvent,
        InvalidRequest,
        LaneFull,
        LaneLost,
        LaneTimeout,
        PositionLost,
        RedisRefused,
        Retryable,
        SearchInterrupted,
        SessionError,
        ShareFull,
        StoreBehind,
        StoreDamaged,
        StoreMismatch,
        StoreMoved,
        StoreTooNew,
        StoreUnavailable,
        StreamFull,
        StreamUnavailable,
        UnknownBackend,
    )
    from sessions.ids import new_id
    from sessions.models import (
        DeadLetter,
        Entry,
        Event,
        EventType,
        Lease,
        LetterBounds,
        Message,
        Outcome,
        OutcomeKind,
        Position,
        Reason,
        Routing,
        SearchHit,
        Session,
        StreamCursor,
        StreamId,
    )
    from sessions.process.config.loading import load_settings
    from sessions.process.settings import Settings
    from sessions.reading import Page, Scope, SessionFilter
    from sessions.store.backend import SessionBackend, SessionReader, SessionWriter
    from sessions.store.factory import make_session_backend
    from sessions.store.memory.backend import MemoryBackend
    from sessions.stream.redis import RedisClient, connect
    from sessions.stream.turns import TurnStream

__all__ = [
    "AccessRefused",
    "ConfigError",
    "DeadLetter",
    "DeclaredDead",
    "Entry",
    "Event",
    "EventType",
    "Fenced",
    "InvalidEvent",
    "InvalidRequest",
    "LaneFull",
    "LaneLost",
    "LaneTimeout",
    "Lease",
    "LetterBounds",
    "MemoryBackend",
    "Message",
    "Outcome",
    "OutcomeKind",
    "Page",
    "Position",
    "PositionLost",
    "Reason",
    "RedisClient",
    "RedisRefused",
    "Retryable",
    "Routing",
    "Scope",
    "SearchHit",
    "SearchInterrupted",
    "Session",
    "SessionBackend",
    "SessionError",
    "SessionFilter",
    "SessionReader",
    "SessionWriter",
    "Settings",
    "ShareFull",
    "StoreBehind",
    "StoreDamaged",
    "StoreMismatch",
    "StoreMoved",
    "StoreTooNew",
    "StoreUnavailable",
    "StreamCursor",
    "StreamFull",
    "StreamId",
    "StreamUnavailable",
    "TurnStream",
    "UnknownBackend",
    "connect",
    "load_settings",
    "make_session_backend",
    "new_id",
]

_HOMES = {
    name: module
    for module, names in {
        "sessions.errors": (
            "AccessRefused",
            "ConfigError",
            "DeclaredDead",
            "Fenced",
            "InvalidEvent",
            "InvalidRequest",
            "LaneFull",
            "LaneLost",
            "LaneTimeout",
            "PositionLost",
            "RedisRefused",
            "Retryable",
            "SearchInterrupted",
            "SessionError",
            "ShareFull",
            "StoreBehind",
            "StoreDamaged",
            "StoreMismatch",
            "StoreMoved",
            "StoreTooNew",
            "StoreUnavailable",
            "StreamFull",
            "StreamUnavailable",
            "UnknownBackend",
        ),
        "sessions.ids": ("new_id",),
        "sessions.models": (
            "DeadLetter",
            "Entry",
            "Event",
            "EventType",
            "Lease",
            "LetterBounds",
            "Message",
            "Outcome",
            "OutcomeKind",
            "Position",
            "Reason",
            "Routing",
            "SearchHit",
            "Session",
            "StreamCursor",
            "StreamId",
        ),
        "sessions.process.config.loading": ("load_settings",),
        "sessions.process.settings": ("Settings",),
        "sessions.reading": (
            "Page",
            "Scope",
            "SessionFilter",
        ),
        "sessions.store.backend": (
            "SessionBackend",
            "SessionReader",
            "SessionWriter",
        ),
        "sessions.store.factory": ("make_session_backend",),
        "sessions.store.memory.backend": ("MemoryBackend",),
        "sessions.stream.redis": (
            "RedisClient",
            "connect",
        ),
        "sessions.stream.turns": ("TurnStream",),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sessions' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
