"""One logging setup for all processes: one line an event, on stderr, never any content of turns."""

from __future__ import annotations

import logging
import time
from typing import Final

_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s {service} %(message)s"

# Chatty or repetitive at INFO, and none of it about turns; some of them log URLs with tokens, or
# what was said. uvicorn writes down every WebSocket's URL, and at DEBUG its frames.
_QUIET: Final = (
    *("arq", "httpx", "aiohttp", "aiosqlite", "mcp", "asyncio", "openai", "telegram"),
    "uvicorn",
)


def configure_logging(service: str, level: str) -> None:
    """Log as `service` at that level (`debug` … `error`); called once, by a process' main."""
    formatter = _Formatter(_FORMAT.format(service=service), datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class _Formatter(logging.Formatter):
    """Keeps a line a line: a session key may hold anything, escape codes among it."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.exc_info or text.isprintable():
            return text
        return text.encode("unicode_escape").decode("ascii")
