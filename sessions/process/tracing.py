"""Traces: a turn can be followed from its publisher through the stream to its reply.

What is worked on carries a `traceparent` (W3C Trace Context), which goes on in the stream field of
that name. Spans are made only if an exporter is configured, by OpenTelemetry's own variables; until
then its SDK is not imported, and what came in is carried on as it is.

    with carrying(request.headers.get("traceparent")):
        with span("turn", agent=agent):
            ...
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from sessions.errors import ConfigError

# The stream field, and the HTTP header.
FIELD: Final = "traceparent"
_FORM: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_carried: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)


class Tracer(Protocol):
    """Makes spans. Times are nanoseconds since the epoch."""

    def span(
        self, name: str, parent: str | None, attributes: Mapping[str, str]
    ) -> AbstractContextManager[str]:
        """A span around the block; gives its own traceparent."""
        ...

    def record(
        self, name: str, parent: str | None, attributes: Mapping[str, str], began: int, ended: int
    ) -> None:
        """A span that is over already."""
        ...


class _Tracing:
    """What this process does with spans; as with logging, there is one answer for all of it."""

    tracer: Tracer | None = None


def configure_tracing(service: str, environ: Mapping[str, str]) -> None:
    """Export spans as `service` if the environment names an exporter; called once, by a main.

    Raises ConfigError if the packages for it are not installed.
    """
    if not any(environ.get(name) for name in _ENDPOINTS) or _is_off(environ):
        return
    try:
        from sessions.process.otel import OtelTracer
    except ImportError as error:
        raise ConfigError(
            f"an exporter of traces is named, but {error.name} is not installed: "
            "pip install 'turnstream[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    _Tracing.tracer = OtelTracer(service)


def _is_off(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def is_tracing() -> bool:
    """Whether spans are exported."""
    return _Tracing.tracer is not None


def carried() -> str | None:
    """The traceparent of what is worked on now."""
    return _carried.get()


@contextmanager
def carrying(traceparent: str | None) -> Generator[None]:
    """Work on something that came with this traceparent; one that is none counts as absent."""
    valid = traceparent is not None and _FORM.fullmatch(traceparent) is not None
    token = _carried.set(traceparent if valid else None)
    try:
        yield
    finally:
        _carried.reset(token)


def traced(fields: dict[str, str]) -> dict[str, str]:
    """The fields of an entry, with the traceparent of what is worked on now."""
    parent = carried()
    return fields if parent is None else {**fields, FIELD: parent}


def parent_in(fields: Sequence[bytes]) -> str | None:
    """The traceparent in an entry's fields and values, as Redis gives them; None without one."""
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == FIELD.encode():
            found = value.decode("ascii", "replace")
            return found if _FORM.fullmatch(found) else None
    return None


@contextmanager
def span(name: str, **attributes: str | None) -> Generator[None]:
    """A span around the block, if they are exported; what is done inside carries it."""
    tracer = _Tracing.tracer
    if tracer is None:
        yield
        return
    with tracer.span(name, carried(), _told(attributes)) as own:
        token = _carried.set(own)
        try:
            yield
        finally:
            _carried.reset(token)


def record(
    name: str,
    parent: str | None,
    seconds: float,
    *,
    after: float = 0.0,
    **attributes: str | None,
) -> None:
    """A span that took so long and ended `after` seconds ago, if they are exported."""
    if _Tracing.tracer is not None:
        ended = time.time_ns() - int(after * 1e9)
        began = ended - int(max(0.0, seconds) * 1e9)
        _Tracing.tracer.record(name, parent, _told(attributes), began, ended)


def _told(attributes: Mapping[str, str | None]) -> Mapping[str, str]:
    return {f"turnstream.{key}": value for key, value in attributes.items() if value is not None}
