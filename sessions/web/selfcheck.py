"""A web process that asks itself whether it still answers, and tells its supervisor when it does.

The question is a request like any other, through the whole app, without a socket. So the sign of
life comes from the work: a loop that is busy answers late but answers, one that is stuck does not,
and neither does an app whose requests hang while its loop turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sessions.process.progress import BEAT_INTERVAL
from sessions.web.asgi import AsgiApp, AsgiMessage, AsgiScope, inside

log = logging.getLogger(__name__)

PATH: Final = "/healthz"
# Seconds that an answer may take. Half of the silence that is fatal: after a first question that
# was lost, a second one still comes in time.
PATIENCE: Final = 5.0


async def keep_checking(
    app: AsgiApp,
    beat: Callable[[], None],
    *,
    interval: float = BEAT_INTERVAL,
    patience: float = PATIENCE,
) -> None:
    """Ask the app once per `interval`, and call `beat` for each answer 200; until cancelled.

    An answer that does not come in `patience` seconds, another status and an error inside are
    logged. They call nothing and end nothing: the next question may be answered.
    """
    while True:
        try:
            async with asyncio.timeout(patience):
                status = await ask(app)
        except TimeoutError:
            log.warning("this process did not answer itself within %g s", patience)
        except Exception:
            # Any error means the same: without a beat the supervisor starts this process again.
            log.exception("this process cannot answer itself")
        else:
            if status == 200:
                beat()
            else:
                log.warning("this process answered itself with %d", status)
        await asyncio.sleep(interval)


async def ask(app: AsgiApp) -> int:
    """The status of one GET of the app's own health route; 0 if it sends none."""
    status = 0

    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: AsgiMessage) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await inside(app)(_request(), receive, send)
    return status


def _request() -> AsgiScope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
    }
