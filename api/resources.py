"""Sessions as resources: upstream's routes and bodies, and what they lacked (pages, filters).

The id in a path is one segment, percent-encoded: a key that holds `/` is written with `%2F`. It
stands for the session of that key, else for the gateway's session of that id.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import (
    BODY_ERRORS,
    TOKEN_ERRORS,
    AbortedBody,
    AddedBody,
    DeletedBody,
    MessagesBody,
    PendingBody,
    PendingWakeBody,
    RenamedBody,
    RunningsBody,
    SessionsBody,
    StateBody,
    ok,
    pending,
)
from api.callers import Reader, Sender, called
from api.parameters import Parameter, described, path_parameter
from api.paths import id_in_path, path_id
from api.render import message_row, running_row, session_row, state_body
from api.rest import CURSOR_PATTERN, Cursor, Limit
from api.routes import Here, TokenRoute, api_of, json_body, read_json
from api.service import Caller, Change, Service
from api.tools.waking import woken_data
from api.view import MAX_LIMIT, View
from routing.answers import Json
from routing.described import errors
from sessions import times
from sessions.access.tokens import TokenScope
from sessions.errors import InvalidRequest
from sessions.models import EventType, Session
from sessions.reading import Page, SessionFilter
from sessions.stream.lanes.waking import MOST_AWAITED
from sessions.text import GATEWAY_PREFIX, display_id
from sessions.web.rejections import NotFound, Refused

router = APIRouter(prefix="/api/sessions", route_class=TokenRoute, responses=TOKEN_ERRORS)

# What a client of upstream gets, which knows no pages and expects everything.
_ALL: Final = MAX_LIMIT
_SESSION_ID: Final = path_parameter("session_id")
_LIMIT: Final[Parameter[int]] = Parameter(
    "limit", Annotated[int, Field(ge=1, le=MAX_LIMIT)], default=_ALL
)
_CURSOR: Final[Parameter[str | None]] = Parameter(
    "cursor",
    str | None,
    default=None,
    pattern=CURSOR_PATTERN,
    description="next_cursor of the page before",
)
_AGENT: Final[Parameter[str | None]] = Parameter("agent", str | None, default=None)
_CHANNEL: Final[Parameter[str | None]] = Parameter("channel", str | None, default=None)
_STATE: Final[Parameter[str | None]] = Parameter(
    "state", Literal["idle", "running", "error"] | None, default=None
)
_SINCE: Final[Parameter[str | None]] = Parameter(
    "since",
    str | None,
    default=None,
    format="date-time",
    description="RFC 3339: active since then",
)
_QUERY: Final[Parameter[str | None]] = Parameter(
    "q", str | None, default=None, description="holding messages with all these words"
)
_LIST: Final = [
    one.described for one in (_LIMIT, _CURSOR, _AGENT, _CHANNEL, _STATE, _SINCE, _QUERY)
]
# What every change of a session may answer beside the change.
_CHANGE: Final = {**pending(PendingBody), **errors(400, 404)}
_RUNNING: Final = SessionFilter(state="running", prefix=GATEWAY_PREFIX)


class NewMessage(BaseModel):
    """A message that somebody else than the agent writes in its name; with `wake`, one to it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content: str = Field(json_schema_extra={"pattern": r"\S"})
    wake: bool | None = None
    await_reply: int | None = Field(default=None, ge=0, le=MOST_AWAITED)


class NewName(BaseModel):
    """A session's name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(default="", json_schema_extra={"pattern": r"\S"})


SessionId = Annotated[str, path_id()]
SessionIdOfMessages = Annotated[str, path_id("messages")]
SessionIdOfAbort = Annotated[str, path_id("abort")]


@router.get("", responses=ok(SessionsBody), openapi_extra=described(*_LIST))
async def list_sessions(request: Request) -> Json:
    """Sessions, newest activity first; with `q` by their newest match, some perhaps repeatedly."""
    service, caller = api_of(request).service, called(request, TokenScope.READ)
    limit, cursor = _LIMIT.of(request), _CURSOR.of(request)
    agent, query = _AGENT.of(request), _QUERY.of(request)
    where = SessionFilter(
        channel=_CHANNEL.of(request), state=_STATE.of(request), since=_time(_SINCE.of(request))
    )
    view = await service.view_for(caller)
    if query is None:
        page = await view.sessions(agent=agent, where=where, limit=limit, cursor=cursor)
    else:
        page = await _matching(view, query, limit=limit, cursor=cursor)
        kept = [s for s in page.items if _passes(s, agent, where, service)]
        page = Page(kept, page.next_cursor)
    rows = [session_row(session, service.access) for session in page.items]
    return Json({"sessions": rows, "next_cursor": page.next_cursor})


@router.get("/running", responses=ok(RunningsBody))
async def list_running(
    api: Here, caller: Reader, limit: Limit = _ALL, cursor: Cursor = None
) -> Json:
    """The gateway's sessions in which a turn is running."""
    view = await api.service.view_for(caller)
    page = await view.sessions(where=_RUNNING, limit=limit, cursor=cursor)
    rows = [running_row(session) for session in page.items]
    return Json({"sessions": rows, "next_cursor": page.next_cursor})


@router.get(
    "/{session_id:path}/messages",
    responses={**ok(MessagesBody), **errors(400, 404)},
    openapi_extra=described(_SESSION_ID, _LIMIT.described, _CURSOR.described),
)
async def read_messages(request: Request) -> Json:
    """The newest messages, oldest first; an unknown session has none."""
    caller, session_id = called(request, TokenScope.READ), id_in_path(request, "messages")
    limit, cursor = _LIMIT.of(request), _CURSOR.of(request)
    view = await api_of(request).service.view_for(caller)
    session = await view.find(session_id)
    page = await view.history(session, limit=limit, cursor=cursor)
    return Json(
        {
            "session_id": session_id,
            "messages": [*map(message_row, page.items)],
            "session_persistence": True,
            "next_cursor": page.next_cursor,
        }
    )


