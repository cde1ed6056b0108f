"""The Redis of a test run: a container where a Docker engine answers, else a server of our own."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from cli.supervision.embedded_redis import find_server
from harness.redis import RedisServer

# The one that docker-compose.yml runs.
IMAGE: Final = "redis:8-alpine"
_PORT: Final = 6379
# Seconds in which an engine on this machine answers; there is mostly none.
_ENGINE_TIMEOUT: Final = 2
# As `always` in production: what a test is told to be stored is stored.
_COMMAND: Final = (
    "redis-server --appendonly yes --appendfsync always --save '' --maxmemory-policy noeviction"
)


@dataclass(frozen=True)
class Choice:
    """Which Redis is used, and `why` as the summary of the run tells it."""

    container: bool
    why: str


def choose() -> Choice:
    """A container where an engine answers and has the image (or can get it)."""
    server = find_server()
    with warnings.catch_warnings():
        # Where no engine listens, docker's client forgets to close the socket that it tried.
        warnings.simplefilter("ignore", ResourceWarning)
        refusal = _refusal()
        gc.collect()
    if refusal is None:
        return Choice(True, f"{IMAGE} by testcontainers")
    embedded = f"{Path(server.path).name} {server.version} ({server.origin})"
    return Choice(False, f"{embedded}, because Docker gave none: {refusal}")


def _refusal() -> str | None:
    """Why no container can be had; None where one can."""
    try:
        with closing(docker.from_env(timeout=_ENGINE_TIMEOUT)) as engine:
            if not engine.images.list(IMAGE):
                engine.images.pull(IMAGE)
    except DockerException as error:
        return str(error)[:80]
    return None


@contextmanager
def redis_server(choice: Choice) -> Iterator[str]:
    """The URL of a fresh server, which ends with the block."""
    with _container() if choice.container else _embedded() as url:
        yield url


@contextmanager
def _container() -> Iterator[str]:
    # Its cleaner is one more image, and the block stops what it started.
    testcontainers_config.ryuk_disabled = True
    container = (
        DockerContainer(IMAGE)
        .with_command(_COMMAND)
        .with_exposed_ports(_PORT)
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    )
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(_PORT)
        yield f"redis://{host}:{port}/0"


@contextmanager
def _embedded() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="ts-") as folder,
        RedisServer.running(Path(folder)) as server,
    ):
        yield server.url
