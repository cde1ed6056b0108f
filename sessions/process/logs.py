"""One logging setup for all processes: one line an event, on stderr, never any content of turns.

A line is text for people, or a JSON object for programs, which says what it is about in fields.

Our own modules say nothing that a person or a model wrote. What a library says cannot be known: it
may print a request, a URL with a token, or an object with all of its fields. So nobody else speaks
below WARNING, and above that only text that stands in the library's own code.
"""

from __future__ import annotations

import inspect
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, cast

from sessions.errors import SessionError
from sessions.process.json_lines import JsonFormatter, json_line

_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s {service} %(message)s"

log = logging.getLogger(__name__)

# Loggers of ours are named for their modules.
_OURS: Final = ("api", "cli", "ingest", "routing", "sessions", "worker")
# Errors whose texts are ours, or the system's about files and connections. Others repeat what they
# stumbled over: a key, a number that is none, a field of a request.
_TELLING: Final = (SessionError, OSError, RuntimeError, AssertionError, MemoryError)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure_logging(service: str, level: str, form: str = "text") -> None:
    """Log as `service` at that level (`debug` … `error`); called once, by a process' main.

    `form` is `text` or `json`; with `json` an error that ends the process is such a line too.
    Called again, what is new counts. It sets the process' factory of log records, so that the rule
    holds for every handler, also for one that is added later.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_json_formatter(service) if form == "json" else _text_formatter(service))
    # A library that sets a level of its own does not ask the root.
    handler.addFilter(_is_for_us)
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(number)
    logging.setLogRecordFactory(_record)
    sys.excepthook = _log_uncaught if form == "json" else sys.__excepthook__


def say_why(service: str, error: Exception, environ: Mapping[str, str]) -> None:
    """Say on stderr why this service ends, in the form of its log; `error`'s text must be ours.

    If that is not known yet, because the settings are what is wrong, `environ` alone tells it.
    """
    known = any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers)
    if known or environ.get("TURNSTREAM_LOG_FORMAT") == "json":
        line = json_line(service, "critical", str(error), {"logger": __name__})
    else:
        line = f"{service}: {error}"
    print(line, file=sys.stderr)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("the process ends because of an error", exc_info=(kind, error, trace))


def traceback_of(error: BaseException) -> str:
    """A traceback of code and kinds of errors, which shows their texts only if those are safe."""
    return "\n".join(_traced(error, set()))


def _traced(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    lines: list[str] = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        lines += [*_traced(before, seen), "", "which led to:", ""]
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    lines += ["Traceback (most recent call last):", *([frames] if frames else []), _named(error)]
    if isinstance(error, BaseExceptionGroup):
        # isinstance does not tell what the group holds.
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            if id(one) not in seen:
                lines += ["", "one of them:", "", *_traced(one, seen)]
    return lines


def _named(error: BaseException) -> str:
    name = type(error).__qualname__
    return f"{name}: {error}" if isinstance(error, _TELLING) else name


def _record(
    name: str,
    level: int,
    path: str,
    line: int,
    message: object,
    arguments: Any,
    exc_info: _ExcInfo | None,
    function: str | None = None,
    stack: str | None = None,
    **more: Any,
) -> logging.LogRecord:
    """A record as this process makes them."""
    if not _is_ours(name):
        message, arguments, stack = _safe(name, message, path, line), (), None
    record = logging.LogRecord(
        name, level, path, line, message, arguments, exc_info, function, stack, **more
    )
    if exc_info is not None and exc_info[1] is not None:
        # Formatters take this for the text that one of them has made already.
        record.exc_text = traceback_of(exc_info[1])
    return record


def _safe(name: str, message: object, path: str, line: int) -> str:
    """What of a library's message may be shown: a text that it was not put together at run time."""
    if isinstance(message, _TELLING):
        return f"{name}: {message}"
    if isinstance(message, str) and message in _constants(path, line):
        # Its arguments are left out; the places where they would stand show.
        return f"{name}: {message.strip()}"
    return f"{name} has a message at {path}:{line}, left out: it may hold a user's text"


def _constants(path: str, line: int) -> tuple[object, ...]:
    """The texts that stand in the function that is logging now."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == path and frame.f_lineno == line:
            return frame.f_code.co_consts
        frame = frame.f_back
    return ()


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in _OURS


def _is_for_us(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or _is_ours(record.name)


def _json_formatter(service: str) -> logging.Formatter:
    return JsonFormatter(service, _is_ours)


def _text_formatter(service: str) -> logging.Formatter:
    formatter = _TextFormatter(_FORMAT.format(service=service), datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    return formatter


class _TextFormatter(logging.Formatter):
    """Keeps a line a line: a session key may hold anything, escape codes among it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, or as several if it has a traceback."""
        text = super().format(record)
        if record.exc_info or text.isprintable():
            return text
        return text.encode("unicode_escape").decode("ascii")
