"""The HTTP routes of ingest: `POST /api/events` and the health of a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ingest.answers import AcceptedBody, refusals
from ingest.events import MAX_EVENTS, parse_body, published_by
from ingest.routes import IngestRoute, services_of
from routing.answers import Json
from sessions.access.tokens import TokenScope
from sessions.models import Event, EventType, Position
from sessions.web.asgi import read_body
from sessions.web.authentication import authenticate, require
from sessions.web.edge.metrics import check_reader

# Bytes of a body: 500 events of ordinary size, or 32 of the largest.
MAX_BODY: Final = 8 * 1024 * 1024

router = APIRouter(route_class=IngestRoute)
health = APIRouter(route_class=IngestRoute)

_ID: Final = {"pattern": "^[A-Za-z0-9._:-]{1,128}$"}
# What the document says of some fields beside their type.
_NARROWER: Final[dict[str, dict[str, Any]]] = {
    "v": {"enum": ["1"]},
    "id": _ID,
    "type": {"enum": [*EventType]},
    "session": {"minLength": 1, "maxLength": 512},
    "role": {"minLength": 1, "maxLength": 32},
    "turn": _ID,
    "target": _ID,
    "state": {"enum": ["idle", "running", "error"]},
    "action": {"enum": ["replay", "purge"]},
    "if_exists": {"enum": ["1"]},
    "at": {"format": "date-time"},
}
# All but `by`, which the token says.
_FIELDS: Final = {
    name: {"type": "string", **_NARROWER.get(name, {})}
    for name in ("v", *Event._fields)
    if name != "by"
}
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": _FIELDS,
    "required": ["type"],
    "additionalProperties": False,
}
_LIST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "events": {
            "type": "array",
            "items": {**_EVENT, "required": ["type", "id"]},
            "minItems": 1,
            "maxItems": MAX_EVENTS,
        }
    },
    "required": ["events"],
    "additionalProperties": False,
}
_BODY: Final[dict[str, Any]] = {
    "security": [{"HTTPBearer": []}],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": [_EVENT, _LIST]}}},
    },
}


@router.post(
    "/api/events",
    status_code=202,
    openapi_extra=_BODY,
    summary="Publish events",
    responses={202: {"model": AcceptedBody, "description": "Redis has them"}, **refusals()},
)
async def publish_events(request: Request) -> Json:
    """Publish one event or up to 500, all or none; answered when Redis has them all."""
    services = services_of(request)
    principal = await authenticate(services.tokens, request.headers)
    require(principal, TokenScope.SEND)
    await services.share.check(principal.agent)
    events = parse_body(
        await read_body(request.stream(), MAX_BODY),
        idempotency_key=request.headers.get("idempotency-key"),
        max_content=services.settings.turnstream.max_content_bytes,
    )
    events = published_by(principal, services.access, events)
    positions = await services.share.publish(events, agent=principal.agent)
    return _accepted(events, positions)


def _accepted(events: Sequence[Event], positions: Sequence[Position]) -> Json:
    last = str(positions[-1])
    found = [
        {"id": event.id, "position": str(position)}
        for event, position in zip(events, positions, strict=True)
    ]
    return Json({"events": found, "position": last}, 202, headers={"x-turnstream-position": last})


@health.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Answered by any process that can answer at all."""
    return {"status": "ok"}


@health.get("/metrics", summary="Metrics for Prometheus")
async def metrics(request: Request) -> Response:
    """For this machine, and for the scopes metrics and admin."""
    await check_reader(request.app.state.edge, request.scope)
    page = generate_latest(request.app.state.registry)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


@health.get("/readyz", summary="Whether messages can be accepted and answered")
async def readyz(request: Request) -> Json:
    """200 where Redis and the api answer, else 503 with what is missing, and why."""
    missing = await services_of(request).readiness.missing()
    if not missing:
        return Json({"status": "ready"})
    why = "; ".join(missing.values())
    return Json({"status": "not ready", "missing": [*missing], "error": why}, 503)
