"""Errors in the OpenAPI document: which statuses a route may answer, and what their bodies hold."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Responses: TypeAlias = dict[int | str, dict[str, Any]]


class Body(BaseModel):
    """A JSON object with these fields and no others; fields with a default may be absent."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Body):
    """What every error looks like."""

    error: str
    code: str
    lag: int | None = Field(default=None, description="store_behind: entries not applied yet")
    id: str = Field(default="", description="not_confirmed: the Idempotency-Key to send again")
    index: int = Field(default=0, description="of several events: which one is refused, from 0")
    field: str | None = Field(default=None, description="the event's field that is wrong")


_MEANINGS: Final = {
    400: "The body is not JSON or has the wrong form; or the path cannot be read",
    401: "No token, or nobody's; or not signed as it should be",
    403: "The token does not reach so far; or another origin",
    404: "There is no such thing, as far as the caller may know",
    408: "What it had to wait for took too long; nothing was done",
    409: "It is not in a state in which this can be done",
    410: "The position will never be reached",
    413: "The body is too large",
    421: "Called under a name that is not allowed",
    422: "An event, an argument or the Idempotency-Key cannot be used",
    429: "Too many requests, or too much that is not applied yet; wait as Retry-After says",
    500: "A defect; the log tells more",
    503: "Not now; wait as Retry-After says",
}


def errors(*statuses: int) -> Responses:
    """The part of a route's `responses` about these errors."""
    return {s: {"model": ErrorBody, "description": _MEANINGS[s]} for s in statuses}
