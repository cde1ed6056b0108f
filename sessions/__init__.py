"""The shared kernel: models, wire format, stream, backends, settings. Knows no framework."""

from sessions.backend import SessionBackend, SessionReader, SessionWriter
from sessions.factory import make_session_backend
from sessions.settings import Settings, load_settings
from sessions.stream import TurnStream

__all__ = [
    "SessionBackend",
    "SessionReader",
    "SessionWriter",
    "Settings",
    "TurnStream",
    "load_settings",
    "make_session_backend",
]
