"""Whose sessions are: for administrators to look at, and to give to another agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import (
    BODY_ERRORS,
    TOKEN_ERRORS,
    HandoverBody,
    NewOwnerBody,
    OwnersBody,
    ok,
    pending,
)
from api.callers import Administrator
from api.paths import PartRoute, path_id
from api.resources import existing
from api.routes import Here, TokenRoute, json_body, read_json
from api.service import Change, Service
from routing.answers import Json
from routing.described import errors
from sessions.models import EventType, Reason, Session
from sessions.web.rejections import IdConflict, NotFound, Refused


class OwnerRoute(PartRoute):
    """A route to a session's owner."""

    part = "owner"


router = APIRouter(route_class=TokenRoute, responses=TOKEN_ERRORS)
session_router = APIRouter(route_class=OwnerRoute, responses=TOKEN_ERRORS)

SessionIdOfOwner = Annotated[str, path_id("owner")]


class NewOwner(BaseModel):
    """Who is to own a session; null leaves it without an owner."""

    model_config = ConfigDict(extra="forbid", strict=True)

    agent: str | None = Field(min_length=1)
    expect_agent: str | None = Field(
        default=None, description="change nothing if another than this one owns it now"
    )


class Handover(BaseModel):
    """Whose sessions are to be whose; null leaves them without an owner."""

    model_config = ConfigDict(extra="forbid", strict=True)

    from_: str = Field(alias="from", min_length=1)
    to: str | None = Field(min_length=1)


@router.get("/api/owners", responses=ok(OwnersBody))
async def list_owners(api: Here, caller: Administrator) -> Json:
    """Who owns how many sessions, most sessions first; null has those without an owner."""
    await api.service.view_for(caller)
    owners = await api.service.backend.owners()
    return Json({"owners": [{"agent": agent, "sessions": count} for agent, count in owners]})


@session_router.put(
    "/api/sessions/{session_id:path}/owner",
    openapi_extra=json_body(NewOwner),
    responses={**ok(NewOwnerBody), **pending(NewOwnerBody), **BODY_ERRORS, **errors(404, 409)},
)
async def give_session(
    session_id: SessionIdOfOwner, request: Request, api: Here, caller: Administrator
) -> Json:
    """Give a session to an agent, or to nobody."""
    wanted = NewOwner.model_validate(await read_json(request))
    session = await existing(api.service, caller, session_id)
    fields = {"agent": wanted.agent or ""}
    if "expect_agent" in wanted.model_fields_set:
        fields["expect_agent"] = wanted.expect_agent or ""
    change = await api.service.change(caller, EventType.OWNER, session, if_exists=False, **fields)
    await _check_repetition(api.service, change, session, wanted.agent)
    return _given(change, {"session": session.key, "agent": wanted.agent})


@router.post(
    "/api/owners",
    openapi_extra=json_body(Handover),
    responses={**ok(HandoverBody), **pending(HandoverBody), **BODY_ERRORS, **errors(404)},
)
async def give_all(request: Request, api: Here, caller: Administrator) -> Json:
    """Give all sessions of an agent to another one, or to nobody; also those it deleted."""
    wanted = Handover.model_validate(await read_json(request))
    change = await api.service.change(
        caller,
        EventType.OWNER,
        if_exists=False,
        agent=wanted.to or "",
        expect_agent=wanted.from_,
    )
    if change.repeated and wanted.from_ in dict(await api.service.backend.owners()):
        raise IdConflict
    return _given(change, {"from": wanted.from_, "to": wanted.to})


async def _check_repetition(
    service: Service, change: Change, session: Session, agent: str | None
) -> None:
    """Raise IdConflict if an earlier call under the same key gave the session to another.

    The stream contract does not count `agent` among the fields that two events of one id share.
    """
    if not change.repeated:
        return
    now = await service.backend.session(session.key)
    if now is None or now.agent != agent:
        raise IdConflict


def _given(change: Change, body: Mapping[str, Any]) -> Json:
    if not change.pending and not change.applied:
        if change.reason == Reason.NOT_OWNER:
            raise Refused(409, "the session has another owner than expect_agent", "not_owner")
        raise NotFound("this agent owns no sessions" if "from" in body else "Session not found")
    told = {**body, "outcome": change.word, "position": str(change.position)}
    return Json(told, 202 if change.pending else 200)
