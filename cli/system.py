"""Finds the system that a command is about: where its API and its Redis are, and the token.

TURNSTREAM_API_URL (or `api_url` in the settings) names one that runs elsewhere; it comes first,
because whoever sets it means it. Else it is the `up` of the workspace, else what the settings say.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.running import Running
from sessions.errors import ConfigError
from sessions.redis import connect
from sessions.settings import Settings
from sessions.stream import TurnStream

# Where `up` keeps the admin token, in the workspace.
TOKEN_FILE: Final = "token"


@dataclass(frozen=True)
class System:
    """Where things are. `running` is the `up` of the workspace; `redis_url` None is unknown."""

    settings: Settings
    api_url: str
    redis_url: str | None
    token: str | None
    running: Running | None

    @classmethod
    def find(cls, settings: Settings, environ: Mapping[str, str]) -> System:
        """The system that the settings and the environment mean; nothing is asked yet."""
        elsewhere = settings.turnstream.api_url
        running = None if elsewhere else Running.find(settings.workspace)
        if running is not None:
            # It may have been started with other variables, or with a settings file of its own.
            settings = settings.replace(session_backend=running.backend, prefix=running.prefix)
        return cls(
            settings=settings,
            api_url=(elsewhere or (running.url if running else local_url(settings))).rstrip("/"),
            redis_url=running.redis_url if running else settings.redis_url,
            token=environ.get("TURNSTREAM_TOKEN") or _kept_token(settings.workspace),
            running=running,
        )

    @property
    def is_local(self) -> bool:
        """Whether the workspace is where the store is: no other system was named."""
        return self.settings.turnstream.api_url is None

    def required_redis_url(self) -> str:
        """The URL of Redis; raises ConfigError that says how to give it."""
        if self.redis_url is None:
            raise ConfigError(
                f"no turnstream runs in {self.settings.workspace}, and REDIS_URL is not set: start "
                "one with `turnstream up`, name its directory with --workspace, or set REDIS_URL"
            )
        return self.redis_url

    @asynccontextmanager
    async def stream(self) -> AsyncGenerator[TurnStream]:
        """The stream, with a connection that closes behind the block."""
        url = self.required_redis_url()
        own = self.settings.turnstream
        async with aclosing(connect(url)) as redis:
            yield TurnStream(redis, url=url, prefix=own.prefix, max_content=own.max_content_bytes)


def local_url(settings: Settings) -> str:
    """The URL by which this machine reaches a web process with these settings."""
    host = settings.gateway.host
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)
    if reached is None:
        reached = f"[{host}]" if ":" in host else host
    return f"http://{reached}:{settings.gateway.port}"


def redis_cli_arguments(url: str) -> list[str]:
    """What redis-cli wants to be told instead of the URL that redis-py understands."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "unix":
        return ["-u", url]
    arguments = ["-s", urllib.parse.unquote(parts.path)]
    database = urllib.parse.parse_qs(parts.query).get("db")
    return [*arguments, "-n", database[0]] if database else arguments


def _kept_token(workspace: Path) -> str | None:
    """The admin token that `up` left in the workspace, None where there is none for this user."""
    try:
        return (workspace / TOKEN_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
