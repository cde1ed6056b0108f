"""Log lines as JSON objects, and what a line is about: fields beside its text.

with about(turn=inbound.id, agent=inbound.agent):
    log.warning("…")                                    # has the fields turn and agent
    log.warning("…", extra={"event_id": other.id})      # and this one, for this line alone
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

# What a line may be about.
_FIELDS: Final = (
    *("event_id", "turn", "agent", "session", "channel", "trace_id"),
    *("status", "reason", "error_code", "error_type"),
)
_about: Final[ContextVar[Mapping[str, str]]] = ContextVar("about")


@contextmanager
def about(**fields: str | None) -> Generator[None]:
    """Everything that is logged inside, and in tasks that begin inside, is about this.

    It takes the place of what was said outside. None is left out.
    """
    token = _about.set({name: value for name, value in fields.items() if value is not None})
    try:
        yield
    finally:
        _about.reset(token)


def json_line(
    service: str,
    level: str,
    message: str,
    more: Mapping[str, object] | None = None,
    *,
    at: float | None = None,
) -> str:
    """One line of a log, without newline. `at` is seconds since the epoch, now without it."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"time": time, "level": level, "service": service, **(more or {}), "message": message}
    # ASCII alone: a session key may hold anything, escape codes and line separators among it.
    return json.dumps(told)


class JsonFormatter(logging.Formatter):
    """A record as a JSON object; a traceback is a field of it."""

    def __init__(self, service: str, is_ours: Callable[[str], bool]) -> None:
        """`is_ours` says of a logger's name whether its records may bring fields."""
        super().__init__()
        self._service = service
        self._is_ours = is_ours

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        more: dict[str, object] = {"logger": record.name, **_about.get({})}
        if self._is_ours(record.name):
            more |= _own_fields(record)
        if record.exc_text:
            more["exception"] = record.exc_text
        level = record.levelname.lower()
        return json_line(self._service, level, record.getMessage(), more, at=record.created)


def _own_fields(record: logging.LogRecord) -> dict[str, str]:
    told = ((name, getattr(record, name, None)) for name in _FIELDS)
    return {name: str(value) for name, value in told if value is not None}
