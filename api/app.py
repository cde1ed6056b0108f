"""The composition root of the api: what is opened, and how the entry points are put together.

    async with opened(settings) as app:        # store, stream and tokens of these settings
        await serve(app, ...)

More routes may be added to the app before it serves: that is how `turnstream up` has ingest and
api in one process.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

from fastapi import FastAPI

from api import front, health, owners, queues, resources, rest, turns
from api import replies as replies_routes
from api.additions import BetweenTurns, NoticeSender
from api.freshness import PATIENCE
from api.mcp import McpEndpoint
from api.metrics import Metrics
from api.readiness import Readiness
from api.routes import Api
from api.service import Aborter, QueueKeeper, Service
from api.unanswered import Unanswered
from api.waiting import WaitingReaders
from api.waking import WakeableLanes
from routing.answers import answer_errors_outside_routes
from sessions.access.tokens import TokenFile, TokenVerifier
from sessions.errors import ConfigError, Retryable
from sessions.process.settings import Settings
from sessions.store.backend import SessionReader
from sessions.store.factory import make_session_backend
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.notes import LaneNotes
from sessions.stream.lanes.waking import Waking
from sessions.stream.notices import Notices
from sessions.stream.redis import connect, redacted
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream
from sessions.transfer.others import check_others
from sessions.web.edge import Edge
from sessions.web.exposition import VERSION, PublishCollector, process_registry
from sessions.web.hosts import HostGuard, allowed_names
from sessions.web.share import ShareLimiter

log = logging.getLogger(__name__)

DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[FastAPI]:
    """The app on the store and the stream of these settings, which are closed again.

    Redis and the store may be away now: the app then says so at each request. Raises ConfigError
    for what only a person can fix.
    """
    url = settings.redis_url or DEFAULT_REDIS
    backend = make_session_backend(settings.workspace, settings.channels.session_backend)
    async with aclosing(connect(url)) as redis, backend:
        stream = TurnStream(
            redis,
            url=url,
            prefix=settings.turnstream.prefix,
            max_content=settings.turnstream.max_content_bytes,
        )
        await check_others(settings.workspace, backend.name)
        await _announce(settings, backend, stream, url)
        # Away it may be, but what it does not permit now it will not permit later.
        with suppress(Retryable):
            await stream.facts()
        lanes = Lanes(redis, url=url, prefix=settings.turnstream.prefix)
        yield create_app(
            settings,
            backend=backend,
            stream=stream,
            replies=Replies(
                redis,
                url=url,
                prefix=settings.turnstream.prefix,
                give_up=settings.channels.reply_give_up_secs,
            ),
            tokens=TokenFile(settings.workspace),
            # Whichever replica of ingest runs a turn hears of it through its lane.
            aborter=lanes,
            queues=lanes.queues,
            notices=Notices(redis, url=url, prefix=settings.turnstream.prefix),
            lanes=Waking(redis, url=url, prefix=settings.turnstream.prefix),
            between=LaneNotes(
                redis,
                url=url,
                prefix=settings.turnstream.prefix,
                max_content=settings.turnstream.max_content_bytes,
            ),
        )


def create_app(
    settings: Settings,
    *,
    backend: SessionReader,
    stream: TurnStream,
    replies: Replies,
    tokens: TokenVerifier,
    aborter: Aborter | None = None,
    queues: QueueKeeper | None = None,
    notices: NoticeSender | None = None,
    lanes: WakeableLanes | None = None,
    between: BetweenTurns | None = None,
    patience: float = PATIENCE,
) -> FastAPI:
    """The app on a store and a stream that are open. `patience` is how long readers wait.

    Raises ConfigError where `allowed_hosts` has an entry that is no name.
    """
    edge = Edge.of(settings.turnstream, tokens)
    share = ShareLimiter(stream, settings.turnstream, edge.refusals)
    service = Service(
        settings,
        backend=backend,
        stream=stream,
        share=share,
        waiting=WaitingReaders(settings.turnstream.max_waiting_per_caller, edge.refusals),
        aborter=aborter,
        queues=queues,
        notices=notices,
        lanes=lanes,
        between=between,
        patience=patience,
    )
    readiness = Readiness(backend, service.freshness)
    unanswered = Unanswered(service, frozenset(settings.agents))
    metrics = Metrics(edge, process_registry(backend.name))
    published = PublishCollector(metrics.registry)
    published.add(stream.counts)
    api = Api(service, replies, tokens, metrics, readiness, edge, unanswered)
    app = _app_of(McpEndpoint(api, version=VERSION), allowed_names(settings))
    app.state.api, app.state.edge, app.state.share = api, edge, share
    app.state.registry, app.state.published = metrics.registry, published
    return app


def _app_of(mcp: McpEndpoint, names: tuple[str, ...]) -> FastAPI:
    """The framework's app with all routes, under these names."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with mcp.running():
            yield

    app = FastAPI(
        title="Turnstream", version=VERSION, openapi_url=None, lifespan=lifespan, docs_url=None
    )
    app.add_middleware(HostGuard, names=names)
    answer_errors_outside_routes(app)
    _include_routes(app, mcp)
    return app


def _include_routes(app: FastAPI, mcp: McpEndpoint) -> None:
    # The first that matches answers; `PartRoute` says which must come before `resources`.
    for part in (
        rest.router,
        turns.router,
        owners.router,
        owners.session_router,
        queues.router,
        resources.router,
        replies_routes.router,
        health.router,
        front.router,
    ):
        # FastAPI looks twice for a route in a router that is included, among all of them.
        app.router.routes.extend(part.routes)
    app.router.routes.append(mcp.route)


async def _announce(
    settings: Settings, backend: SessionReader, stream: TurnStream, url: str
) -> None:
    """Say in the log what is open. A store that cannot be read now is no reason not to start."""
    try:
        store_id = await backend.store_id()
    except Retryable as error:
        log.warning("the store cannot be read yet: %s", error)
        store_id = None
    except OSError as error:
        raise ConfigError(f"cannot use {settings.workspace}: {error.strerror}") from error
    log.info(
        "%s store %s in %s, stream %s on %s",
        backend.name,
        store_id or "(not made yet)",
        settings.workspace,
        stream.key,
        redacted(url),
    )
