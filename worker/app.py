"""The composition root of a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Final

from sessions.access.tokens import ensure_admin_token
from sessions.process.lifeline import LIFELINE_VARIABLE, inherited_pipe, watch_parent
from sessions.process.progress import BEAT_INTERVAL, ProgressReporter
from sessions.process.settings import Settings
from sessions.process.tasks import ProcessEnd, TaskWatcher
from sessions.store.backend import SessionBackend
from sessions.store.factory import local_store, make_session_backend
from sessions.stream.redis import RedisClient, connect, redacted
from sessions.stream.turns import TurnStream
from sessions.transfer.others import OtherStore, check_others
from worker.batches import Batches
from worker.claim import StoreClaim
from worker.consumer import Consumer
from worker.host import host
from worker.leader import Leader
from worker.leadership import holder_name, lock_of
from worker.metrics import metrics_served
from worker.moving_in import MovingIn
from worker.opening import entered
from worker.patience import Patience
from worker.standby import RedisReachability, Standby
from worker.status import WorkerStatus
from worker.upkeep import Upkeep
from worker.watch import StreamWatch

log = logging.getLogger(__name__)

DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"


async def run(settings: Settings, environ: Mapping[str, str], *, adopt: bool = False) -> None:
    """Work until a signal or the end of the parent; returns after a clean stop.

    Raises ConfigError for what only a person can fix, and any other error that ended the consumer.
    """
    url = settings.redis_url or DEFAULT_REDIS
    progress = ProgressReporter.inherited(environ)
    redis = connect(url)
    stream = TurnStream(
        redis,
        url=url,
        prefix=settings.turnstream.prefix,
        max_content=settings.turnstream.max_content_bytes,
    )
    backend = make_session_backend(
        settings.workspace,
        settings.channels.session_backend,
        mode="write",
        max_content=settings.turnstream.max_content_bytes,
    )
    left = await check_others(settings.workspace, backend.name, adopt=adopt)
    consumer = _consumer(settings, backend, stream, progress, adopt=adopt, left=left)
    async with _closing(redis), contextlib.AsyncExitStack() as stack:
        with _stop_on_signals(consumer), ProcessEnd() as end:
            tasks = await stack.enter_async_context(TaskWatcher(end.fail))
            tasks.start(_pulse(consumer, progress), "pulse")
            watch_parent(inherited_pipe(environ, LIFELINE_VARIABLE), consumer.stop)
            if await entered(backend, stack, consumer.stopping):
                await _work(settings, backend, consumer, progress, stream, url)
    log.info("stopped")


async def _work(
    settings: Settings,
    backend: SessionBackend,
    consumer: Consumer,
    progress: ProgressReporter,
    stream: TurnStream,
    url: str,
) -> None:
    """Say what is open, and let the consumer work on it until it ends."""
    # Where no `up` made it: with compose the worker is the one that may write the workspace.
    ensure_admin_token(settings.workspace)
    store = (backend.name, await backend.store_id(), settings.workspace)
    log.info("%s store %s in %s, stream %s on %s", *store, stream.key, redacted(url))
    async with metrics_served(settings, consumer, progress):
        prefix = settings.turnstream.prefix
        await host(consumer, url=url, prefix=prefix, holder=holder_name())


def _consumer(
    settings: Settings,
    backend: SessionBackend,
    stream: TurnStream,
    progress: ProgressReporter,
    *,
    adopt: bool,
    left: Sequence[OtherStore],
) -> Consumer:
    """The consumer with its parts."""
    stopping = asyncio.Event()
    status = WorkerStatus(stream, holder=holder_name())
    patience = Patience(status, stopping)
    lock = lock_of(local_store(settings.workspace, backend.name))
    hearing = RedisReachability(stream, patience.trouble)
    place = str(settings.workspace)
    claim = StoreClaim(backend, stream, place=place, adopt=adopt, left=left)
    upkeep = Upkeep(backend, stream, ttl_hours=settings.channels.session_ttl_hours)
    batches = Batches(backend, stream, upkeep)
    leader = Leader(
        backend,
        stream,
        watch=StreamWatch(backend, stream, claim, status, batches.read),
        batches=batches,
        upkeep=upkeep,
        patience=patience,
        lock=lock,
        progress=progress,
    )
    return Consumer(
        backend,
        claim=claim,
        standby=Standby(backend, lock, hearing, status, holder=holder_name(), progress=progress),
        leader=leader,
        batches=batches,
        upkeep=upkeep,
        patience=patience,
        lock=lock,
        moving_in=MovingIn(backend, settings.workspace, progress=progress),
        stopping=stopping,
    )


@contextlib.asynccontextmanager
async def _closing(redis: RedisClient) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await redis.aclose()


@contextlib.contextmanager
def _stop_on_signals(consumer: Consumer) -> Generator[None]:
    """The first signal asks for an orderly end, the second one ends the process on the spot."""
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        log.info("%s: finishing the batch in hand", number.name)
        consumer.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _pulse(consumer: Consumer, progress: ProgressReporter) -> None:
    """Show the supervisor that a long transaction gets on, statement by statement."""
    seen = -1
    while True:
        await asyncio.sleep(BEAT_INTERVAL)
        if consumer.steps != seen:
            seen = consumer.steps
            progress.beat()
