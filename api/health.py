"""Whether this process lives, whether the system works, and how much it holds."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.door import ERRORS, Here, Json, OpenDoor, authenticate
from api.errors import Forbidden
from api.freshness import lag
from api.service import Service
from sessions.errors import Retryable, StoreMismatch
from sessions.tokens import TokenScope

router = APIRouter(route_class=OpenDoor, responses=ERRORS)

_UNKNOWN: Final = float("nan")


@router.get("/healthz")
async def healthz() -> Json:
    """Whether this process answers; for whoever would restart it."""
    return Json({"status": "ok"})


@router.get("/readyz")
async def readyz(api: Here) -> Json:
    """Whether reads are fresh and changes take effect: the writer progresses on our store."""
    report = await api.readiness.report()
    return Json(report.body, 200 if report.problem is None else 503)


@router.get("/metrics")
async def metrics(request: Request, api: Here) -> Response:
    """Metrics for Prometheus: for this machine, and for the scopes metrics and admin."""
    if not api.edge.proxies.is_local(request.scope):
        principal = await authenticate(api.tokens, request)
        if not principal.may(TokenScope.METRICS):
            raise Forbidden("this needs the scope metrics or admin")
    report = await api.readiness.report()
    sizes = {"ready": float(report.problem is None), **await _sizes(api.service)}
    page = api.metrics.page(sizes)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


async def _sizes(service: Service) -> dict[str, float]:
    """Sizes of this moment; NaN for what cannot be asked now."""
    sizes: dict[str, float] = {"waiting_readers": service.freshness.waiting}
    sizes |= dict.fromkeys(
        ("stream_epoch", "stream_entries", "stream_entries_vanished", "lag_entries"), _UNKNOWN
    )
    try:
        sizes |= await service.backend.counts()
        cursor = await service.backend.cursor()
        sizes["stream_epoch"] = cursor.epoch
        facts = await service.freshness.stream_facts()
    except (Retryable, StoreMismatch):
        return sizes
    behind = lag(cursor, facts)
    sizes["stream_entries"] = facts.length
    sizes["stream_entries_vanished"] = float(facts.store.get("vanished", 0))
    sizes["lag_entries"] = _UNKNOWN if behind is None else behind
    return sizes
