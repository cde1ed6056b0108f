"""The HTTP routes of ingest: `POST /api/events` and the health of a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ingest.access import bearer, caller
from ingest.errors import GuardedRoute
from ingest.events import MAX_EVENTS, parse_body, published_by
from ingest.services import Services
from sessions.asgi import read_body
from sessions.models import Event, Position
from sessions.tokens import AGENT_HEADER, TokenScope

# Bytes of a body: 500 events of ordinary size, or 32 of the largest.
MAX_BODY: Final = 8 * 1024 * 1024

router = APIRouter(route_class=GuardedRoute)
health = APIRouter(route_class=GuardedRoute)

# `by` is filled in from the token.
_FIELDS: Final = {name: {"type": "string"} for name in ("v", *Event._fields) if name != "by"}
_EVENT: Final[dict[str, Any]] = {"type": "object", "properties": _FIELDS, "required": ["type"]}
_LIST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"events": {"type": "array", "items": _EVENT, "maxItems": MAX_EVENTS}},
    "required": ["events"],
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"oneOf": [_EVENT, _LIST]}}},
    }
}


def services_of(request: Request) -> Services:
    """What this process has open."""
    return cast("Services", request.app.state.ingest)


@router.post("/api/events", status_code=202, openapi_extra=_BODY, summary="Publish events")
async def publish_events(request: Request) -> JSONResponse:
    """Publish one event or up to 500, all or none; answered when Redis has them all."""
    services = services_of(request)
    token = bearer(request.headers.get("authorization"))
    as_agent = request.headers.get(AGENT_HEADER)
    principal = await caller(services.tokens, token, TokenScope.SEND, agent=as_agent)
    events = parse_body(
        await read_body(request.stream(), MAX_BODY),
        idempotency_key=request.headers.get("idempotency-key"),
        max_content=services.settings.turnstream.max_content_bytes,
    )
    events = published_by(principal, services.access, events)
    positions = await services.share.publish(events, agent=principal.agent)
    return _accepted(events, positions)


def _accepted(events: Sequence[Event], positions: Sequence[Position]) -> JSONResponse:
    last = str(positions[-1])
    found = [
        {"id": event.id, "position": str(position)}
        for event, position in zip(events, positions, strict=True)
    ]
    return JSONResponse(
        {"events": found, "position": last}, 202, headers={"x-turnstream-position": last}
    )


@health.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Answered by any process that can answer at all."""
    return {"status": "ok"}


@health.get("/metrics", summary="Metrics for Prometheus")
async def metrics(request: Request) -> Response:
    """For this machine, and for the scopes metrics and admin."""
    if not request.app.state.edge.proxies.is_local(request.scope):
        token = bearer(request.headers.get("authorization"))
        as_agent = request.headers.get(AGENT_HEADER)
        await caller(services_of(request).tokens, token, TokenScope.METRICS, agent=as_agent)
    page = generate_latest(request.app.state.registry)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


@health.get("/readyz", summary="Whether messages can be accepted and answered")
async def readyz(request: Request) -> JSONResponse:
    """200 where Redis and the api answer, else 503 with what is missing."""
    missing = await services_of(request).missing()
    status = {"status": "ready"} if not missing else {"status": "not ready", "missing": missing}
    return JSONResponse(status, 503 if missing else 200)
