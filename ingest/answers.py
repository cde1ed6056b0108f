"""What ingest's routes answer, for the OpenAPI document; `ingest.errors` makes the errors."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    """A JSON object with these fields and no others; fields with a default may be absent."""

    model_config = ConfigDict(extra="forbid")


class RefusalBody(_Body):
    """What every error looks like; `index` and `field` tell which event is wrong, and where."""

    error: str
    code: str
    index: int = 0
    field: str | None = None


class PublishedBody(_Body):
    """An event that Redis has."""

    id: str
    position: str


class AcceptedBody(_Body):
    """Every event is on the stream; `position` is the last one's."""

    events: list[PublishedBody] = Field(min_length=1)
    position: str


_MEANINGS: Final = {
    400: "The body is not JSON, or not what the platform sends",
    401: "No token, or nobody's; or not signed as it should be",
    403: "The token does not reach so far; or another origin",
    404: "There is no such channel",
    413: "The body is too large",
    421: "Called under a name that is not allowed",
    422: "An event or a header cannot be used",
    429: "Too many requests, or too much that is not applied yet; wait as Retry-After says",
    500: "A defect; the log tells more",
    503: "Not now; wait as Retry-After says",
}


def refusals(*others: int) -> dict[int | str, dict[str, Any]]:
    """The part of a route's `responses` about errors: what every route has, and the others."""
    every = (400, 401, 403, 413, 421, 422, 429, 500, 503, *others)
    return {s: {"model": RefusalBody, "description": _MEANINGS[s]} for s in sorted(every)}
