"""The Redis servers of a test run: containers where a Docker engine answers, and one of our own."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import docker
import pytest
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from cli.supervision.embedded_redis import find_server
from harness.redis import RedisServer

_PORT: Final = 6379
# Seconds in which an engine on this machine answers; there is mostly none.
_ENGINE_TIMEOUT: Final = 2
# As `always` in production: what a test is told to be stored is stored. The network is the
# engine's own, and nothing of a test is worth a password.
_OPTIONS: Final = (
    "--appendonly yes --appendfsync always --save '' --maxmemory-policy noeviction "
    "--protected-mode no"
)


class NoContainer(Exception):
    """Docker gives no container of an image, and why."""


@dataclass(frozen=True)
class Image:
    """A server as an image. `recipe` makes one if a registry gives none."""

    name: str
    program: str = "redis-server"
    recipe: str | None = None


# The one that docker-compose.yml runs.
REDIS_8: Final = Image("redis:8-alpine")
REDIS_7: Final = Image("redis:7-alpine")
VALKEY: Final = Image(
    "valkey/valkey:8-alpine",
    "valkey-server",
    # The base is the one of our own Dockerfile.
    "FROM python:3.13-slim\n"
    "RUN apt-get update && apt-get install -y --no-install-recommends valkey-server\n",
)
# Those beside the server of our own on which a whole system is tried.
IMAGES: Final = (REDIS_7, REDIS_8, VALKEY)
# Under which name a test reports the server that it was run on.
COVERED: Final = "server"


@dataclass(frozen=True)
class Choice:
    """Which Redis is used, and `why` as the summary of the run tells it."""

    image: Image | None
    why: str


def choose() -> Choice:
    """A container where an engine answers and has the image (or can get it)."""
    try:
        return Choice(REDIS_8, f"{available(REDIS_8)} by testcontainers")
    except NoContainer as error:
        return Choice(None, f"{_embedded_name()}, because Docker gave none: {error}")


def tell_covered(test: pytest.Item, image: Image | None, facts: Mapping[str, object]) -> None:
    """Report which server a test was run on; `facts` is what its INFO says."""
    version = facts.get("valkey_version") or facts["redis_version"]
    name = "Valkey" if "valkey_version" in facts else "Redis"
    where = f"container, {available(image)}" if image else "embedded"
    test.user_properties.append((COVERED, f"{name} {version} ({where})"))


def _embedded_name() -> str:
    server = find_server()
    return f"{Path(server.path).name} {server.version} ({server.origin})"


@contextmanager
def redis_server(choice: Choice) -> Iterator[str]:
    """The URL of a fresh server, which ends with the block."""
    with container(choice.image) if choice.image else _embedded() as url:
        yield url


@contextmanager
def container(image: Image) -> Iterator[str]:
    """The URL of a fresh server of that image. Raises NoContainer if there can be none."""
    # Its cleaner is one more image, and the block stops what it started.
    testcontainers_config.ryuk_disabled = True
    server = (
        DockerContainer(available(image))
        .with_command(f"{image.program} {_OPTIONS}")
        .with_exposed_ports(_PORT)
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    )
    with server:
        host, port = server.get_container_host_ip(), server.get_exposed_port(_PORT)
        yield f"redis://{host}:{port}/0"


def available(image: Image) -> str:
    """The tag under which the engine has the image, after it was pulled or made if need be.

    Raises NoContainer if there is no engine, or no such image.
    """
    found = _found(image)
    if found.tag is None:
        raise NoContainer(found.refusal)
    return found.tag


@dataclass(frozen=True)
class _Found:
    tag: str | None
    refusal: str = ""


@cache
def _found(image: Image) -> _Found:
    with warnings.catch_warnings():
        # Where no engine listens, docker's client forgets to close the socket that it tried.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            found = _Found(_had_or_pulled(image))
        except DockerException as error:
            found = _Found(None, str(error)[:80])
        gc.collect()
    return found


def _had_or_pulled(image: Image) -> str:
    with closing(docker.from_env(timeout=_ENGINE_TIMEOUT)) as engine:
        engine.ping()
        try:
            if not engine.images.list(image.name):
                engine.images.pull(image.name)
        except DockerException:
            if image.recipe is None:
                raise
            return _made(image.recipe, image.program)
    return image.name


def _made(recipe: str, program: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(recipe, encoding="utf-8")
        # Kept, so that the next run has it at once.
        with DockerImage(folder, tag=f"turnstream-tests/{program}", clean_up=False) as image:
            return str(image)


@contextmanager
def _embedded() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="ts-") as folder,
        RedisServer.running(Path(folder)) as server,
    ):
        yield server.url
