"""What ingest reads for its turns, under the scope `serve`.

Ingest runs turns of every agent and must read for the one at hand; the answers are narrowed to the
agent that it names. It asks for nothing else.
"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import (
    BODY_ERRORS,
    TOKEN_ERRORS,
    KeyBody,
    OutcomeBody,
    TurnHistoryBody,
    TurnMessageBody,
    ok,
)
from api.callers import Server
from api.render import message_row, outcome_body
from api.routes import Here, TokenRoute, json_body, read_json
from api.unanswered import UnansweredBody
from api.view import MAX_LIMIT
from routing.answers import Json
from routing.described import errors
from sessions import wire
from sessions.models import Routing
from sessions.web.rejections import NotFound

router = APIRouter(prefix="/api/turns", route_class=TokenRoute, responses=TOKEN_ERRORS)


class TurnSession(BaseModel):
    """The session of a turn, by its exact key, and the agent that runs the turn."""

    model_config = ConfigDict(extra="forbid", strict=True)

    session: str
    agent: str = Field(min_length=1)
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)


class TurnMessage(BaseModel):
    """A message of a session, by the id of the event that made it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    session: str
    agent: str = Field(min_length=1)
    id: str


class UnansweredQuestion(BaseModel):
    """Which page of sessions to look at, and how many seconds old a message must be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    limit: int = Field(default=50, ge=1, le=100)
    cursor: str | None = None
    seconds: int = Field(ge=0)


class KeyQuestion(BaseModel):
    """A former key, and the routing that its session must have; without `sender` by any sender."""

    model_config = ConfigDict(extra="forbid", strict=True)

    former: str
    channel: str | None
    room: str | None = None
    sender: str | None = None

    def is_of(self, routing: Routing) -> bool:
        """Whether a session, or the tombstone of one, has exactly this routing."""
        given = "sender" not in self.model_fields_set or self.sender == routing.sender
        return given and (self.channel, self.room) == (routing.channel, routing.room)


@router.post(
    "/history",
    openapi_extra=json_body(TurnSession),
    responses={**ok(TurnHistoryBody), **BODY_ERRORS},
)
async def read_history(request: Request, api: Here, caller: Server) -> Json:
    """The newest messages of a session, oldest first, if a turn of the agent may run there.

    If not, because the key is another agent's, nothing of the session is told.
    """
    asked = TurnSession.model_validate(await read_json(request))
    view = await api.service.view_for(caller)
    session = await api.service.backend.session(asked.session)
    available = api.service.access.available(asked.agent, asked.session, session)
    shown = session if available else None
    page = await view.history(shown, limit=asked.limit, cursor=None)
    return Json(
        {
            "available": available,
            "name": shown.name if shown is not None else None,
            "messages": [*map(message_row, page.items)],
            # Messages may have come between the two reads.
            "total": max(shown.message_count, len(page.items)) if shown is not None else 0,
            "position": str(caller.position),
        }
    )


@router.post(
    "/message",
    openapi_extra=json_body(TurnMessage),
    responses={**ok(TurnMessageBody), **BODY_ERRORS},
)
async def read_message(request: Request, api: Here, caller: Server) -> Json:
    """One message that no agent's token published, if the agent's session holds it; else null."""
    asked = TurnMessage.model_validate(await read_json(request))
    await api.service.view_for(caller)
    found = await api.service.message_of(asked.agent, asked.session, asked.id)
    return Json({"message": None if found is None else message_row(found)})


@router.post(
    "/unanswered",
    openapi_extra=json_body(UnansweredQuestion),
    responses={**ok(UnansweredBody), **BODY_ERRORS},
)
async def read_unanswered(request: Request, api: Here, caller: Server) -> Json:
    """Messages of people that nobody answers any more, in the sessions of channels.

    Newest activity first. What was published within so many `seconds` is left out.
    """
    asked = UnansweredQuestion.model_validate(await read_json(request))
    await api.service.view_for(caller)
    found, cursor = await api.unanswered.page(
        limit=asked.limit, cursor=asked.cursor, seconds=asked.seconds
    )
    rows = [one.model_dump() for one in found]
    return Json({"messages": rows, "next_cursor": cursor, "position": str(caller.position)})


@router.get("/outcome/{event_id}", responses={**ok(OutcomeBody), **errors(404)})
async def read_outcome(event_id: str, api: Here, caller: Server) -> Json:
    """The outcome of an event that no agent's token published, such as a turn's own."""
    outcome = None
    if wire.is_id(event_id):
        outcome = await (await api.service.view_for(caller)).outcome(event_id)
    if outcome is None:
        raise NotFound("no event with this id has been applied")
    return Json(outcome_body(outcome))


@router.post(
    "/keys",
    openapi_extra=json_body(KeyQuestion),
    responses={**ok(KeyBody), **BODY_ERRORS},
)
async def read_former_key(request: Request, api: Here, caller: Server) -> Json:
    """Whether a session of the former key has, or had in the last 30 days, exactly this routing.

    `keep` is false if there is none.
    """
    asked = KeyQuestion.model_validate(await read_json(request))
    await api.service.view_for(caller)
    routing = await api.service.backend.routing_of(asked.former)
    return Json({"keep": routing is not None and asked.is_of(routing)})
