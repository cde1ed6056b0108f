"""Every error that Turnstream raises on purpose, in one tree.

    SessionError
    ├── InvalidEvent            the event itself is wrong; sending it again cannot help
    ├── InvalidRequest          an argument of a read is wrong (cursor, limit, position)
    ├── ConfigError             the settings or the workspace are wrong; nothing was started
    │   ├── UnknownBackend
    │   ├── RedisRefused         Redis permits too little, or is not one that can be used
    │   ├── StoreTooNew
    │   ├── StoreMoved           the store was moved to another backend
    │   └── StoreMismatch       this store is not the one that the stream belongs to
    ├── Retryable               the same call may succeed later; nothing was lost
    │   ├── StreamUnavailable   Redis does not answer, or refuses for now
    │   ├── StreamFull          Redis refuses new entries until the worker has caught up
    │   ├── ShareFull           too much of what the agent published waits for the worker
    │   ├── StoreUnavailable    the store is busy, its disk is full, or it cannot be opened now
    │   ├── ForeignChanged      a ZeroClaw workspace changed while it was read
    │   ├── StoreBehind         the store has not applied yet what the caller asked to see
    │   ├── RepliesFull         an agent has as many replies parked as it may
    │   ├── LaneFull            the session has as many messages waiting as it may
    │   └── LaneTimeout         the session's turns before this message took too long
    ├── StoreDamaged            the store's files are damaged; going on would make it worse
    ├── SearchInterrupted       a search took longer than it may; a narrower one may not
    ├── AccessRefused           the caller's token does not reach so far
    ├── PositionLost            the position belongs to a stream that no longer exists
    ├── Fenced                  another worker leads; this one may not write any more
    ├── LaneChanged             a message that was to join a turn is not in the lane any more
    ├── LaneLost                another replica has taken the session's lane over
    └── DeclaredDead            the other replicas took this one for dead and took its lanes over

The message says what to do; the attributes carry the data.
"""

from __future__ import annotations


class SessionError(Exception):
    """Something that Turnstream could not do, said in a sentence for the person who asked."""


class InvalidEvent(SessionError):
    """The event breaks the stream contract; `reason` is the dead letter's reason.

    `field` is the one that is wrong, None if it is no single one.
    """

    def __init__(self, reason: str, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field


class InvalidRequest(SessionError):
    """An argument of a read is malformed."""


class ConfigError(SessionError):
    """The configuration or the workspace cannot be used as it is."""


class UnknownBackend(ConfigError):
    """No backend has this name."""


class RedisRefused(ConfigError):
    """Redis does not permit what the service needs, or cannot be used as it is."""


class StoreTooNew(ConfigError):
    """The store was written by a newer Turnstream; this one would not understand it."""


class StoreMoved(ConfigError):
    """The store was moved to another backend, which `backend` names, and shows nothing any more."""

    def __init__(self, message: str, *, backend: str) -> None:
        super().__init__(message)
        self.backend = backend


class StoreMismatch(ConfigError):
    """The stream in Redis belongs to another store than the one in the workspace."""


class Retryable(SessionError):
    """A passing condition: try the same again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StreamUnavailable(Retryable):
    """Redis does not answer or refuses for now: nothing can be published or read fresh."""


class StreamFull(Retryable):
    """Redis is at its memory limit and refuses new entries."""


class ShareFull(Retryable):
    """The agent's share of the stream is full; nothing was published. `waiting` is in entries."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} events of this agent are not applied yet; send this again when the worker "
            "has caught up"
        )
        self.waiting = waiting


class StoreUnavailable(Retryable):
    """The store cannot be read or written now: busy, disk full, or not reachable."""


class ForeignChanged(Retryable):
    """A ZeroClaw workspace changed while it was read: stop ZeroClaw, then read it again."""


class StoreBehind(Retryable):
    """The worker has not applied yet what the caller must see; `lag` is in stream entries."""

    def __init__(self, message: str, *, lag: int | None, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.lag = lag


class StoreDamaged(SessionError):
    """The store's files are damaged, or its disk failed to sync: the process must end.

    A new process begins from what the disk really holds, which the old one can no longer know.
    """


class SearchInterrupted(SessionError):
    """A search took too long and was ended; fewer or rarer words, or one session, are faster."""


class AccessRefused(SessionError):
    """The caller may not do this; `code` says why in one word (`forbidden`, `reserved_key` …)."""

    def __init__(self, message: str, *, code: str = "forbidden") -> None:
        super().__init__(message)
        self.code = code


class PositionLost(SessionError):
    """The position is of an older stream epoch and its event has no outcome: it will never come."""


class Fenced(SessionError):
    """A newer leader has taken over; everything this one still holds belongs to the new one."""


class LaneFull(Retryable):
    """The session's lane is full; nothing was stored. `pending` counts the turn at work too."""

    def __init__(self, session: str, pending: int) -> None:
        super().__init__(f"Session {session} queue full ({pending} pending requests)")
        self.session = session
        self.pending = pending


class RepliesFull(Retryable):
    """An agent has as many replies parked as it may; this one was left as it was."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most:,} replies of this agent are parked already: put right what keeps them, or "
            "drop some with `turnstream replies drop`",
            retry_after=60.0,
        )


class LaneTimeout(Retryable):
    """The message waited too long for its turn and was taken back; nothing was stored."""

    def __init__(self, session: str) -> None:
        super().__init__(f"Timed out waiting for session {session}")
        self.session = session


class LaneChanged(SessionError):
    """A message that was to become a part of the turn has left the lane; nothing was published."""


class LaneLost(SessionError):
    """The lane is held under a newer token: whatever this holder still has to say is void."""


class DeclaredDead(SessionError):
    """This replica stood still for so long that others took its lanes over: start again."""