@router.post(
    "/{session_id:path}/messages",
    openapi_extra=json_body(NewMessage),
    responses={
        **ok(AddedBody),
        **pending(PendingWakeBody),
        **errors(400, 404, 408, 409),
        **BODY_ERRORS,
    },
)
async def add_message(
    session_id: SessionIdOfMessages, request: Request, api: Here, caller: Sender
) -> Json:
    """Append a message in the agent's name, between two turns; with `wake` have it answered."""
    wanted = NewMessage.model_validate(await read_json(request))
    content = wanted.content
    if not content.strip():
        raise Refused(400, "content is required", "content_required")
    session = await existing(api.service, caller, session_id)
    if wanted.wake or wanted.await_reply:
        return await _wake(api.service, caller, session, wanted)
    change = await api.service.add(caller, session, content)
    if change.applied and not change.repeated:
        await api.service.additions.show(session, content)
    return _done(
        change,
        "append session message",
        status="ok",
        session_id=display_id(session.key),
        message={"role": "assistant", "content": content},
        session_persistence=True,
    )


@router.put(
    "/{session_id:path}",
    openapi_extra=json_body(NewName),
    responses={**ok(RenamedBody), **_CHANGE, **BODY_ERRORS},
)
async def rename_session(
    session_id: SessionId, request: Request, api: Here, caller: Sender
) -> Json:
    """Give a session a name."""
    name = NewName.model_validate(await read_json(request)).name.strip()
    if not name:
        raise Refused(400, "name is required", "name_required")
    session = await existing(api.service, caller, session_id)
    change = await api.service.change(caller, EventType.RENAME, session, name=name)
    return _done(change, "rename session", session_id=session_id, name=name)


@router.delete("/{session_id:path}", responses={**ok(DeletedBody), **_CHANGE})
async def delete_session(session_id: SessionId, api: Here, caller: Sender) -> Json:
    """Stop the session's turn and delete it with all its messages."""
    session = await existing(api.service, caller, session_id)
    await api.service.abort(session)
    change = await api.service.change(caller, EventType.DELETE, session)
    return _done(change, "delete session", deleted=True, session_id=session_id)


@router.get(
    "/{session_id:path}/state",
    responses={**ok(StateBody), **errors(400, 404)},
    openapi_extra=described(_SESSION_ID),
)
async def read_state(request: Request) -> Json:
    """Whether a turn is running in the session."""
    caller, session_id = called(request, TokenScope.READ), id_in_path(request, "state")
    session = await existing(api_of(request).service, caller, session_id)
    return Json(state_body(session_id, session))


@router.post("/{session_id:path}/abort", responses={**ok(AbortedBody), **errors(400, 404)})
async def abort_turn(session_id: SessionIdOfAbort, api: Here, caller: Sender) -> Json:
    """Stop the turn that is running in the session; there need not be one, nor a session."""
    view = await api.service.view_for(caller)
    session = await view.find(session_id)
    running = session is not None and session.state == "running"
    aborted = running and session is not None and await api.service.abort(session)
    return Json({"status": "aborted" if aborted else "no_active_response"})


async def _wake(service: Service, caller: Caller, session: Session, wanted: NewMessage) -> Json:
    woken = await service.wake(caller, session, wanted.content, seconds=wanted.await_reply or 0)
    body = {
        "status": "ok",
        "session_id": display_id(session.key),
        "message": {"role": "user", "content": wanted.content},
        "session_persistence": True,
        "woken": woken_data(woken, session),
    }
    if woken.end is not None:
        return Json(body)
    position = str(woken.position) if woken.position is not None else None
    return Json({**body, "outcome": "pending", "position": position}, 202)


async def existing(service: Service, caller: Caller, session_id: str) -> Session:
    """The session of an id in a path; raises NotFound."""
    view = await service.view_for(caller)
    session = await view.find(session_id)
    if session is None:
        raise NotFound("Session not found")
    return session


def _done(change: Change, what: str, **body: Any) -> Json:
    """The answer to a change: as upstream's, with 202 and `pending` where it is not applied yet."""
    if change.pending:
        return Json({**body, "outcome": "pending", "position": str(change.position)}, 202)
    if change.found_nothing:
        raise NotFound("Session not found")
    if not change.applied:
        raise Refused(500, f"Failed to {what}: {change.reason}", change.reason)
    return Json(body)


async def _matching(view: View, query: str, *, limit: int, cursor: str | None) -> Page[Session]:
    """The sessions of one page of matching messages, each once."""
    hits = await view.search(query, limit=limit, cursor=cursor)
    keys = dict.fromkeys(hit.session for hit in hits.items)
    found = [await view.find(key) for key in keys]
    return Page([session for session in found if session is not None], hits.next_cursor)


def _passes(session: Session, agent: str | None, where: SessionFilter, service: Service) -> bool:
    return (
        (agent is None or service.access.agent_of(session) == agent)
        and (where.channel is None or session.channel == where.channel)
        and (where.state is None or session.state == where.state)
        and (where.since is None or session.last_activity >= where.since)
    )


def _time(text: str | None) -> int | None:
    """Microseconds of a query's time; a + that was not escaped has come as a blank."""
    if text is None:
        return None
    try:
        return times.parse(text[:11] + text[11:].replace(" ", "+"))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"since must be an RFC 3339 time: {error}") from None
