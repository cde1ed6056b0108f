"""The REST entry point: tools, outcomes, dead letters, and the documents that describe it all."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request

from api.answers import (
    BODY_ERRORS,
    TOKEN_ERRORS,
    LetterChangeBody,
    LettersBody,
    OutcomeBody,
    PendingToolBody,
    TokenBody,
    ToolBody,
    ToolsBody,
    WholeLetterBody,
    ok,
    pending,
)
from api.asyncapi import stream_document
from api.callers import POSITION, Administrator, AnyCaller, Reader, called
from api.parameters import described, path_parameter
from api.render import letter_body, letter_row, outcome_body
from api.routes import Here, TokenRoute, api_of, read_json
from api.service import Caller, Service
from api.tools import TOOLS, tool_named
from api.view import MAX_LIMIT
from routing.answers import Json
from routing.described import errors
from sessions import wire
from sessions.access.tokens import TokenScope
from sessions.models import EventType, Position, Reason
from sessions.web.rejections import NotFound, Refused

router = APIRouter(route_class=TokenRoute, responses=TOKEN_ERRORS)

# What one of the tools takes; which one says the path.
_ARGUMENTS: Final[dict[str, Any]] = {
    "requestBody": {
        "content": {"application/json": {"schema": {"anyOf": [tool.schema for tool in TOOLS]}}}
    }
}
_LETTER_CHANGE: Final = {
    **ok(LetterChangeBody),
    **pending(LetterChangeBody),
    **errors(404),
}

CURSOR_PATTERN: Final = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$"

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[
    str | None,
    Query(
        description="next_cursor of the page before",
        json_schema_extra={"pattern": CURSOR_PATTERN},
    ),
]
_TOOL_NAME: Final = path_parameter("name", enum=[tool.name for tool in TOOLS])


@router.get("/api/tools", responses=ok(ToolsBody))
async def list_tools(caller: AnyCaller) -> Json:
    """The session tools, in the form that chat completions take as `tools`."""
    if not caller.principal.may(TokenScope.SERVE):
        caller.require(TokenScope.READ)
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": tool.schema}
        for tool in TOOLS
    ]
    return Json({"tools": [{"type": "function", "function": each} for each in functions]})


@router.post(
    "/api/tools/{name}",
    openapi_extra={**described(_TOOL_NAME), **_ARGUMENTS},
    responses={**ok(ToolBody), **pending(PendingToolBody), **BODY_ERRORS, **errors(404)},
)
async def call_tool(request: Request) -> Json:
    """Call a tool with the arguments in the body; 202 if a change is not applied yet."""
    api, caller, name = api_of(request), called(request, TokenScope.READ), _named(request)
    tool = tool_named(name)
    answer = await tool.call(api.service, caller, await read_json(request))
    api.metrics.tool(name, "rest", success=answer.error is None)
    return Json(answer.body(caller), 202 if answer.pending else 200)


def _named(request: Request) -> str:
    return request.path_params["name"]


@router.get("/api/tokens/self", responses=ok(TokenBody))
async def describe_token(caller: AnyCaller) -> Json:
    """Whose the token is, and its scope; how other services check one."""
    return Json({"agent": caller.principal.agent, "scope": caller.principal.scope})


@router.get("/api/outcomes/{event_id}", responses={**ok(OutcomeBody), **errors(404)})
async def read_outcome(
    event_id: str,
    api: Here,
    caller: Reader,
    by: Annotated[str | None, Query(description="the agent whose token published it")] = None,
    entry: Annotated[
        str | None,
        Query(
            description="the position that a publish gave; the answer is about that entry",
            json_schema_extra=POSITION,
        ),
    ] = None,
) -> Json:
    """The outcome of an event; 404 while it has none, and for events of others."""
    place = Position.parse(entry) if entry is not None else None
    outcome = None
    if wire.is_id(event_id):
        outcome = await api.service.outcome(caller, event_id, by=by, entry=place)
    if outcome is None:
        raise NotFound("no event with this id has been applied")
    return Json(outcome_body(outcome))


@router.get("/api/dead-letters", responses=ok(LettersBody))
async def list_dead_letters(
    api: Here, caller: Administrator, limit: Limit = 50, cursor: Cursor = None
) -> Json:
    """Events that could not be applied, newest first."""
    view = await api.service.view_for(caller)
    page = await view.dead_letters(limit=limit, cursor=cursor)
    rows = [letter_row(letter) for letter in page.items]
    return Json({"dead_letters": rows, "next_cursor": page.next_cursor})


@router.get("/api/dead-letters/{letter_id}", responses={**ok(WholeLetterBody), **errors(404)})
async def read_dead_letter(letter_id: str, api: Here, caller: Administrator) -> Json:
    """One dead letter with its payload."""
    view = await api.service.view_for(caller)
    letter = await view.dead_letter(letter_id)
    if letter is None:
        raise NotFound("there is no such dead letter")
    return Json(letter_body(letter))


@router.post("/api/dead-letters/{letter_id}/replay", responses={**_LETTER_CHANGE, **errors(409)})
async def replay_dead_letter(letter_id: str, api: Here, caller: Administrator) -> Json:
    """Apply a dead letter's event now; if that fails (409), it stays a dead letter."""
    return await _act_on_letter(api.service, caller, letter_id, "replay")


@router.delete("/api/dead-letters/{letter_id}", responses={**_LETTER_CHANGE, **errors(409)})
async def purge_dead_letter(letter_id: str, api: Here, caller: Administrator) -> Json:
    """Forget a dead letter."""
    return await _act_on_letter(api.service, caller, letter_id, "purge")


async def _act_on_letter(service: Service, caller: Caller, letter_id: str, action: str) -> Json:
    view = await service.view_for(caller)
    letter = await view.dead_letter(letter_id)
    if letter is None:
        raise NotFound("there is no such dead letter")
    change = await service.change(caller, EventType.DEAD, target=letter_id, action=action)
    if change.reason == Reason.NO_DEAD_LETTER:
        raise NotFound("there is no such dead letter")
    if not change.pending and not change.applied:
        raise Refused(409, f"the dead letter cannot be replayed: {change.reason}", change.reason)
    result = {"id": letter_id, "action": action, "outcome": change.word}
    return Json({**result, "position": str(change.position)}, 202 if change.pending else 200)


@router.get("/asyncapi.json")
async def describe_stream(api: Here, caller: Reader) -> Json:
    """The AsyncAPI document of the stream."""
    return Json(stream_document(api.service.stream.key))


@router.get("/openapi.json", include_in_schema=False)
async def describe_routes(request: Request, caller: Reader) -> Json:
    """The OpenAPI document of all routes."""
    return Json(request.app.openapi())
