"""Why a request is turned down: the errors that only entry points raise.

    SessionError
    ├── Unauthorized            no token, or one that is nobody's
    ├── WrongSignature          the request does not prove that its platform sent it
    ├── OldTimestamp            it was signed too long ago
    ├── NotFound                there is no such thing
    │   └── UnknownTool
    ├── BodyTooLarge            more bytes came than a request may have
    ├── IncompleteBody          the connection ended before the body did
    ├── BrokenPayload           the body is not what the channel's platform sends
    ├── InvalidBody             the body is no event and no list of events
    ├── Refused                 a refusal with a status and a code of its own
    │   ├── IdConflict
    │   ├── WakeRefused
    │   └── RefusedEvent
    └── Retryable               the same request may succeed later
        ├── Busy
        ├── TooManySearches
        ├── TooManyWaiting
        ├── NotConfirmed
        └── ApiUnavailable

`sessions.web.problems` says how each of them is answered, and the errors of the kernel as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessions.errors import Retryable, SessionError

_NOTHING: Final[Mapping[str, Any]] = {}


class Unauthorized(SessionError):
    """No token, or one that is nobody's."""


class WrongSignature(SessionError):
    """The request does not prove that it comes from the channel's platform."""


class OldTimestamp(SessionError):
    """The request was signed too long ago, or its sender's clock is wrong."""


class NotFound(SessionError):
    """There is no such thing, as far as the caller may know."""


class UnknownTool(NotFound):
    """No tool has this name."""


class BodyTooLarge(SessionError):
    """More bytes came than a request may have."""


class IncompleteBody(SessionError):
    """The connection ended before the body did."""


class BrokenPayload(SessionError):
    """The body is not what the channel's platform sends."""


class InvalidBody(SessionError):
    """The body is JSON, but no event and no list of events."""


class Refused(SessionError):
    """A refusal with a status and a code of its own; `details` go into the answer."""

    def __init__(
        self, status: int, text: str, code: str, details: Mapping[str, Any] = _NOTHING
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.details = details


class IdConflict(Refused):
    """The id of a change belongs to an earlier event that says something else."""

    def __init__(self) -> None:
        super().__init__(
            422,
            "id_conflict: this Idempotency-Key was used before, for something else; choose another",
            "id_conflict",
        )


class QueueTimeout(Refused):
    """The session's turn took too long; nothing was added."""

    def __init__(self) -> None:
        super().__init__(408, "Timed out waiting for session queue", "session_queue_timeout")


class WakeRefused(Refused):
    """A session is not woken: nobody would answer, or the wakes would never end."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(409, f"{code}: {text}", code)


class RefusedEvent(Refused):
    """One event of a body is refused; `index` counts from 0, `field` is None if it is about none.

    The status is 403 for what is not for this caller to publish.
    """

    def __init__(
        self, index: int, field: str | None, reason: str, detail: str, *, status: int = 422
    ) -> None:
        details = {"index": index, "field": field}
        super().__init__(status, f"event {index}: {detail}", reason, details)
        self.index = index
        self.field = field


class Busy(Retryable):
    """Too many readers wait already."""


class TooManySearches(Retryable):
    """Other searches were at work for as long as this one could wait."""


class TooManyWaiting(Retryable):
    """Too many of the caller's own reads wait already."""


class NotConfirmed(Retryable):
    """Redis went away while a change was published: it may take effect, or not."""

    def __init__(self, event_id: str) -> None:
        super().__init__(
            "Redis did not confirm the change, which may take effect all the same; send it again "
            f"with Idempotency-Key: {event_id}"
        )
        self.event_id = event_id


class ApiUnavailable(Retryable):
    """The api does not answer, so nobody can be let in and no history be read."""
