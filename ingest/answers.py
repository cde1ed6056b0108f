"""What ingest's routes answer, for the OpenAPI document."""

from __future__ import annotations

from pydantic import Field

from routing.described import Body, Responses, errors


class PublishedBody(Body):
    """An event that Redis has."""

    id: str
    position: str


class AcceptedBody(Body):
    """Every event is on the stream; `position` is the last one's."""

    events: list[PublishedBody] = Field(min_length=1)
    position: str


def refusals(*others: int) -> Responses:
    """The part of a route's `responses` about errors: what every route has, and the others."""
    every = (400, 401, 403, 413, 421, 422, 429, 500, 503, *others)
    return errors(*sorted(every))
