"""The shared kernel: models, wire format, stream, backends, settings. Knows no framework.

The names below are imported when they are first used: a command that only prints a line should
not wait for pydantic and redis-py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessions.process.settings import Settings, load_settings
    from sessions.store.backend import SessionBackend, SessionReader, SessionWriter
    from sessions.store.factory import make_session_backend
    from sessions.stream.turns import TurnStream

__all__ = [
    "SessionBackend",
    "SessionReader",
    "SessionWriter",
    "Settings",
    "TurnStream",
    "load_settings",
    "make_session_backend",
]

_HOMES = {
    "SessionBackend": "sessions.store.backend",
    "SessionReader": "sessions.store.backend",
    "SessionWriter": "sessions.store.backend",
    "Settings": "sessions.process.settings",
    "TurnStream": "sessions.stream.turns",
    "load_settings": "sessions.process.settings",
    "make_session_backend": "sessions.store.factory",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sessions' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
