"""How a web process runs: uvicorn on a socket of our own, ended by signals or with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import partial
from typing import Any, Final

import uvicorn

from sessions.errors import ConfigError
from sessions.process.lifeline import LIFELINE_VARIABLE, inherited_pipe, watch_parent
from sessions.process.progress import ProgressReporter
from sessions.process.settings import GatewaySettings, OwnSettings
from sessions.process.tasks import ProcessEnd, TaskWatcher
from sessions.web.asgi import AsgiApp
from sessions.web.edge import Edge
from sessions.web.edge.limits import CallerLimits
from sessions.web.edge.protocol import GuardedHttp, GuardedWebSocket
from sessions.web.selfcheck import keep_checking

log = logging.getLogger(__name__)

# Seconds for the requests in hand once the end was asked for; the sender of the signal gives five.
GRACE: Final = 4
# Seconds for what is served beside the work of a process, when that ends.
_BESIDE_GRACE: Final = 1.0
# Connections that the kernel keeps until they are accepted, and that one turn of the loop accepts.
# asyncio takes one number for both, and 2,000 of them in one turn would hold up everybody.
_BACKLOG: Final = 2048
_ACCEPTED_AT_ONCE: Final = 32
# A chat message is text; uvicorn's own 16 MiB would let one client hold that much memory.
MAX_WEBSOCKET_MESSAGE: Final = 256 * 1024
# Seconds for a WebSocket's peer to answer a ping. Longer than an outage of Redis: while a message
# waits for Redis, what its client sends next is not read, its pong neither.
PONG_TIMEOUT: Final = 60.0
# Milliseconds that bytes may be on their way to a peer that takes none; then the kernel cuts the
# connection, which otherwise stays for as long as the peer's machine only says that it is busy.
_STUCK: Final = 60_000


# glibc's number for the size from which on a block of memory is one of its own, and that size: what
# glibc begins with, before it adapts.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BLOCK: Final = 128 * 1024


async def serve(
    app: AsgiApp,
    gateway: GatewaySettings,
    *,
    edge: Edge | None = None,
    environ: Mapping[str, str],
    on_ready: Callable[[str], None] = lambda url: None,
    pong_timeout: float = PONG_TIMEOUT,
) -> None:
    """Serve until SIGTERM, SIGINT or the end of the supervisor; a second signal cuts requests off.

    Being cancelled is a request to end as well. `on_ready` is told the URL once requests are
    answered; port 0 takes a free one. Without an `edge` the limits are the defaults. WebSockets
    are pinged, and closed if no pong comes in `pong_timeout` seconds.
    Raises ConfigError if the address cannot be listened on.
    """
    _give_large_memory_back()
    listener = _listen(gateway.host, gateway.port)
    reporter = ProgressReporter.inherited(environ)
    url = _url(listener)

    def ready() -> None:
        log.info("listening on %s", url)
        on_ready(url)
        reporter.ready()

    pings = {
        "ws_ping_interval": gateway.websocket_ping_interval_secs or None,
        "ws_ping_timeout": pong_timeout,
    }
    edge = edge or Edge.of(OwnSettings())
    app = CallerLimits(app, edge)
    server = _Server(_config(app, edge, pings), ready)
    watch_parent(inherited_pipe(environ, LIFELINE_VARIABLE), server.stop)
    with contextlib.closing(listener), _stop_on_signals(server), ProcessEnd() as end:
        async with TaskWatcher(end.fail) as tasks:
            tasks.start(keep_checking(app, reporter.beat), "self-check")
            await _finished(server, listener)
    log.info("stopped")


@contextlib.asynccontextmanager
async def served_beside(
    app: AsgiApp, edge: Edge, *, host: str, port: int
) -> AsyncGenerator[str | None]:
    """Serve the app inside, beside the work of a process that must not depend on it.

    Gives the URL. A port that is taken is replaced by a free one; if there is none at all, that is
    logged and the URL is None. What fails in it is logged and ends nothing else.
    """
    listener = _listen_anywhere(host, port)
    if listener is None:
        yield None
        return
    server = _Server(_config(CallerLimits(app, edge), edge, {"lifespan": "off"}), lambda: None)
    with contextlib.closing(listener):
        serving = asyncio.create_task(_logged(server, listener), name="beside")
        try:
            yield _url(listener)
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait([serving], timeout=_BESIDE_GRACE)
            serving.cancel()


def _give_large_memory_back() -> None:
    """Have glibc return what a large body took as soon as it is freed; nothing on other systems.

    By itself it keeps more and more of such blocks for later, and a process that was sent some
    large bodies stays large.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def _listen_anywhere(host: str, port: int) -> socket.socket | None:
    for choice in (port, 0):
        try:
            return _listen(host, choice)
        except ConfigError as error:
            log.warning("%s", error)
    return None


async def _logged(server: _Server, listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    except Exception:
        # Metrics and health only: the work beside it goes on.
        log.exception("the server beside the work has failed")


async def _finished(server: _Server, listener: socket.socket) -> None:
    """Serve until the server has stopped; being cancelled stops it."""
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.stop()
        await serving
        raise


@contextlib.contextmanager
def _stop_on_signals(server: _Server) -> Generator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process by the signal it caught."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def stop(self) -> None:
        """Ask for an orderly end; a second call asks for a quick one."""
        log.info("cutting requests off" if self.should_exit else "finishing the requests in hand")
        self.force_exit = self.should_exit
        self.should_exit = True


def _config(app: AsgiApp, edge: Edge, more: Mapping[str, Any]) -> uvicorn.Config:
    settings: dict[str, Any] = {
        "log_config": None,
        "http": partial(GuardedHttp, edge=edge),
        "ws": partial(GuardedWebSocket, edge=edge),
        # Else an app that fails to start is taken for one that has nothing to start.
        "lifespan": "on",
        "access_log": False,
        "backlog": _ACCEPTED_AT_ONCE,
        "server_header": False,
        # What a proxy says of a client's address is judged by the edge.
        "proxy_headers": False,
        "ws_max_size": MAX_WEBSOCKET_MESSAGE,
        # Frames are short texts: compressing them costs more time and memory than it saves.
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": GRACE,
        **more,
    }
    return uvicorn.Config(app, **settings)


def _listen(host: str, port: int) -> socket.socket:
    try:
        [address, *_] = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address"
        ) from error
    # What is accepted inherits both. asyncio sets the first only on sockets that were made with the
    # protocol's number; without it an answer's body waits 40 ms for its header to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
