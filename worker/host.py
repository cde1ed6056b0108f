"""arq as the host of the consumer: its lifecycle, its cron, its health key.

arq's own queue is a sorted set without order, so no turn ever goes through it; the jobs here only
ask the consumer for upkeep. arq ends with the first error of Redis, so it is started again around
a consumer that goes on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final, cast

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Worker
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError

from sessions.errors import SessionError
from sessions.process.retry import Pauses, retry, unless_refused
from sessions.process.tasks import end_all
from sessions.stream.redis import COMMAND_TIMEOUT, CONNECT_TIMEOUT, ERRORS, explain
from sessions.stream.refusals import ReplyParser
from worker.consumer import Consumer
from worker.upkeep import Chore

log = logging.getLogger(__name__)

# Seconds before arq is started again after Redis failed it.
_RESTART_PAUSE: Final = 1.0
# Seconds that a job in flight gets at a stop; a job only sets a flag.
_JOB_WAIT: Final = 2
# Seconds between two health records, which only `arq --check` reads.
_HEALTH_INTERVAL: Final = 30


async def host(consumer: Consumer, *, url: str, prefix: str, holder: str) -> None:
    """Run the consumer inside an arq worker until it ends; raises what ended it.

    An arq that dies of an error of Redis is replaced; the consumer is not disturbed. What Redis
    will never permit arq is raised as RedisRefused.
    """
    task = asyncio.create_task(consumer.run(), name="consumer")
    try:
        await retry(
            lambda: _until_ended(
                task, lambda: _build(consumer, url=url, prefix=prefix, holder=holder), url
            ),
            on=SessionError,
            pauses=Pauses(_RESTART_PAUSE),
            # No limit: the consumer decides by itself how long it does without Redis.
            patience=None,
            goes_on=unless_refused,
            report=lambda error: log.warning("arq stopped (%s); it is started again", error),
            sleep=lambda seconds: asyncio.wait([task], timeout=seconds),
        )
    finally:
        consumer.stop()
        await asyncio.wait([task])
    task.result()


async def _until_ended(consumer: asyncio.Task[None], build: Callable[[], Worker], url: str) -> None:
    """Let arq run until the consumer ends; raises what `explain` makes of an error of Redis."""
    if consumer.done():
        return
    worker = build()
    hosting = asyncio.create_task(worker.async_run(), name="arq")
    await asyncio.wait([hosting, consumer], return_when=asyncio.FIRST_COMPLETED)
    await end_all([hosting])
    try:
        await hosting
    except asyncio.CancelledError:
        log.debug("arq has stopped")
    except ERRORS as error:
        raise explain(error, url) from error
    finally:
        await _close(worker)


async def _close(worker: Worker) -> None:
    try:
        await worker.close()
    except (*ERRORS, asyncio.CancelledError) as error:
        log.debug("arq could not tidy up: %r", error)


def _build(consumer: Consumer, *, url: str, prefix: str, holder: str) -> Worker:
    return Worker(
        cron_jobs=_cron_jobs(),
        queue_name=f"{prefix}arq",
        redis_pool=_pool(url),
        ctx={"consumer": consumer},
        handle_signals=False,
        job_completion_wait=_JOB_WAIT,
        keep_result=0,
        max_jobs=3,
        poll_delay=1.0,
        health_check_interval=_HEALTH_INTERVAL,
        # One for each worker: closing a standby deletes its own only.
        health_check_key=f"{prefix}arq:health:{holder}",
        # JSON, because a program that can write to Redis would run code through pickle.
        job_serializer=_to_json,
        job_deserializer=json.loads,
        log_results=False,
    )


def _pool(url: str) -> ArqRedis:
    """arq's client; its own defaults wait for ever on a half-open socket and retry nothing."""
    pool = cast("Any", ConnectionPool).from_url(
        url,
        socket_timeout=COMMAND_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        parser_class=ReplyParser,
        retry=Retry(ExponentialBackoff(cap=1, base=0.1), 5),
        # OSError is what a refused connection is.
        retry_on_error=[ConnectionError, TimeoutError, OSError],
    )
    return ArqRedis(pool_or_conn=pool, job_serializer=_to_json, job_deserializer=json.loads)


def _to_json(job: dict[str, Any]) -> bytes:
    return json.dumps(job).encode()


def _cron_jobs() -> list[CronJob]:
    """By the clock of each worker; not `unique`, which would be a lock with a lease of its own."""
    every_ten = set(range(0, 60, 10))
    return [
        cron(_trim, name="trim", second=every_ten, unique=False, max_tries=1),
        cron(_retention, name="retention", second={5, 35}, unique=False, max_tries=1),
        cron(_tidy, name="tidy", second={25}, unique=False, max_tries=1),
    ]


def _consumer(ctx: dict[Any, Any]) -> Consumer:
    return cast("Consumer", ctx["consumer"])


async def _trim(ctx: dict[Any, Any]) -> None:
    _consumer(ctx).request(Chore.TRIM)


async def _retention(ctx: dict[Any, Any]) -> None:
    _consumer(ctx).request(Chore.RETENTION)


async def _tidy(ctx: dict[Any, Any]) -> None:
    _consumer(ctx).request(Chore.TIDY)
