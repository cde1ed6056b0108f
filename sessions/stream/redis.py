"""Connections to Redis, built the same way everywhere.

redis-py 5.3 (the newest that arq allows) waits for ever on a half-open socket unless told
otherwise, and repeats nothing by itself. Both are decided here. What its errors mean is told by
`sessions.stream.refusals`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from sessions.errors import ConfigError, StreamUnavailable
from sessions.process.retry import Pauses, retry
from sessions.process.urls import is_ambiguous, redacted
from sessions.stream.refusals import ERRORS, ReplyParser, explain

R = TypeVar("R")

# A command that Redis has not answered for so long will not be answered: its own slowest step,
# an fsync on a sick disk, is cut off at 2 s by most operators' alarms.
COMMAND_TIMEOUT: Final = 5.0
CONNECT_TIMEOUT: Final = 2.0
# Seconds between tries: short at first, because most cuts are a restart of 100 ms.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Pipeline(Protocol):
    """Commands that are sent together; with `transaction` they take effect together."""

    def execute_command(self, *args: Any) -> Any:
        """Queue a command."""
        ...

    async def execute(self) -> list[Any]:
        """Send the queued commands; their replies in order."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Script(Protocol):
    """A Lua script that Redis keeps by its digest."""

    async def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Run it."""
        ...


class RedisClient(Protocol):
    """The part of redis-py that we use, with types that its own stubs do not give."""

    async def execute_command(self, *args: Any) -> Any:
        """Run one command as Redis spells it; texts in the reply are bytes.

        Raises redis-py's errors, among them those in `refusals.ERRORS`. It tries once.
        """
        ...

    def pipeline(self, transaction: bool = True) -> Pipeline:
        """A batch of commands; with `transaction` all of them take effect, or none."""
        ...

    def register_script(self, script: str) -> Script:
        """A script to run by its digest."""
        ...

    async def aclose(self) -> None:
        """Close all connections. Closing again does nothing."""
        ...


def connect(url: str, *, read_timeout: float = COMMAND_TIMEOUT) -> RedisClient:
    """A client for the URL that returns bytes; it connects with its first command.

    Raises ConfigError for a URL that cannot be one. Concurrent use is safe: each command takes
    a connection of the pool. `read_timeout` (seconds) must exceed the longest BLOCK.
    """
    if is_ambiguous(url):
        raise ConfigError(_unusable(url))
    try:
        client = cast("Any", Redis).from_url(
            url,
            socket_timeout=read_timeout,
            socket_connect_timeout=CONNECT_TIMEOUT,
            health_check_interval=15,
            parser_class=ReplyParser,
            # Not to try again, which is decided below, but to leave a server that was demoted: the
            # next connection finds the one that its name stands for now.
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[ReadOnlyError],
        )
    except ValueError:  # its text quotes what it took for the port
        raise ConfigError(_unusable(url)) from None
    # redis-py would make dicts of an entry's fields, in which one given twice is hidden.
    client.set_response_callback("XREAD", _as_it_came)
    return cast("RedisClient", client)


def _unusable(url: str) -> str:
    return (
        f"{redacted(url)} is not a Redis URL: write redis://user:password@host:6379/0, rediss:// "
        "or unix:///path/of/socket, with @ : / ? # and % in user and password percent-encoded"
    )


def _as_it_came(reply: Any, **_: Any) -> Any:
    return reply


async def patiently(call: Callable[[], Awaitable[R]], url: str, patience: float) -> R:
    """Try for `patience` seconds while what Redis says passes by itself; else fail at once.

    The call may take effect more than once, so it must be one that can be repeated. Raises what
    `explain` makes of the last error.
    """

    async def explained() -> R:
        try:
            return await call()
        except ERRORS as error:
            raise explain(error, url) from error

    return await retry(
        explained,
        on=StreamUnavailable,
        pauses=Pauses(_FIRST_PAUSE, _LONGEST_PAUSE),
        patience=patience,
    )


__all__ = [
    "COMMAND_TIMEOUT",
    "CONNECT_TIMEOUT",
    "ERRORS",
    "Pipeline",
    "RedisClient",
    "RedisError",
    "Script",
    "connect",
    "explain",
    "patiently",
    "redacted",
]
