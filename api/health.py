"""Whether this process lives, whether the system works, and how much it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.answers import (
    OPEN_ERRORS,
    AliveBody,
    ProblemReportBody,
    ReportBody,
    ok,
)
from api.freshness import lag
from api.routes import Here, OpenRoute
from api.service import Service
from routing.answers import Json
from routing.described import Responses, errors
from sessions.errors import RedisRefused, Retryable, StoreMismatch
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ReplyCount
from sessions.web.edge.metrics import check_reader

router = APIRouter(route_class=OpenRoute, responses=OPEN_ERRORS)

_NOT_READY: Final[Responses] = {503: {"model": ProblemReportBody, "description": "Not ready"}}
_PAGE: Final[Responses] = {200: {"description": "Prometheus text", "content": {"text/plain": {}}}}
_UNKNOWN: Final = float("nan")


@router.get("/healthz", responses=ok(AliveBody))
async def healthz() -> Json:
    """Whether this process answers; for the program that would restart it."""
    return Json({"status": "ok"})


@router.get("/readyz", responses={**ok(ReportBody, "Ready"), **_NOT_READY})
async def readyz(api: Here) -> Json:
    """Whether reads are fresh and changes take effect: the writer progresses on our store."""
    report = await api.readiness.report()
    return Json(report.body, 200 if report.problem is None else 503)


@router.get("/metrics", responses={**_PAGE, **errors(401, 422, 503)})
async def metrics(request: Request, api: Here) -> Response:
    """Metrics for Prometheus: for this machine, and for the scopes metrics and admin."""
    await check_reader(api.edge, request.scope)
    report = await api.readiness.report()
    sizes = {"ready": float(report.problem is None), **await _sizes(api.service)}
    page = api.metrics.page(sizes, await _replies(api.replies))
    return Response(page, media_type=CONTENT_TYPE_LATEST)


async def _replies(replies: Replies) -> Sequence[ReplyCount]:
    """How many replies were not taken; nothing while Redis cannot be asked."""
    try:
        return await replies.counts()
    except (Retryable, RedisRefused):
        return ()


async def _sizes(service: Service) -> dict[str, float]:
    """Sizes of this moment; NaN for what cannot be asked now."""
    sizes: dict[str, float] = {"waiting_readers": service.freshness.waiting}
    sizes |= dict.fromkeys(
        (
            *("stream_epoch", "stream_entries", "stream_entries_vanished"),
            *("lag_entries", "lag_seconds"),
        ),
        _UNKNOWN,
    )
    try:
        sizes |= await service.backend.counts()
        sizes["dead_letters_dropped"] = await service.backend.letters_dropped()
        cursor = await service.backend.cursor()
        sizes["stream_epoch"] = cursor.epoch
        facts = await service.freshness.stream_facts()
        sizes["lag_seconds"] = await service.freshness.backlog_age(cursor, facts)
    except (Retryable, RedisRefused, StoreMismatch):
        return sizes
    behind = lag(cursor, facts)
    sizes["stream_entries"] = facts.length
    sizes["stream_entries_vanished"] = float(facts.store.get("vanished", 0))
    sizes["lag_entries"] = _UNKNOWN if behind is None else behind
    return sizes
